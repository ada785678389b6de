"""Layers: a channel in one file, ready to be read in the vocabulary's unit; wind eastward and northward.

`layer_of` finds the field (`match`), checks its unit, times, grid and dimensions from the coordinates alone;
`Layer.read` gives [T, H, W] and fails on fill values and on values that the quantity cannot have. Of the dimension
`expver`, where final and preliminary ERA5 lie side by side, the first valid entry counts.
"""

__all__ = ["Layer", "layer_of"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from stormda.config import Box, GriddedSource
from stormda.errors import InputError
from stormda.grid import Grid
from stormda.projection import join_longitudes
from stormda.sources.axes import Axis, decode_times, order_longitudes, time_axis
from stormda.sources.fields import Block, Field
from stormda.sources.mapping import along_grid, projection_of
from stormda.sources.match import place, rank
from stormda.sources.units import canonical_unit, compatible, convert
from stormda.time import format_time
from stormda.types import Array
from stormda.variables import Channel

_EDGE = 1e-4  # degrees: a point on the edge of a region is in it
_MARGIN = 0.05  # of the gross range: model fields overshoot a little (humidity just below zero)
_OTHER = {"u": "v", "v": "u", "u10": "v10", "v10": "u10"}  # the components of one wind


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
    _runs: tuple[int, tuple[slice, ...]] | None = None
    _other: "Layer | None" = None

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
        x = self._values(block, kept)
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
        return x if self._other is None else self._turned(x, self._other.read(start, stop))

    def _turned(self, x: Array, other: Array) -> Array:
        """A component along the axes of the grid, with the other one, as one eastward or northward."""
        assert self.grid.projection is not None
        northward = self.channel.variable.startswith("v")
        own, from_other = self.grid.projection.turn[int(northward)][:: -1 if northward else 1]
        return np.asarray(own * x + from_other * other, dtype=np.float32)

    def _values(self, block: list[int | slice], kept: list[int]) -> Array:
        """The block; where a region crosses the edge of the file, of both of its parts."""
        if self._runs is None:
            return self.field.read(tuple(block))
        at, runs = self._runs
        parts = [self.field.read((*block[:at], run, *block[at + 1 :])) for run in runs]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=kept.index(at))

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
    ranked = [(r, f) for f in fields if (r := rank(f, channel, name)) is not None]
    if not ranked:
        return None
    best = min(r for r, _ in ranked)
    fit = [f for r, f in ranked if r == best]
    if len(fit) > 1:
        kinds = " and ".join(f"{f} ({_kind(f)})" for f in fit[:2])
        raise InputError(
            f"{len(fit)} fields fit channel '{channel}': {kinds}",
            file=fit[0].path,
            key=f"{key}.filter",
            hint="choose by GRIB keys, such as filter: {typeOfLevel: isobaricInhPa}",
        )
    return _with_other(_layer(channel, fit[0], source, key), fields, source)


def _with_other(layer: Layer, fields: Sequence[Field], source: GriddedSource) -> Layer:
    """A component of the wind along the axes of the grid gets the other one beside it, to be turned."""
    f, channel = layer.field, layer.channel
    if channel.variable not in _OTHER or not along_grid(f):
        return layer
    if layer.grid.projection is None:
        raise InputError(
            f"'{f.name}' is wind along the axes of a grid whose projection the file does not tell",
            file=f.path,
            key=layer.key,
            hint="write its CF grid_mapping, or turn the wind to eastward and northward first",
        )
    other = Channel(_OTHER[channel.variable], channel.level)
    name = source.variables.get(other.name)
    ranked = [(r, g) for g in fields if along_grid(g) and (r := rank(g, other, name)) is not None]
    best = [g for r, g in ranked if r == min(r for r, _ in ranked)]
    found = [_layer(other, g, source, layer.key) for g in best]
    if len(found) != 1 or not (np.array_equal(found[0].times, layer.times) and found[0].grid.same(layer.grid)):
        raise InputError(
            f"'{f.name}' is wind along the axes of the grid, and the file has no '{other}' beside it to turn it by",
            file=f.path,
            key=layer.key,
            hint="both components in one file, with the same times",
        )
    return replace(layer, _other=found[0])


def _kind(f: Field) -> str:
    keys = ("GRIB_typeOfLevel", "GRIB_stepType", "GRIB_dataType")
    return ", ".join(f"{k.removeprefix('GRIB_')} {f.attributes[k]}" for k in keys if k in f.attributes) or str(f.dims)


def _layer(channel: Channel, f: Field, source: GriddedSource, key: str) -> Layer:
    unit = _unit(channel, f, source, key)
    missing_chunks = int(f.attributes.get("missing_chunks", 0))
    if missing_chunks and channel.variable != "tp":  # A chunk of no rain at all need not be stored.
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
    horizontal = f.horizontal()
    assert horizontal is not None  # rank has looked
    level = place(f, channel, strict=False) or {}
    block, merge = _block(f, time, horizontal, level, source, key)
    part, columns = _part(f, horizontal, source.region, key)
    grid, turned, rows_first = _grid(f, part, key)
    order = (f.dims.index(rows_first[0]), f.dims.index(rows_first[1]))
    at = f.dims.index(time.dims[0]) if time.dims else None
    runs = None
    if columns is not None:
        rows, runs = _slice(part[0], horizontal[0]), (order[1], columns)
        block = (*block[: order[0]], rows, *block[order[0] + 1 :])
    return Layer(channel, f, unit, times, grid, key, block, at, order, turned, merge, runs)


def _unit(channel: Channel, f: Field, source: GriddedSource, key: str) -> str:
    wanted, given = channel.info.unit, source.units.get(channel.name, "").strip()
    at = f"{key}.units.{channel}"
    if given and f.unit and canonical_unit(f.unit) is not None and canonical_unit(given) != canonical_unit(f.unit):
        raise InputError(f"'{f.name}' is in '{f.unit}', the configuration says '{given}'", file=f.path, key=at)
    unit = given or f.unit
    if not unit and wanted == "1":
        return "1"
    if not unit:
        raise InputError(f"'{f.name}' has no unit", file=f.path, key=at, hint=f"units: {{{channel}: {wanted}}}")
    if not compatible(unit, wanted):
        raise InputError(
            f"'{f.name}' is in '{unit}', which cannot be converted to '{wanted}' of {channel}",
            file=f.path,
            key=at,
            hint="is it the right variable?",
        )
    return unit


def _block(
    f: Field, time: Axis, horizontal: tuple[Axis, Axis], level: Mapping[str, int], source: GriddedSource, key: str
) -> tuple[Block, int | None]:
    """What to read of each dimension, and the dimension whose first valid entry counts (`expver` of mixed ERA5)."""
    whole = {*time.dims, *horizontal[0].dims, *horizontal[1].dims}
    block: list[int | slice] = []
    merge = None
    for i, (dim, size) in enumerate(zip(f.dims, f.shape, strict=True)):
        if dim in whole:
            block.append(slice(None))
        elif dim in level:
            block.append(level[dim])
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


def _part(
    f: Field, horizontal: tuple[Axis, Axis], region: Box | None, key: str
) -> tuple[tuple[Axis, Axis], tuple[slice, ...] | None]:
    """The axes within a region, and the runs of columns that it takes; the axes as they are where all is wanted."""
    latitude, longitude = horizontal
    if region is None:
        return horizontal, None
    if len(latitude.dims) == 2 or f.lines() is not None:
        what = f"'{f.name}' is on a curvilinear or projected grid: no region of latitude and longitude can be cut out"
        raise InputError(what, file=f.path, key=f"{key}.region", hint="cut the files first, by cdo sellonlatbox")
    north, east = (np.asarray(a.values, np.float64) for a in horizontal)
    rows = np.flatnonzero((north >= region.latitude[0] - _EDGE) & (north <= region.latitude[1] + _EDGE))
    columns = np.arange(east.size)
    if region.longitude is not None:
        west, width = region.longitude[0] - _EDGE, np.mod(region.longitude[1] - region.longitude[0], 360.0) or 360.0
        columns = np.flatnonzero(np.mod(east - west, 360.0) <= width + 2 * _EDGE)
    if rows.size == 0 or columns.size == 0:
        raise InputError(f"'{f.name}' has no point in the region", file=f.path, key=f"{key}.region")
    runs = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
    cut = replace(latitude, values=latitude.values[rows]), replace(longitude, values=longitude.values[columns])
    return cut, tuple(slice(int(r[0]), int(r[-1]) + 1) for r in runs)


def _slice(part: Axis, whole: Axis) -> slice:
    """Where the values of an axis, which go one way, lie in the whole of it."""
    first = int(np.flatnonzero(whole.values == part.values[0])[0])
    return slice(first, first + part.values.size)


def _grid(f: Field, horizontal: tuple[Axis, Axis], key: str) -> tuple[Grid, Array | None, tuple[str, str]]:
    """The grid, the columns in the order of its longitudes (None: as they are) and the names of (row, column)."""
    latitude, longitude = horizontal
    try:
        if any(np.asarray(axis.values).dtype.kind not in "iuf" for axis in horizontal):
            raise InputError("latitudes and longitudes are no numbers")
        projection = projection_of(f, horizontal)
        if projection is not None:
            names = horizontal if len(latitude.dims) == 1 else f.lines()
            rows_first = latitude.dims if names is None else (names[0].dims[0], names[1].dims[0])
            return Grid.projected(projection), None, (rows_first[0], rows_first[1])
        if len(latitude.dims) == 2:
            if latitude.dims != longitude.dims:
                raise InputError("latitude and longitude have different dimensions")
            fields = np.asarray(latitude.values, np.float64), join_longitudes(np.asarray(longitude.values, np.float64))
            return Grid(*fields), None, (latitude.dims[0], latitude.dims[1])
        values, columns = order_longitudes(longitude.values)
        grid = Grid.regular(np.asarray(latitude.values, np.float64), values)
    except InputError as error:
        raise InputError(f"the grid of '{f.name}': {error.what}", file=f.path, key=key, hint=error.hint) from error
    if np.abs(grid.latitude).max() > 90.0 + 1e-3:
        raise InputError(f"the grid of '{f.name}': latitudes beyond the poles", file=f.path, key=key)
    same = np.array_equal(columns, np.arange(longitude.values.size))
    return grid, None if same else columns, (latitude.dims[0], longitude.dims[0])


def _first_valid(x: Array, axis: int) -> Array:
    """Along `axis`, the first entry that is not NaN (final ERA5 before preliminary ERA5T)."""
    out = np.take(x, 0, axis=axis)
    for i in range(1, x.shape[axis]):
        out = np.where(np.isnan(out), np.take(x, i, axis=axis), out)
    return np.asarray(out)
