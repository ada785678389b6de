"""Fields of gridded files: which variable of a file is a channel of ours, in which unit, at which times and places.

A file gives `Field`s, whatever its format: dimensions, axes and a way to read a block. A channel's field is looked
for by the configured name; by the channel's own name (`z500`); by the names that providers use (`z`, `gh`, `2t`,
`slp`) and the level; by CF standard name and level. What is found becomes a `Layer`, which reads [T, H, W] in the
vocabulary's unit and fails on fill values and on values that the quantity cannot have.
"""

__all__ = ["Field", "Layer", "contents", "layer_of", "nearest"]

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stormda.config import GriddedSource
from stormda.errors import InputError
from stormda.grid import Grid
from stormda.sources.axes import (
    Axis,
    decode_times,
    is_latitude,
    is_longitude,
    order_longitudes,
    pressure_levels,
    time_axis,
)
from stormda.sources.units import canonical_unit, compatible, convert
from stormda.time import format_time
from stormda.types import Array
from stormda.variables import Channel, LevelType

_NAMES: dict[str, tuple[str, ...]] = {
    "msl": ("psl", "prmsl", "slp", "mslp"),
    "sp": ("ps",),
    "t2m": ("2t", "tas"),
    "d2m": ("2d",),
    "rh2m": ("r2", "2r", "hurs"),
    "u10": ("10u", "uas"),
    "v10": ("10v", "vas"),
    "ws10": ("10si", "si10", "sfcWind"),
    "z": ("gh", "zg", "hgt"),
    "t": ("ta", "air"),
    "q": ("hus", "shum"),
    "r": ("hur", "rhum"),
    "u": ("ua", "uwnd"),
    "v": ("va", "vwnd"),
}
_STANDARD_NAMES: dict[str, tuple[str, ...]] = {"z": ("geopotential_height",), "msl": ("air_pressure_at_sea_level",)}
_HEIGHTS = {"t2m": 2.0, "d2m": 2.0, "rh2m": 2.0, "u10": 10.0, "v10": 10.0, "ws10": 10.0}  # m above ground
_VERTICAL = ("height", "heightAboveGround", "level", "lev", "plev", "sigma", "hybrid", "model_level", "depth")
_MARGIN = 0.05  # of the gross range: model fields overshoot a little (humidity just below zero)

Block = tuple[int | slice, ...]


@dataclass(frozen=True, eq=False)
class Field:
    """A variable of a file.

    Args:
        name: in the file.
        dims: names of its dimensions.
        shape: their lengths.
        attributes: `units`, `standard_name` and others.
        axes: coordinates whose dimensions are among `dims`.
        read: values of a block, one integer or slice a dimension; fill values are NaN.
        path: the file.
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    attributes: Mapping[str, Any]
    axes: Mapping[str, Axis]
    read: Callable[[Block], Array]
    path: Path

    @property
    def unit(self) -> str:
        """The text of the unit, '' where there is none."""
        return str(self.attributes.get("units", "")).strip()

    def pressures(self) -> tuple[Axis, Array] | None:
        """The axis of pressure levels and its values in hPa."""
        for axis in self.axes.values():
            levels = pressure_levels(axis) if len(axis.dims) <= 1 else None
            if levels is not None:
                return axis, levels
        return None

    def __str__(self) -> str:
        pressures = self.pressures()
        levels = f" at {', '.join(f'{p:g}' for p in pressures[1])} hPa" if pressures else ""
        return f"{self.name} [{self.unit or 'no unit'}]{levels}"


@dataclass(frozen=True, eq=False)
class Layer:
    """A channel's fields in one file.

    Args:
        channel: what it is.
        field: where it comes from.
        unit: unit of the file.
        times: datetime64[s] [T], as in the file.
        grid: H x W points, longitudes increasing.
        key: configuration key, for messages.
    """

    channel: Channel
    field: Field
    unit: str
    times: Array
    grid: Grid
    key: str
    _block: Block
    _time: int | None
    _order: tuple[int, int]
    _columns: Array | None
    _merge: int | None

    def read(self, start: int, stop: int) -> Array:
        """Times start..stop-1 as [T, H, W], float32, in the vocabulary's unit.

        Raises:
            InputError: a fill value or NaN (the message says when first), a value that the quantity cannot have, a
                damaged file.
        """
        block = list(self._block)
        if self._time is not None:
            block[self._time] = slice(start, stop)
        kept = [i for i, k in enumerate(block) if isinstance(k, slice)]
        x = self.field.read(tuple(block))
        if self._merge is not None:
            x, kept = _first_valid(x, kept.index(self._merge)), [i for i in kept if i != self._merge]
        if self._time is None:
            x, kept = x[None], [-1, *kept]
        first = -1 if self._time is None else self._time
        x = x.transpose([kept.index(i) for i in (first, *self._order)])
        if self._columns is not None:
            x = x[..., self._columns]
        x = np.asarray(convert(x, self.unit, self.channel.info.unit), dtype=np.float32)
        self._check(x, start)
        return x

    def _check(self, x: Array, start: int) -> None:
        bad = ~np.isfinite(x)
        if bad.any():
            t = int(np.argmax(bad.any(axis=(1, 2))))
            raise InputError(
                f"'{self.field.name}' has missing values (fill value or NaN) at {int(bad[t].sum())} of {bad[t].size} "
                f"points, first at {format_time(self.times[start + t])}",
                file=self.field.path,
                key=self.key,
                hint="a field has to be complete: choose another variable, region or period",
            )
        info = self.channel.info
        margin = _MARGIN * (info.maximum - info.minimum)
        wild = (x < info.minimum - margin) | (x > info.maximum + margin)
        if wild.any():
            t = int(np.argmax(wild.any(axis=(1, 2))))
            raise InputError(
                f"'{self.field.name}' has values from {x[t].min():g} to {x[t].max():g} {info.unit} at "
                f"{format_time(self.times[start + t])}, but {info.name} lies in {info.minimum:g}..{info.maximum:g}",
                file=self.field.path,
                key=self.key,
                hint=f"is it the right variable, its unit really '{self.unit}', and no fill value undeclared?",
            )


def contents(fields: Sequence[Field]) -> str:
    """What a file has, in words."""
    return ", ".join(str(f) for f in fields) or "no gridded variable"


def layer_of(channel: Channel, fields: Sequence[Field], source: GriddedSource, key: str) -> Layer | None:
    """The layer of a channel among the fields of one file; None if the file does not have it.

    Args:
        channel: what is wanted.
        fields: of one file.
        source: its configuration: `variables`, `units`, `filter`.
        key: configuration key of the source.

    Raises:
        InputError: two fields fit, the unit is wrong or missing, the dimensions cannot be understood.
    """
    name = source.variables.get(channel.name)
    ranked = [(rank, f) for f in fields if (rank := _rank(f, channel, name)) is not None]
    if not ranked:
        return None
    best = min(rank for rank, _ in ranked)
    fit = [f for rank, f in ranked if rank == best]
    if len(fit) > 1:
        kinds = " and ".join(f"{f} ({_kind(f)})" for f in fit[:2])
        raise InputError(
            f"{len(fit)} fields fit channel '{channel}': {kinds}",
            file=fit[0].path,
            key=f"{key}.filter",
            hint="choose by GRIB keys, such as filter: {typeOfLevel: isobaricInhPa}",
        )
    return _layer(channel, fit[0], source, key)


def _kind(f: Field) -> str:
    keys = ("GRIB_typeOfLevel", "GRIB_stepType", "GRIB_dataType")
    return ", ".join(f"{k.removeprefix('GRIB_')} {f.attributes[k]}" for k in keys if k in f.attributes) or str(f.dims)


def _rank(f: Field, channel: Channel, mapped: str | None) -> int | None:
    """How well a field fits a channel, 0 best; None if it does not."""
    if _horizontal(f) is None or _place(f, channel, strict=mapped is None and f.name != channel.name) is None:
        return None
    info = channel.info
    names = (f.name, str(f.attributes.get("GRIB_shortName", f.name)))
    if mapped is not None:
        return 0 if mapped in names else None
    if channel.name in names:
        return 1
    if info.name in names or set(names) & set(_NAMES.get(info.name, ())):
        return 2
    standard = str(f.attributes.get("standard_name", ""))
    named = standard != "" and standard in (info.standard_name, *_STANDARD_NAMES.get(info.name, ()))
    if not named or (
        standard == "air_temperature" and info.level_type is LevelType.SURFACE and not _at_height(f, channel)
    ):
        return None
    return 3


def _at_height(f: Field, channel: Channel) -> bool:
    """Whether an axis says that the field is at the channel's height above the ground."""
    wanted = _HEIGHTS.get(channel.variable)
    return wanted is not None and any(
        a.name.lower().startswith("height") and np.any(np.abs(np.atleast_1d(a.values) - wanted) < 0.5)
        for a in f.axes.values()
        if a.values.dtype.kind in "fiu"
    )


def _place(f: Field, channel: Channel, strict: bool) -> dict[str, int] | None:
    """Where the channel's level is: an index for each vertical dimension; None if the field is at another level.

    Args:
        f: the field.
        channel: whose level is wanted.
        strict: a pressure channel has to be on a pressure axis; else a field without levels is taken by its name.
    """
    info, pressures = channel.info, f.pressures()
    if info.level_type is LevelType.PRESSURE:
        if pressures is None:
            return None if strict or _levels(f) else {}
        axis, levels = pressures
        near = np.flatnonzero(np.abs(levels - channel.level) < 1e-3)
        if near.size == 0:
            return None
        return {d: int(near[0]) for d in axis.dims}
    if pressures is not None and (strict or pressures[1].size > 1):
        return None
    place: dict[str, int] = {}
    wanted = channel.level if info.level_type is LevelType.INDEX else _HEIGHTS.get(channel.variable)
    for axis in _levels(f):
        values = np.atleast_1d(axis.values)
        near = np.flatnonzero(np.abs(values - wanted) < 0.5) if wanted is not None else np.zeros(0, int)
        if near.size:
            place |= {d: int(near[0]) for d in axis.dims}
        elif values.size > 1 or (strict and axis.name.lower().startswith("height")):
            return None
    return place


def _levels(f: Field) -> list[Axis]:
    """The vertical axes that are not pressures."""
    pressures = f.pressures()
    return [
        a
        for a in f.axes.values()
        if len(a.dims) <= 1
        and a.values.dtype.kind in "fiu"
        and (
            a.name in _VERTICAL
            or a.standard_name in ("height", "atmosphere_sigma_coordinate")
            or "positive" in a.attributes
        )
        and not (pressures and a is pressures[0])
    ]


def _horizontal(f: Field) -> tuple[Axis, Axis] | None:
    latitude = next((a for a in f.axes.values() if is_latitude(a) and 1 <= len(a.dims) <= 2), None)
    longitude = next((a for a in f.axes.values() if is_longitude(a) and 1 <= len(a.dims) <= 2), None)
    if latitude is None or longitude is None or len(latitude.dims) != len(longitude.dims):
        return None
    if latitude.dims == longitude.dims and len(latitude.dims) == 1:  # a list of points
        return None
    return latitude, longitude


def _layer(channel: Channel, f: Field, source: GriddedSource, key: str) -> Layer:
    unit = _unit(channel, f, source, key)
    if f.attributes.get("GRIB_uvRelativeToGrid") == 1 and channel.variable in ("u", "v", "u10", "v10"):
        raise InputError(
            f"'{f.name}' is wind along the axes of the grid, not eastward and northward", file=f.path, key=key
        )
    missing_chunks = int(f.attributes.get("missing_chunks", 0))
    if missing_chunks and channel.info.minimum < 0:
        raise InputError(f"'{f.name}' lacks {missing_chunks} chunks: an incomplete copy?", file=f.path, key=key)
    time = time_axis(f.axes)
    if time is None:
        raise InputError(f"'{f.name}' has no time", file=f.path, key=key, hint=f"its dimensions: {', '.join(f.dims)}")
    if len(time.dims) > 1:
        raise InputError(
            f"'{f.name}' has several forecasts for one time, over {' and '.join(time.dims)}",
            file=f.path,
            key=f"{key}.filter",
            hint="choose one lead time, such as filter: {step: 0}",
        )
    times = decode_times(time, f.path)
    horizontal = _horizontal(f)
    assert horizontal is not None  # _rank has looked
    place = _place(f, channel, strict=False) or {}
    block, merge = _block(f, time, horizontal, place, source, key)
    grid, columns, rows_first = _grid(f, horizontal, key)
    order = (f.dims.index(rows_first[0]), f.dims.index(rows_first[1]))
    at = f.dims.index(time.dims[0]) if time.dims else None
    return Layer(channel, f, unit, times, grid, key, block, at, order, columns, merge)


def _unit(channel: Channel, f: Field, source: GriddedSource, key: str) -> str:
    wanted, given = channel.info.unit, source.units.get(channel.name, "").strip()
    place = f"{key}.units.{channel}"
    if given and f.unit and canonical_unit(f.unit) is not None and canonical_unit(given) != canonical_unit(f.unit):
        raise InputError(f"'{f.name}' is in '{f.unit}', the configuration says '{given}'", file=f.path, key=place)
    unit = given or f.unit
    if not unit and wanted == "1":
        return "1"
    if not unit:
        raise InputError(f"'{f.name}' has no unit", file=f.path, key=place, hint=f"units: {{{channel}: {wanted}}}")
    if not compatible(unit, wanted):
        raise InputError(
            f"'{f.name}' is in '{unit}', which cannot be converted to '{wanted}' of {channel}",
            file=f.path,
            key=place,
            hint="is it the right variable?",
        )
    return unit


def _block(
    f: Field, time: Axis, horizontal: tuple[Axis, Axis], place: Mapping[str, int], source: GriddedSource, key: str
) -> tuple[Block, int | None]:
    """What to read of each dimension, and the dimension whose first valid entry counts (`expver` of mixed ERA5)."""
    whole = {*time.dims, *horizontal[0].dims, *horizontal[1].dims}
    block: list[int | slice] = []
    merge = None
    for i, (dim, size) in enumerate(zip(f.dims, f.shape, strict=True)):
        if dim in whole:
            block.append(slice(None))
        elif dim in place:
            block.append(place[dim])
        elif dim == "expver":
            block.append(slice(None))
            merge = i
        elif size == 1:
            block.append(0)
        else:
            block.append(_chosen(f, dim, size, source, key))
    return tuple(block), merge


def _chosen(f: Field, dim: str, size: int, source: GriddedSource, key: str) -> int:
    axis = f.axes.get(dim)
    values = np.arange(size) if axis is None else np.atleast_1d(axis.values)
    shown = ", ".join(str(v) for v in values[:6]) + (", ..." if size > 6 else "")
    if dim not in source.filter:
        raise InputError(
            f"'{f.name}' has {size} entries of '{dim}' ({shown})",
            file=f.path,
            key=f"{key}.filter",
            hint=f"choose one: filter: {{{dim}: {values[0]}}}",
        )
    found = np.flatnonzero(values == source.filter[dim])
    if found.size != 1:
        raise InputError(f"'{dim}' has no {source.filter[dim]} but {shown}", file=f.path, key=f"{key}.filter")
    return int(found[0])


def _grid(f: Field, horizontal: tuple[Axis, Axis], key: str) -> tuple[Grid, Array | None, tuple[str, str]]:
    """The grid, the columns in the order of its longitudes (None: as they are) and the names of (row, column)."""
    latitude, longitude = horizontal
    try:
        if len(latitude.dims) == 2:
            if latitude.dims != longitude.dims:
                raise InputError("latitude and longitude have different dimensions")
            fields = np.asarray(latitude.values, np.float64), _joined(np.asarray(longitude.values, np.float64))
            return Grid(*fields), None, (latitude.dims[0], latitude.dims[1])
        values, columns = order_longitudes(longitude.values)
        grid = Grid.regular(np.asarray(latitude.values, np.float64), values)
    except InputError as error:
        raise InputError(f"the grid of '{f.name}': {error.what}", file=f.path, key=key) from error
    if np.abs(grid.latitude).max() > 90.0 + 1e-3:
        raise InputError(f"the grid of '{f.name}': latitudes beyond the poles", file=f.path, key=key)
    same = np.array_equal(columns, np.arange(longitude.values.size))
    return grid, None if same else columns, (latitude.dims[0], longitude.dims[0])


def _joined(longitude_HW: Array) -> Array:
    """Longitudes of a field in -180..180, or in 0..360 if it crosses the date line."""
    west = np.mod(longitude_HW + 180.0, 360.0) - 180.0
    east = np.mod(longitude_HW, 360.0)
    return west if np.ptp(west) <= np.ptp(east) else east


def _first_valid(x: Array, axis: int) -> Array:
    """Along `axis`, the first entry that is not NaN (final ERA5 before preliminary ERA5T)."""
    out = np.take(x, 0, axis=axis)
    for i in range(1, x.shape[axis]):
        out = np.where(np.isnan(out), np.take(x, i, axis=axis), out)
    return np.asarray(out)


def nearest(name: str, fields: Sequence[Field]) -> str:
    """A hint that names the variable that is spelled most like `name`."""
    near = difflib.get_close_matches(name, [f.name for f in fields], n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'? " if near else ""
