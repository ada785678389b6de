"""NetCDF files, classic and 4: the layouts of the Climate Data Store before and after 2024, and CF files of others.

Fill values, scales and offsets are decoded by xarray; times are left as numbers, for `axes` reads them. What is no
NetCDF is named by its first bytes, for a download often gives a ZIP archive, a GRIB file or the error page of a
server.
"""

__all__ = ["fields_of", "open_netcdf"]

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import xarray as xr

from stormda.config import GriddedSource
from stormda.errors import InputError
from stormda.sources.axes import Axis, is_latitude, is_longitude
from stormda.sources.fields import Block, Field
from stormda.sources.remote_file import RemoteFile, remote_file
from stormda.types import Array

_CLASSIC = (b"CDF\x01", b"CDF\x02")
_NETCDF = (*_CLASSIC, b"CDF\x05", b"\x89HDF")
_OTHERS = {
    b"PK\x03\x04": ("a ZIP archive", "unpack it first"),
    b"GRIB": ("a GRIB file", "kind: grib"),
    b"\x1f\x8b": ("a gzip archive", "unpack it first"),
    b"<": ("a web page", "download it again, it may be the error page of a server"),
    b"{": ("a JSON text", "download it again, it may be the error message of a server"),
}


@contextmanager
def open_netcdf(path: Path, source: GriddedSource) -> Iterator[list[Field]]:
    """The fields of a NetCDF file, which can be read inside the `with`.

    Raises:
        InputError: not NetCDF, or truncated; also while reading.
    """
    far = remote_file(path)
    how: Any = {"decode_times": False, "decode_timedelta": False, "cache": False}
    try:
        if far is None:
            _check_kind(path)
            dataset = xr.open_dataset(path, engine="netcdf4", **how)
        else:
            _check_lazy(far)
            dataset = xr.open_dataset(io.BufferedReader(far, 1 << 16), engine="h5netcdf", **how)
    except (OSError, RuntimeError, ValueError, AttributeError, KeyError) as error:
        raise (far.error if far is not None and far.error else _damaged(path, error)) from error
    with dataset:
        yield fields_of(dataset, path)


def _check_lazy(far: RemoteFile) -> None:
    head = far.read(4)
    far.seek(0)
    if head != _NETCDF[-1]:
        hint = "lazy: false fetches the whole file"
        raise InputError("only NetCDF-4 can be read in parts", file=far.url, key=far.key, hint=hint)


def fields_of(dataset: xr.Dataset, path: Path) -> list[Field]:
    """The variables of a dataset that have two dimensions or more, with the axes that belong to them."""
    try:
        axes = {str(n): _axis(str(n), v) for n, v in dataset.variables.items() if _is_axis(str(n), v, dataset)}
    except (OSError, RuntimeError, ValueError) as error:
        raise _damaged(path, error) from error
    fields = []
    for name, variable in dataset.data_vars.items():
        dims = tuple(map(str, variable.dims))
        if variable.ndim < 2 or variable.dtype.kind not in "fiu" or name in axes:
            continue
        own = {n: a for n, a in axes.items() if set(a.dims) <= set(dims)}
        read = _reader(dataset, str(name), path)
        fields.append(Field(str(name), dims, tuple(variable.shape), variable.attrs, own, read, path))
    return fields


def _is_axis(name: str, variable: xr.Variable, dataset: xr.Dataset) -> bool:
    """Whether a variable is a coordinate: it has one dimension at most, or two and is declared, or a latitude."""
    if variable.ndim < 2 or name in dataset.coords:
        return variable.ndim <= 2
    bare = Axis(name, (), np.empty(0), variable.attrs)
    return variable.ndim == 2 and (is_latitude(bare) or is_longitude(bare))


def _axis(name: str, variable: xr.Variable) -> Axis:
    return Axis(name, tuple(map(str, variable.dims)), np.asarray(variable.values), variable.attrs)


def _reader(dataset: xr.Dataset, name: str, path: Path) -> Callable[[Block], Array]:
    def read(block: Block) -> Array:
        try:
            values = dataset[name].variable[block].values
        except (OSError, RuntimeError, ValueError, IndexError) as error:
            raise _damaged(path, error) from error
        return np.asarray(values if values.dtype.kind == "f" else values.astype(np.float64))

    return read


def _check_kind(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(64)
    if head[:4] in _CLASSIC:
        _check_length(path)
    if head[:4] in _NETCDF:
        return
    for magic, (what, hint) in _OTHERS.items():
        if head.lstrip().startswith(magic):
            raise InputError(f"{what}, not NetCDF", file=path, hint=hint)
    raise InputError("not a NetCDF file", file=path, hint="kind may be netcdf, grib or zarr")


def _check_length(path: Path) -> None:
    """The NetCDF library reads zeros where a classic file is cut off; scipy, which maps the file, notices."""
    whole = True
    with warnings.catch_warnings():  # scipy warns of its own half-made object
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            scipy.io.netcdf_file(path, mmap=True).close()
        except (ValueError, TypeError, OSError, IndexError, OverflowError):
            whole = False
    if not whole:
        raise InputError("the file is shorter than its header says", file=path, hint="download it again")


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"the file is damaged or truncated ({error})", file=path, hint="download it again")
