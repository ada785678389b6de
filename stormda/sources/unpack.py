"""ZIP archives of fields: what the Climate Data Store gives where a request has several kinds of steps or streams.

    download.zip    data_stream-oper_stepType-instant.nc, data_stream-oper_stepType-accum.nc

Members that are NetCDF or GRIB, by their first bytes, are unpacked into a folder of the system's temporary folder,
under the last parts of their names, and are files like any others; what else is in the archive is left.
"""

__all__ = ["fields_within", "is_zip"]

import errno
import logging
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from stormda.errors import InputError, OutputError

log = logging.getLogger(__name__)

_KINDS = {b"CDF": "netcdf", b"\x89HDF": "netcdf", b"GRIB": "grib"}
_MOST = 10_000  # members
_PIECE = 1 << 20  # bytes


def is_zip(path: Path) -> bool:
    """Whether a file is a ZIP archive."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


@contextmanager
def fields_within(path: Path, key: str) -> Iterator[list[tuple[Path, str]]]:
    """The files of fields in an archive and their kinds, `netcdf` or `grib`; they are there inside the `with`.

    Raises:
        InputError: damaged, encrypted, or without a file of fields.
        OutputError: the temporary folder has no room.
    """
    with tempfile.TemporaryDirectory(prefix="stormda-") as folder:
        place = Path(folder) / path.name
        try:
            place.mkdir()
            with zipfile.ZipFile(path) as archive:
                found = [_unpacked(archive, member, place, path, key) for member in _members(archive, path, key)]
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, IndexError) as error:
            hint = "fetch it again"
            raise InputError(
                f"the ZIP archive is damaged or encrypted ({error})", file=path, key=key, hint=hint
            ) from error
        except OSError as error:
            if error.errno == errno.EINVAL:  # a member that begins before the archive
                what = "the ZIP archive is damaged"
                raise InputError(what, file=path, key=key, hint="fetch it again") from error
            hint = "free some room, or set TMPDIR to another folder"
            raise OutputError(f"the archive cannot be unpacked: {error.strerror}", file=folder, hint=hint) from error
        if not found:
            raise InputError("no NetCDF and no GRIB file in the ZIP archive", file=path, key=key)
        yield found


def _members(archive: zipfile.ZipFile, path: Path, key: str) -> list[tuple[zipfile.ZipInfo, str]]:
    """The members that are fields, and their kinds."""
    infos = [info for info in archive.infolist() if not info.is_dir()]
    if len(infos) > _MOST:
        raise InputError(f"the ZIP archive has more than {_MOST} members", file=path, key=key)
    found = []
    for info in infos:
        with archive.open(info) as file:
            head = file.read(4)
        kind = next((k for magic, k in _KINDS.items() if head.startswith(magic)), None)
        if kind is None:
            log.info("%s: '%s' is neither NetCDF nor GRIB and is left", path, info.filename)
        else:
            found.append((info, kind))
    need, free = sum(info.file_size for info, _ in found), shutil.disk_usage(tempfile.gettempdir()).free
    if need > free:
        what = f"unpacking needs {need / 2**30:.1f} GiB, the temporary folder has {free / 2**30:.1f}"
        raise OutputError(what, file=path, key=key, hint="set TMPDIR to another folder")
    return found


def _unpacked(
    archive: zipfile.ZipFile, member: tuple[zipfile.ZipInfo, str], place: Path, path: Path, key: str
) -> tuple[Path, str]:
    """A member as a file; never more bytes than the archive announces, never a name that leads elsewhere."""
    info, kind = member
    target = place / (PurePosixPath(info.filename.replace("\\", "/")).name or "member")
    while target.exists():
        target = target.with_name(f"_{target.name}")
    left = info.file_size
    with archive.open(info) as source, target.open("wb") as out:
        while piece := source.read(_PIECE):
            left -= len(piece)
            if left < 0:
                raise InputError(f"'{info.filename}' is longer than the archive says", file=path, key=key)
            out.write(piece)
    return target, kind
