"""Opening NetCDF files so that a failure says what a person can do about it.

The NetCDF library tells of a full disk or a truncated file by a RuntimeError ("NetCDF: HDF error") without a reason;
here it becomes an error with the file and a hint. Files are created under a temporary name and published by a rename.
"""

__all__ = ["create", "open_netcdf"]

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import netCDF4

from stormda.errors import InputError, InputMissing, OutputError
from stormda.store.publish import atomic


@contextmanager
def create(path: Path) -> Iterator[netCDF4.Dataset]:
    """A new NetCDF-4 file that becomes visible as `path` only when it is complete.

    Raises:
        OutputError: it cannot be written; nothing is left behind.
    """
    try:
        with atomic(path) as temporary, netCDF4.Dataset(temporary, "w", format="NETCDF4") as file:
            yield file
    except RuntimeError as error:
        if not str(error).startswith("NetCDF:"):
            raise
        what = f"the file cannot be written ({error})"
        raise OutputError(what, file=path, hint="is there room on the disk, and below the quota?") from error


@contextmanager
def open_netcdf(path: Path, *, hint: str, layout: str | None = None) -> Iterator[netCDF4.Dataset]:
    """An existing NetCDF file; values come as they are stored, without masks and scaling.

    Args:
        path: the file.
        hint: what to do if it is missing or broken.
        layout: which of our products it has to be, the attribute `stormda_layout`; None: any file.

    Raises:
        InputMissing: no such file.
        InputError: another product, not NetCDF, truncated, or without what the reader wants (a KeyError or IndexError
            inside the block).
    """
    if not path.is_file():
        raise InputMissing("the file does not exist", file=path, hint=hint)
    try:
        with netCDF4.Dataset(path, "r") as file:
            file.set_auto_maskandscale(False)
            if layout not in (None, getattr(file, "stormda_layout", None)):
                what = f"the file is not stormda's layout '{layout}'"
                raise InputError(what, file=path, hint="stormda inspect says what it is")
            yield file
    except (KeyError, IndexError, AttributeError) as error:
        raise InputError(f"the file lacks {error}", file=path, hint=hint) from error
    except (OSError, RuntimeError) as error:
        raise InputError(f"the file is truncated or not NetCDF ({error})", file=path, hint=hint) from error
