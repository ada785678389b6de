"""Zarr stores, format 2 and 3, as xarray and most providers write them: arrays with named dimensions in one group."""

__all__ = ["open_zarr"]

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import xarray as xr
import zarr

from stormda.config import GriddedSource
from stormda.errors import InputError
from stormda.sources.fields import Field
from stormda.sources.netcdf import fields_of


@contextmanager
def open_zarr(path: Path, source: GriddedSource) -> Iterator[list[Field]]:
    """The fields of a Zarr store, which can be read inside the `with`.

    A chunk that is missing reads as the fill value. Where that is a plain number, such as 0, the field's attribute
    `missing_chunks` counts them, for nobody can tell it from data.

    Raises:
        InputError: no Zarr group, or damaged; also while reading.
    """
    try:
        group = zarr.open_group(path, mode="r")
        missing = {name: n for name, array in group.arrays() if (n := _missing(array))}
        together = group.metadata.consolidated_metadata is not None
        dataset = xr.open_zarr(path, chunks=None, consolidated=together, decode_times=False, decode_timedelta=False)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"not a Zarr store with named dimensions, or damaged ({error})", file=path) from error
    with dataset:
        for name, n in missing.items():
            if name in dataset:
                dataset[name].attrs["missing_chunks"] = n
        yield fields_of(dataset, path)


def _missing(array: zarr.Array) -> int:  # type: ignore[type-arg]
    fill = array.attrs.get("_FillValue", array.fill_value)
    if array.ndim < 2 or (isinstance(fill, (float, np.floating)) and np.isnan(fill)):
        return 0
    return int(array.nchunks - array.nchunks_initialized)
