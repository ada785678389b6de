"""Publishing: a product is there completely, or it is not there.

Everything is written under a hidden name beside its place, flushed to the disk (fsync) and renamed, which POSIX makes
atomic: a reader sees the old product or the new one, whenever the writer is killed. A folder that replaces another is
exchanged with it in one step where the system can (Linux, renameat2), else by two renames.

What a killed writer leaves under a hidden name is removed by the next writer of the same product on that machine.
"""

__all__ = ["atomic", "atomic_folder", "plain", "scratch", "write_bytes", "write_json", "write_text", "writing"]

import ctypes
import dataclasses
import errno
import json
import math
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np

from stormda.errors import OutputError

_HINTS = {
    errno.ENOSPC: ("the disk is full", "free some room or set run_dir to another disk"),
    errno.EDQUOT: (
        "the disk quota is used up",
        "free some room or set run_dir to another disk",
    ),
    errno.EFBIG: ("the file is larger than allowed here", "see `ulimit -f`"),
    errno.EACCES: ("no permission to write", "set run_dir to a folder of yours"),
    errno.EPERM: ("no permission to write", "set run_dir to a folder of yours"),
    errno.EROFS: ("the disk is read-only", "set run_dir to another disk"),
    errno.ENOTDIR: (
        "a file is where a folder should be",
        "set run_dir to another folder",
    ),
    errno.EEXIST: (
        "a file is where a folder should be",
        "set run_dir to another folder",
    ),
    errno.EISDIR: (
        "a folder is where a file should be",
        "remove it or set run_dir to another folder",
    ),
    errno.EIO: ("the disk reports an input/output error", "look at the system log"),
}
_ROOM = 1 << 20  # bytes: with less than this free, a failed write of a library that hides its reason ran out of room
_EXCHANGE, _AT_FDCWD = 2, -100  # of renameat2(2)
_PAUSE, _AWAY, _LOOKS = 0.05, 4, 100  # s between two looks; how often it is not there in turn; looks at most


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Write a file: yields a hidden name beside `path`, with its suffix, that takes the place of `path` on success.

    Raises:
        OutputError: no room, no permission, not a folder; the hidden file is removed.
    """
    with _output(path) as temporary:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Write a folder: yields a new hidden folder beside `path` that takes the place of `path` on success.

    Raises:
        OutputError: no room, no permission, not a folder; the hidden folder is removed and `path` is as it was.
    """
    with _output(path) as temporary:
        temporary.mkdir()
        yield temporary
        for folder, _, names in os.walk(temporary):
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    os.fsync(file.fileno())
            _sync_folder(Path(folder))
        _take_place(temporary, path)
        _sync_folder(path.parent)


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """A hidden folder beside `path`, for the time of the `with`; raises OutputError as `atomic_folder`."""
    with _output(path) as temporary:
        temporary.mkdir()
        try:
            yield temporary
        finally:
            _remove(temporary)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a small file at once; raises OutputError."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a small text file at once, in UTF-8; raises OutputError."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write JSON for people and programs; a number that is not finite becomes null. Raises OutputError."""
    write_text(
        path,
        json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
    )


def plain(value: Any) -> Any:
    """`value` as JSON holds it: dataclasses, arrays, times and paths unwrapped, numbers that are not finite as None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (np.datetime64, np.timedelta64, Path)):
        return str(value)
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.astype(str).tolist() if value.dtype.kind in "mM" else value.tolist())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def _output(path: Path) -> Iterator[Path]:
    """A hidden name beside `path`; removed if the body fails, whose write errors become an OutputError."""
    temporary = path.parent / f".{path.stem}.{_here()}-{os.getpid()}-{secrets.token_hex(4)}.partial{path.suffix}"
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _sweep(path)
            yield temporary
        except BaseException:
            _remove(temporary)
            _stay_away(temporary)
            raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the disk refuses while `path` is written becomes an OutputError; for files of a folder that is hidden."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # HDF5 hides a full disk in a RuntimeError without a reason.
        what, hint = _reason(error, path)
        if what is None:
            raise
        raise OutputError(f"{what}: {error}", file=path, hint=hint) from error


def _reason(error: OSError | RuntimeError, path: Path) -> tuple[str | None, str | None]:
    number = getattr(error, "errno", None)
    named = getattr(error, "filename", None)
    if isinstance(named, (str, os.PathLike)):
        place, file = path.absolute(), Path(named).absolute()
        if not (file.is_relative_to(place.parent) or place.is_relative_to(file)):
            return None, None  # About another file: an input, not this product.
    if number in _HINTS:
        return _HINTS[number]
    try:
        full = shutil.disk_usage(path.parent).free < _ROOM
    except OSError:
        full = False
    return _HINTS[errno.ENOSPC] if full else (None, None)


def _here() -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", socket.gethostname())


def _sweep(path: Path) -> None:
    """Tidy up after dead writers of `path` on this machine; what one had half exchanged goes back to its place."""
    name = f"{re.escape(path.stem)}.{re.escape(_here())}-(\\d+)-[0-9a-f]{{8}}.(partial|old){re.escape(path.suffix)}"
    for entry in os.listdir(path.parent):
        match = re.fullmatch(rf"\.{name}", entry)
        if not match or _alive(int(match[1])):
            continue
        if match[2] == "old" and not path.exists():
            (path.parent / entry).rename(path)
        else:
            _remove(path.parent / entry)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # Somebody else's.
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _stay_away(path: Path) -> None:
    """Remove a folder again while threads (Zarr's) that were in the middle of their work still write to it."""
    away = 0
    for _ in range(_LOOKS):
        away = 0 if path.exists() else away + 1
        if away == _AWAY:
            return
        _remove(path)
        sleep(_PAUSE)


def _take_place(new: Path, path: Path) -> None:
    """Rename the folder `new` to `path`, in the place of what is there."""
    if not path.exists():
        new.rename(path)
        return
    if _exchange(new, path):
        _remove(new)
        return
    old = new.with_name(new.name.replace(".partial", ".old"))
    path.rename(old)
    try:
        new.rename(path)
    except OSError:
        old.rename(path)
        raise
    _remove(old)


def _exchange(a: Path, b: Path) -> bool:
    """Exchange two names in one step; False where the system or the file system cannot."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    return bool(
        call(
            _AT_FDCWD,
            os.fsencode(a),
            _AT_FDCWD,
            os.fsencode(b),
            ctypes.c_uint(_EXCHANGE),
        )
        == 0
    )


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (
            errno.EINVAL,
            errno.ENOTSUP,
        ):  # Some network file systems cannot.
            raise
    finally:
        os.close(handle)
