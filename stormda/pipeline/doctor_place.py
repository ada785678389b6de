"""Where a run works: the room on its disk, who may write there, and whether the clock is right.

Three clocks matter: that of the machine decides when a cycle is due; that of the file system, which may be another
machine's, stamps what is written; and the kernel knows whether anybody keeps the first one right (adjtimex(2), whose
answer TIME_ERROR means that nobody does).
"""

__all__ = ["look_at"]

import ctypes
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import stormda
from stormda.pipeline.findings import Finding, Status

_GIB = 1 << 30
_ROOM, _FILES = 1.0, 10_000  # GiB, and files, of which less is worth a note
_APART = 2.0  # s between two clocks; a network file system keeps time to one
_TIME_ERROR = 5
_LONGS = 128  # more than `struct timex` has


def look_at(folder: Path) -> Iterator[Finding]:
    """Findings about a folder that is there or will be made."""
    there = next(p for p in (folder, *folder.parents) if p.is_dir())
    yield _disk(folder, there)
    yield _permissions(folder, there)
    yield _clock()
    yield _stamps(there)


def _disk(folder: Path, there: Path) -> Finding:
    free, files = shutil.disk_usage(there).free / _GIB, os.statvfs(there)
    detail = f"{free:.1f} GiB free at {folder}"
    few = files.f_files > 0 and files.f_favail < _FILES  # Some file systems count no files.
    if few:
        detail += f", room for {files.f_favail} files"
    if free < _ROOM or few:
        return Finding(Status.NOTE, "disk", detail, "stormda cycle clean, or another run_dir")
    return Finding(Status.OK, "disk", detail)


def _permissions(folder: Path, there: Path) -> Finding:
    """Whether we may write there, and who else may."""
    what = "permissions"
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        hint = "look at the owner and the mode of the folder, or choose another run_dir"
        return Finding(Status.BROKEN, what, f"{there} cannot be written: {error.strerror}", hint)
    if os.geteuid() == 0:
        return Finding(Status.NOTE, what, f"{folder} is written by root", "run it as a user of its own")
    if there == folder and stat.S_IMODE(there.stat().st_mode) & stat.S_IWOTH:
        return Finding(Status.NOTE, what, f"everybody may write to {folder}", f"chmod o-w {folder}")
    mask = os.umask(0o077)
    os.umask(mask)
    return Finding(Status.OK, what, f"{folder} can be written, umask {mask:03o}")


def _clock() -> Finding:
    """The clock of the machine, and whether anybody keeps it right."""
    now = datetime.now(UTC)
    detail, hint = f"{now:%Y-%m-%dT%H:%M:%SZ}", "date -u; timedatectl set-ntp true, or chrony"
    installed = datetime.fromtimestamp(Path(stormda.__file__).stat().st_mtime, UTC)
    if now < installed:
        return Finding(Status.BROKEN, "clock", f"{detail}, before stormda was installed ({installed:%Y-%m-%d})", hint)
    if (kept := _kept()) is None:
        return Finding(Status.OK, "clock", f"{detail}; nobody tells whether it is kept right")
    if kept:
        return Finding(Status.OK, "clock", f"{detail}, synchronised")
    return Finding(Status.NOTE, "clock", f"{detail}, not synchronised", hint)


def _kept() -> bool | None:
    """What the kernel says; None where it does not."""
    with suppress(AttributeError, OSError, TypeError):
        asked = (ctypes.c_long * _LONGS)()  # All zero: it changes nothing.
        answer = int(ctypes.CDLL(None).adjtimex(ctypes.byref(asked)))
        return None if answer < 0 else answer != _TIME_ERROR
    return None


def _stamps(there: Path) -> Finding:
    """The clock of the file system beside ours."""
    what = "clock of the disk"
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            apart = os.fstat(file.fileno()).st_mtime - time.time()
    except OSError:
        return Finding(Status.NOTE, what, "not known: nothing can be written")
    if abs(apart) > _APART:
        detail = f"{abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} this machine's"
        return Finding(Status.NOTE, what, detail, "synchronise both: new files are known by their time of change")
    return Finding(Status.OK, what, "as this machine's")
