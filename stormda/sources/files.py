"""Input files: texts of the configuration, with wildcards, become paths that exist, can be read and hold something."""

__all__ = ["MOST", "expand", "read_bytes"]

import glob
import gzip
import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from stormda.errors import InputError, InputMissing

MOST = 2 << 30
"""Bytes of a text file of reports that is read as a whole: a month of one country has a hundredth of it."""
_PIECE = 1 << 20


def expand(
    files: Sequence[str], resolve: Callable[[str], Path], *, key: str = "files", folders: bool = False
) -> list[Path]:
    """The files that the texts name, in their order, those of one wildcard sorted by name, each once.

    Args:
        files: paths; `*`, `?`, `[...]` and `**` are wildcards unless a file has that very name.
        resolve: makes a path of a text.
        key: configuration key, for the message.
        folders: whether the inputs are folders (Zarr) instead of files.

    Raises:
        InputMissing: a path does not exist, or a wildcard matches nothing.
        InputError: an empty file, a folder where a file should be or the reverse, no permission.
    """
    found = [path for text in files for path in _match(text, resolve(text), key)]
    unique = list(dict.fromkeys(found))
    for path in unique:
        _check(path, key, folders)
    return unique


def _match(text: str, path: Path, key: str) -> list[Path]:
    if path.exists():
        return [path]
    if not glob.has_magic(text):
        raise InputMissing("the file does not exist", file=path, key=key)
    matches = sorted(Path(name) for name in glob.glob(str(path), recursive=True))
    if not matches:
        raise InputMissing("no file matches", file=path, key=key)
    return matches


def _check(path: Path, key: str, folders: bool) -> None:
    if not os.access(path, os.R_OK):
        raise InputError("the file cannot be read: no permission", file=path, key=key)
    if path.is_dir() != folders:
        found, wanted = ("a folder", "a file") if path.is_dir() else ("a file", "a folder")
        raise InputError(f"{found} where {wanted} is expected", file=path, key=key)
    if not (any(path.iterdir()) if folders else path.stat().st_size):
        raise InputError("the folder is empty" if folders else "the file is empty", file=path, key=key)


def read_bytes(path: Path, most: int = MOST) -> bytes:
    """What a file holds, unpacked where it is a gzip archive.

    Args:
        path: of the file.
        most: bytes that it may hold, unpacked.

    Raises:
        InputError: it cannot be read, the archive is damaged, or it is larger than any file of reports.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            source: BinaryIO = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if packed else file
            pieces, left = [], most  # `read(most)` would take that much memory for the smallest file
            while piece := source.read(_PIECE):
                pieces.append(piece)
                left -= len(piece)
                if left < 0:
                    what = f"the file holds more than {most / 2**30:g} GiB"
                    raise InputError(what, file=path, hint="cut it into several")
        return b"".join(pieces)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"the file is damaged or truncated ({error})", file=path, hint="fetch it again") from error
