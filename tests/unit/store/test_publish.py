"""Publishing: a product is there completely or not at all, whenever and however the writer fails."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from stormda.errors import InputError, OutputError
from stormda.store import publish
from stormda.store.publish import atomic, atomic_folder, write_bytes, write_json, write_text


def test_file_appears_at_once_and_nothing_else_stays(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.txt"
    with atomic(target) as temporary:
        temporary.write_text("one")
        assert temporary.parent == target.parent and temporary.suffix == ".txt"
        assert not target.exists()
    assert target.read_text() == "one"
    assert [p.name for p in target.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), InputError("x")])
def test_failure_keeps_the_old_file_and_passes_the_error_on(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(type(error)), atomic(target) as temporary:
        temporary.write_text("new")
        raise error
    assert target.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("exchange", [True, False])
def test_folder_replaces_a_folder_only_after_success(
    tmp_path: Path, exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchange:
        monkeypatch.setattr(publish, "_exchange", lambda a, b: False)
    target = tmp_path / "a.zarr"
    with atomic_folder(target) as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "x").write_text("1")
    with pytest.raises(ValueError), atomic_folder(target) as temporary:
        (temporary / "y").write_text("2")
        raise ValueError
    assert [p.name for p in target.iterdir()] == ["sub"]
    with atomic_folder(target) as temporary:
        (temporary / "z").write_text("3")
        assert (target / "sub" / "x").read_text() == "1"
    assert [p.name for p in target.iterdir()] == ["z"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def test_folder_of_the_old_product_stays_readable_after_two_renames_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "_exchange", lambda a, b: False)
    target = tmp_path / "a"
    with atomic_folder(target) as temporary:
        (temporary / "old").touch()
    rename = Path.rename

    def fail(self: Path, to: Path) -> Path:
        if ".partial" in self.name:
            raise OSError(errno.EIO, "bad disk", str(self))
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OutputError, match="input/output"), atomic_folder(target) as temporary:
        (temporary / "new").touch()
    assert (target / "old").exists()


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "disk is full"), (errno.EACCES, "no permission"), (errno.EROFS, "read-only")]
)
def test_system_errors_name_the_file_and_the_way_out(tmp_path: Path, number: int, words: str) -> None:
    target = tmp_path / "a.nc"
    with pytest.raises(OutputError, match=words) as caught, atomic(target) as temporary:
        temporary.write_text("half")
        raise OSError(number, os.strerror(number))
    assert caught.value.file == str(target) and caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_library_that_hides_a_full_disk_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError), atomic(tmp_path / "a.nc"):
        raise RuntimeError("NetCDF: HDF error")
    monkeypatch.setattr(shutil, "disk_usage", lambda p: type("Usage", (), {"free": 0})())
    with pytest.raises(OutputError, match="full"), atomic(tmp_path / "a.nc"):
        raise RuntimeError("NetCDF: HDF error")


def test_error_about_an_input_is_not_called_one_of_the_output(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), atomic(tmp_path / "a.nc"):
        raise PermissionError(errno.EACCES, "no", "/elsewhere/input.nc")


def test_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(OutputError, match="a file is where a folder should be"):
        write_text(tmp_path / "run" / "a.txt", "x")


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/dev/full").exists(), reason="needs /dev/full")
def test_real_full_device(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="full"), atomic(tmp_path / "a.txt"), open("/dev/full", "w") as file:
        file.write("x")
        file.flush()


def test_leftovers_of_a_killed_writer_are_removed_those_of_a_living_one_stay(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom stormda.store.publish import atomic_folder\n"
        "with atomic_folder(Path(sys.argv[1])) as t:\n (t / 'x').write_text('half'); print('ready', flush=True)\n"
        " time.sleep(60)\n"
    )
    target = tmp_path / "a.zarr"
    with atomic_folder(target) as temporary:
        (temporary / "old").touch()
    writer = subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
        with atomic_folder(target) as temporary:
            (temporary / "second").touch()
        assert len(list(tmp_path.iterdir())) == 2  # the living writer's is still there
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert [p.name for p in target.iterdir()] == ["second"]
    time.sleep(0.01)
    with atomic_folder(target) as temporary:
        (temporary / "third").touch()
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def test_half_exchanged_product_goes_back_to_its_place(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    old = tmp_path / f".a.{publish._here()}-{dead.pid}-00000000.old.zarr"
    old.mkdir()
    (old / "x").touch()
    with pytest.raises(ValueError), atomic_folder(tmp_path / "a.zarr"):
        raise ValueError
    assert (tmp_path / "a.zarr" / "x").exists()


@dataclass(frozen=True)
class _Facts:
    time: np.datetime64
    values: np.ndarray


def test_json_holds_what_we_give_it(tmp_path: Path) -> None:
    facts = _Facts(np.datetime64("2019-02-17T12", "s"), np.array([1.0, np.nan]))
    write_json(tmp_path / "a.json", {"facts": facts, 1: (np.int64(3), Path("/x"), float("inf"), "ü", None, True)})
    assert json.loads((tmp_path / "a.json").read_text()) == {
        "facts": {"time": "2019-02-17T12:00:00", "values": [1.0, None]},
        "1": [3, "/x", None, "ü", None, True],
    }


def test_bytes(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"\x00\xff")
    assert (tmp_path / "a").read_bytes() == b"\x00\xff"


def test_a_thread_that_still_writes_leaves_nothing(tmp_path: Path) -> None:
    """As Zarr's does, which makes the folders of its chunks anew, when the one that waits for it is interrupted."""
    ends = threading.Event()

    def write(folder: Path) -> None:
        for number in range(40):
            (folder / "a").mkdir(parents=True, exist_ok=True)
            (folder / "a" / str(number)).write_text("late")
            ends.wait(0.005)

    thread = threading.Thread()
    with pytest.raises(KeyboardInterrupt):
        with atomic_folder(tmp_path / "product") as folder:
            thread = threading.Thread(target=_quietly, args=(write, folder))
            thread.start()
            raise KeyboardInterrupt
    thread.join()
    assert list(tmp_path.iterdir()) == []


def _quietly(write: Callable[[Path], None], folder: Path) -> None:
    """Its folder may go between two steps; it goes on."""
    for _ in range(3):
        with suppress(FileNotFoundError):
            write(folder)
