"""GRIB files, edition 1 and 2, through cfgrib and ecCodes.

A file is indexed once, in memory: no index file is written beside read-only data. Messages of one parameter, level
type, step type and grid make one field, so that files of mixed level types need no preparation; `filter` chooses
among them by GRIB keys. What ecCodes would pass over with a warning is an error here: a damaged message, two
different messages for one field, increments that do not fit the corners of the grid.

pyproj has to be imported before ecCodes: some builds of its library bring a PROJ of their own, and the second one to
load crashes.
"""

__all__ = ["open_grib"]

import pyproj  # noqa: F401, I001  (before ecCodes, see above)

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cfgrib
import cfgrib.dataset
import eccodes
import numpy as np

from stormda.config import GriddedSource
from stormda.errors import InputError
from stormda.sources.axes import Axis
from stormda.sources.fields import Block, Field
from stormda.sources.mapping import EARTH
from stormda.types import Array

_ONE_FIELD = (
    "paramId",
    "typeOfLevel",
    "stepType",
    "dataType",
    "gridType",
    "numberOfPoints",
    "md5GridSection",
    "stepUnits",
)
_TIME = ("time", "step")
_READ = ("shortName", "uvRelativeToGrid", *EARTH)
_FAILURES = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    RuntimeError,
    eccodes.CodesInternalError,
    cfgrib.DatasetBuildError,
)


@contextmanager
def open_grib(path: Path, source: GriddedSource) -> Iterator[list[Field]]:
    """The fields of a GRIB file, which can be read inside the `with`; `source.filter` chooses messages by their keys.

    Raises:
        InputError: no GRIB, a damaged message, duplicates that differ, a grid that contradicts itself, a filter that no
            message passes.
    """
    try:
        stream = cfgrib.FileStream(str(path), errors="raise")
        keys = [*cfgrib.compute_index_keys(_TIME, {}), *_ONE_FIELD, *_READ, *source.filter]
        index = cfgrib.dataset.open_fileindex(stream, indexpath="", index_keys=sorted(set(keys)))
    except _FAILURES as error:
        raise _damaged(path, error) from error
    chosen = index.subindex(source.filter) if source.filter else index
    if not chosen.field_ids_index:
        have = "; ".join(f"{k}: {', '.join(map(str, index[k][:12]))}" for k in source.filter) or "no message"
        raise InputError("no message passes the filter" if source.filter else "no GRIB message", file=path, hint=have)
    yield [_field(chosen.subindex(group), path) for group in _groups(chosen)]


def _groups(index: Any) -> list[dict[str, Any]]:
    """The values of the keys that make one field, each combination once."""
    at = [index.index_keys.index(k) for k in _ONE_FIELD]
    found = dict.fromkeys(tuple(values[i] for i in at) for values, _ in index.field_ids_index)
    return [dict(zip(_ONE_FIELD, values, strict=True)) for values in found]


def _field(index: Any, path: Path) -> Field:
    try:
        _check_duplicates(index, path)
        dataset = cfgrib.open_from_index(
            index, read_keys=_READ, time_dims=_TIME, errors="raise", cache_geo_coords=False
        )
    except _FAILURES as error:
        raise _damaged(path, error) from error
    name, variable = next((n, v) for n, v in dataset.variables.items() if "GRIB_paramId" in v.attributes)
    axes = {
        n: Axis(n, tuple(v.dimensions), np.asarray(v.data), v.attributes)
        for n, v in dataset.variables.items()
        if n != name and n not in ("time", "step")  # valid_time is the time of a field
    }
    if "valid_time" not in axes:
        axes["time"] = Axis(
            "time", (), np.asarray(dataset.variables["time"].data), dataset.variables["time"].attributes
        )
    _check_increments(variable.attributes, axes, path)
    return Field(
        name,
        tuple(variable.dimensions),
        tuple(variable.data.shape),
        variable.attributes,
        axes,
        _reader(variable, path),
        path,
    )


def _reader(variable: Any, path: Path) -> Callable[[Block], Array]:
    def read(block: Block) -> Array:
        try:
            return np.asarray(variable.data[block])
        except _FAILURES as error:
            raise _damaged(path, error) from error

    return read


def _check_duplicates(index: Any, path: Path) -> None:
    """cfgrib keeps the first of several messages with the same keys: they have to be identical."""
    for header, messages in index.field_ids_index:
        for other in messages[1:]:
            if not np.array_equal(index.get_field(messages[0])["values"], index.get_field(other)["values"]):
                keys = dict(zip(index.index_keys, header, strict=True))
                shown = ", ".join(
                    f"{k}={keys[k]}" for k in ("shortName", "dataDate", "time", "step", "level") if k in keys
                )
                raise InputError(f"two messages for the same field differ ({shown})", file=path)


def _check_increments(attributes: Mapping[str, Any], axes: Mapping[str, Axis], path: Path) -> None:
    """On a regular grid the stated increments lead from the first point to the last."""
    if attributes.get("GRIB_gridType") != "regular_ll":
        return
    for name, letter in (("latitude", "j"), ("longitude", "i")):
        step = attributes.get(f"GRIB_{letter}DirectionIncrementInDegrees")
        values = np.atleast_1d(axes[name].values)
        if step is None or values.size < 2:
            continue
        steps = np.abs(np.diff(np.unwrap(values, period=360.0) if name == "longitude" else values))
        # GRIB 1 rounds corners and increments to a thousandth of a degree.
        if np.abs(steps - float(step)).max() > 2e-3:
            raise InputError(
                f"the grid is wrong: {values.size} {name}s from {values[0]:g} to {values[-1]:g}, {step:g} apart",
                file=path,
                hint="the file was written with a wrong increment; write it again",
            )


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"the file is no GRIB, damaged or truncated ({error})", file=path, hint="download it again")
