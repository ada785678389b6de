"""NetCDF files of reports: classic, 4, packed with gzip; columns with their fill values as NaN.

These functions are for the worker: netCDF and HDF5 may crash on a damaged file. A classic file that was cut is read as
zeros by the NetCDF library; scipy, which counts the bytes, notices.
"""

__all__ = ["has", "numbers", "open_dataset", "seconds", "words"]

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import netCDF4
import numpy as np
import scipy.io

from stormda.errors import InputError
from stormda.sources.files import read_bytes
from stormda.types import Array

_LARGEST = 1e30  # what is beyond is a fill value that the file does not declare


@contextmanager
def open_dataset(path: Path, key: str) -> Iterator[netCDF4.Dataset]:
    """A file, opened from memory.

    Raises:
        InputError: not NetCDF, truncated or damaged; also while it is read inside the `with`.
    """
    data = read_bytes(path)
    if data[:3] != b"CDF" and data[:4] != b"\x89HDF":
        raise InputError("not a NetCDF file", file=path, key=key)
    if data[:4] in (b"CDF\x01", b"CDF\x02") and not _whole(data):
        raise InputError("the file is shorter than its header says", file=path, key=key, hint="fetch it again")
    try:
        with netCDF4.Dataset(path.name, memory=data) as file:
            yield file
    except (OSError, RuntimeError, ValueError, AttributeError, IndexError, KeyError, UnicodeError) as error:
        raise InputError(f"the file is damaged or not of this kind ({error})", file=path, key=key) from error


def _whole(data: bytes) -> bool:
    with warnings.catch_warnings():  # scipy warns of its own half-made object
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            scipy.io.netcdf_file(io.BytesIO(data), mmap=False).close()
        except (ValueError, TypeError, OSError, IndexError, OverflowError):
            return False
    return True


def has(file: netCDF4.Dataset | netCDF4.Group, *names: str) -> bool:
    """Whether a file has all of these variables."""
    return all(name in file.variables for name in names)


def numbers(file: netCDF4.Dataset | netCDF4.Group, name: str) -> Array:
    """A variable as float64; NaN where it has a fill value.

    The attribute `valid_range` is not heeded: MADIS radiosondes declare longitudes of America and are of the world.

    Raises:
        InputError: there is no such variable, or it holds no numbers.
    """
    if name not in file.variables:
        raise InputError(f"the file has no variable '{name}'")
    variable = file.variables[name]
    variable.set_auto_maskandscale(False)
    raw = np.asarray(variable[...])
    if raw.dtype.kind not in "fiu":
        raise InputError(f"the variable '{name}' holds no numbers")
    out = raw.astype(np.float64)
    for attribute in ("_FillValue", "missing_value"):
        fill = getattr(variable, attribute, None)
        out[raw == (netCDF4.default_fillvals[raw.dtype.str[1:]] if fill is None else fill)] = np.nan
    out = np.where(np.abs(out) < _LARGEST, out, np.nan)
    return np.asarray(out * float(getattr(variable, "scale_factor", 1.0)) + float(getattr(variable, "add_offset", 0.0)))


def words(file: netCDF4.Dataset | netCDF4.Group, name: str) -> Array:
    """A variable of words, as strings or rows of characters; blanks and nulls around them dropped."""
    if name not in file.variables:
        raise InputError(f"the file has no variable '{name}'")
    variable = file.variables[name]
    variable.set_auto_maskandscale(False)
    values = np.asarray(variable[...])
    if values.dtype == object:
        return np.array([str(v).strip("\0 ") for v in values.ravel()], dtype=object).reshape(values.shape)
    if values.dtype.kind == "i":  # one character, as its number
        values = values.astype(np.uint8).view("S1")
    rows = values if variable.ndim == 1 else np.ascontiguousarray(values).view(f"S{values.shape[-1]}")[..., 0]
    return np.array([w.split(b"\0")[0].decode("latin-1").strip() for w in rows.ravel()], dtype=object)


def seconds(since_1970: Array) -> Array:
    """Times [datetime64 us] from seconds since 1970; NaT where that is no time between 1800 and 2200."""
    known = np.isfinite(since_1970) & (np.abs(since_1970) < 7.2e9) & (since_1970 != 0.0)
    out = np.full(since_1970.shape, np.datetime64("NaT", "us"))
    out[known] = np.round(since_1970[known] * 1e6).astype(np.int64).astype("datetime64[us]")
    return out
