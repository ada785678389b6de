"""Texts of the configuration become files that are there, or an error that says which is not."""

import os
from pathlib import Path

import pytest

from stormda.errors import InputError, InputMissing
from stormda.sources.files import expand


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
