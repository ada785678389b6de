"""Zarr stores, format 2 and 3, as xarray and most providers write them: arrays with named dimensions in one group."""

__all__ = ["open_zarr"]

import base64
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
from stormda.sources.remote_zarr import remote_store


@contextmanager
def open_zarr(path: Path, source: GriddedSource) -> Iterator[list[Field]]:
    """The fields of a Zarr store, which can be read inside the `with`.

    A folder may stand for a store at a URL (`remote_zarr`): then metadata are read here, chunks as fields are.

    A chunk that is missing reads as the fill value. Where that is a plain number, such as 0, the field's attribute
    `missing_chunks` counts them, for nobody can tell it from data.

    Raises:
        InputError: no Zarr group, or damaged; also while reading.
        InputMissing: a store at a URL whose server does not answer.
    """
    store = remote_store(path)
    try:
        group = zarr.open_group(store or path, mode="r")
        together = group.metadata.consolidated_metadata is not None
        if store is not None and not together:
            hint = "consolidate its metadata (zarr.consolidate_metadata), or copy it here"
            raise InputError("a store at a URL needs its metadata in one place", file=store.url, hint=hint)
        missing = {} if store else {name: n for name, array in group.arrays() if (n := _missing(array))}
        if store is not None:
            dry = {"tp", "total_precipitation", source.variables.get("tp", "tp")}  # no rain need not be stored
            store.strict = frozenset(n for n, a in group.arrays() if n not in dry and _plain(a))
        dataset = xr.open_zarr(
            store or path, chunks=None, consolidated=together, decode_times=False, decode_timedelta=False
        )
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        where = store.url if store else path
        raise InputError(f"not a Zarr store with named dimensions, or damaged ({error})", file=where) from error
    with dataset:
        for name, n in missing.items():
            if name in dataset:
                dataset[name].attrs["missing_chunks"] = n
        yield fields_of(dataset, path)


def _missing(array: zarr.Array) -> int:  # type: ignore[type-arg]
    return int(array.nchunks - array.nchunks_initialized) if array.ndim >= 2 and _plain(array) else 0


def _plain(array: zarr.Array) -> bool:  # type: ignore[type-arg]
    """Whether the fill value is a number that data may have too."""
    fill = array.attrs.get("_FillValue", array.fill_value)
    if isinstance(fill, str) and array.dtype.kind == "f":  # xarray's way in format 3: a double in base64
        fill = float(np.frombuffer(base64.b64decode(fill), "<f8")[0])
    return not (isinstance(fill, (float, np.floating)) and np.isnan(fill))
