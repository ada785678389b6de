"""Texts of the configuration become files that are there, or an error that says which is not."""

import gzip
import os
import tracemalloc
from pathlib import Path

import pytest

from stormda.errors import InputError, InputMissing
from stormda.sources.files import expand, read_bytes


def test_order_wildcards_and_repetitions(tmp_path: Path) -> None:
    for name in ("b.nc", "a.nc", "c.txt", "w[1].nc"):
        (tmp_path / name).write_text("x")
    found = expand(("c.txt", "?.nc", "a.nc", "w[1].nc"), lambda t: tmp_path / t)
    assert [p.name for p in found] == ["c.txt", "a.nc", "b.nc", "w[1].nc"]


@pytest.mark.parametrize("text", ["no.nc", "no*.nc"])
def test_missing(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputMissing) as caught:
        expand((text,), lambda t: tmp_path / t, key="archive.sources.era5.files")
    assert caught.value.file == str(tmp_path / text) and caught.value.key == "archive.sources.era5.files"


def test_empty_folder_and_unreadable(tmp_path: Path) -> None:
    (tmp_path / "empty.nc").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "full.nc").write_text("x")
    for name, folders, words in (
        ("empty.nc", False, "empty"),
        ("folder", False, "a folder where a file"),
        ("folder", True, "empty"),
        ("full.nc", True, "a file where a folder"),
    ):
        with pytest.raises(InputError, match=words):
            expand((name,), lambda t: tmp_path / t, folders=folders)
    if os.geteuid() != 0:
        (tmp_path / "full.nc").chmod(0)
        with pytest.raises(InputError, match="permission"):
            expand(("full.nc",), lambda t: tmp_path / t)


@pytest.mark.parametrize("pack", [False, True])
def test_as_much_memory_as_the_file_needs(tmp_path: Path, pack: bool) -> None:
    """Python's `read(n)` takes n bytes at once, for the smallest file."""
    path = tmp_path / "x"
    content = bytes(3 << 20)
    path.write_bytes(gzip.compress(content) if pack else content)
    tracemalloc.start()
    assert read_bytes(path, most=1 << 40) == content
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * len(content)  # pieces, and all of them together
    with pytest.raises(InputError, match="more than"):
        read_bytes(path, most=len(content) - 1)
    assert len(read_bytes(path, most=len(content))) == len(content)
