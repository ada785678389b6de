"""Members of an ensemble: a file with a dimension of members, or files of one member each.

    files --open--> fields --each member--> layers --the entry of the time--> [M, C, H, W] on the grid of the files

The dimension is called `number` (GRIB and the Climate Data Store), `realization` (CF), `member` or alike; a file
without one is one member. A GRIB file may hold the control forecast (`dataType` cf) beside the perturbed ones (pf): it
counts as one more. Members of several files follow each other in the order of the files.
"""

__all__ = ["read_means", "read_members"]

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stormda.config import GriddedSource
from stormda.errors import InputError, InputMissing
from stormda.grid import Grid
from stormda.sources.apart import open_fields
from stormda.sources.fields import Field, contents, nearest
from stormda.sources.layers import Layer, layer_of
from stormda.state import State
from stormda.time import format_time
from stormda.types import Array
from stormda.variables import Channel

_DIMENSIONS = ("number", "realization", "member", "ensemble", "ensemble_member", "ens")
_FORECASTS = {"cf", "pf"}  # GRIB dataType: control and perturbed forecasts are members of one ensemble

_log = logging.getLogger(__name__)


def read_members(
    paths: Sequence[Path], channels: Sequence[str], sources: Sequence[GriddedSource], time: np.datetime64, *, key: str
) -> State:
    """The members that files have at one time.

    Args:
        paths: the files, NetCDF or GRIB.
        channels: names, in the order of the state.
        sources: ways to find them, `variables`, `units` and `filter`, tried in turn; `kind` and `files` do not matter.
        time: the valid time.
        key: configuration key, for messages.

    Returns:
        All members, [M, C, H, W] in physical units.

    Raises:
        InputMissing: no file has that time.
        InputError: a channel that a file lacks, members of one channel only, grids that differ, missing values, and
            all that reading finds.
    """
    found: list[Array] = []
    grid: Grid | None = None
    without: dict[Path, Array] = {}
    for path, layers in _each(paths, channels, sources, key):
        at = np.flatnonzero(layers[0].times == time)
        if at.size == 0:
            without[path] = layers[0].times
            continue
        grid = _common(grid, layers, path, key)
        found.append(np.concatenate([_read(layer, time, path, key) for layer in layers]))
    if grid is None:
        spans = "; ".join(f"{p.name} has {_span(times)}" for p, times in list(without.items())[:3])
        what = f"no state of {format_time(time)}: {spans}"
        raise InputMissing(what, file=paths[0], key=key, hint="files of that valid time, %Y%m%d%H in their names")
    if without:
        _log.warning("%d of %d files have no state of %s", len(without), len(paths), format_time(time))
    return State(np.stack(found), tuple(map(Channel.parse, channels)), grid, np.asarray([time]))


def read_means(
    paths: Sequence[Path],
    channels: Sequence[str],
    sources: Sequence[GriddedSource],
    wanted: Callable[[Array], Array],
    *,
    key: str,
) -> State:
    """The mean of all members at every time that is wanted.

    Args:
        paths, channels, sources, key: as in `read_members`.
        wanted: which of some times [T], bool [T].

    Returns:
        [T, C, H, W] in the order of time.

    Raises:
        InputMissing: none of these times is there.
        InputError: as in `read_members`.
    """
    sums: dict[np.datetime64, tuple[Array, int]] = {}
    grid: Grid | None = None
    for path, layers in _each(paths, channels, sources, key):
        times = layers[0].times
        for time in times[wanted(times)]:
            grid = _common(grid, layers, path, key)
            x = np.concatenate([_read(layer, time, path, key) for layer in layers]).astype(np.float64)
            total, count = sums.get(time, (np.zeros_like(x), 0))
            sums[time] = total + x, count + 1
    if grid is None:
        what = f"none of {len(paths)} files has a time that is wanted"
        raise InputMissing(what, file=paths[0], key=key, hint="nwp.period, or a truth that covers them")
    times = np.asarray(sorted(sums), dtype="datetime64[s]")
    values = np.stack([sums[t][0] / sums[t][1] for t in sorted(sums)])
    return State(values, tuple(map(Channel.parse, channels)), grid, times)


def _each(
    paths: Sequence[Path], channels: Sequence[str], sources: Sequence[GriddedSource], key: str
) -> Iterator[tuple[Path, list[Layer]]]:
    """The layers of every member of every file, while it is open."""
    wanted = tuple(Channel.parse(name) for name in channels)
    for path in paths:
        with path.open("rb") as file:
            kind = "grib" if file.read(4) == b"GRIB" else "netcdf"
        ways = [s.model_copy(update={"kind": kind}) for s in sources]
        with open_fields(path, ways[0], key) as fields:
            for part in _ensembles(fields):
                for layers in _members(part, wanted, ways, path, key):
                    yield path, layers


def _ensembles(fields: list[Field]) -> list[list[Field]]:
    """The control forecast and the perturbed ones apart, where a GRIB file has both."""
    kinds = sorted({str(f.attributes.get("GRIB_dataType", "")) for f in fields})
    if set(kinds) != _FORECASTS:
        return [fields]
    return [[f for f in fields if f.attributes.get("GRIB_dataType") == kind] for kind in kinds]


def _members(
    fields: list[Field], channels: Sequence[Channel], ways: Sequence[GriddedSource], path: Path, key: str
) -> list[list[Layer]]:
    """The layers of every member that a file has, in the order of the channels."""
    numbers: dict[str, list[Any]] = {}
    for f in fields:
        for dim, size in zip(f.dims, f.shape, strict=True):
            if _is_member(f, dim) and dim not in ways[0].filter:
                axis = f.axes.get(dim)
                numbers[dim] = list(range(size)) if axis is None else np.atleast_1d(axis.values).tolist()
    if not numbers:
        return [[_layer(c, fields, ways, path, key, {}) for c in channels]]
    if len(numbers) > 1:
        what = f"{len(numbers)} dimensions of members: {', '.join(numbers)}"
        raise InputError(what, file=path, key=key, hint="choose one by nwp.filter, such as {number: 0}")
    (dim, values), members = next(iter(numbers.items())), []
    for value in values:
        layers = [_layer(c, fields, ways, path, key, {dim: value}) for c in channels]
        for layer in layers:
            if dim not in layer.field.dims:
                what = f"'{layer.field.name}' has no dimension '{dim}', other fields of the file have {len(values)}"
                raise InputError(what, file=path, key=key, hint="members need every channel")
        members.append(layers)
    return members


def _is_member(f: Field, dim: str) -> bool:
    axis = f.axes.get(dim)
    return dim.lower() in _DIMENSIONS or (axis is not None and axis.standard_name == "realization")


def _layer(
    channel: Channel, fields: list[Field], ways: Sequence[GriddedSource], path: Path, key: str, member: dict[str, Any]
) -> Layer:
    """The layer of a channel, found in the first way that finds it."""
    for way in ways:
        layer = layer_of(channel, fields, way.model_copy(update={"filter": way.filter | member}), key)
        if layer is not None:
            return layer
    mapped = next((way.variables[channel.name] for way in ways if channel.name in way.variables), channel.name)
    raise InputError(
        f"nothing that is channel '{channel}' in the file; it has {contents(fields)}",
        file=path,
        key=f"nwp.variables.{channel}",
        hint=f"{nearest(mapped, fields)}name it: nwp.variables={{{channel}: NAME_IN_FILE}}",
    )


def _common(grid: Grid | None, layers: Sequence[Layer], path: Path, key: str) -> Grid:
    """The one grid of all layers."""
    common = layers[0].grid if grid is None else grid
    for layer in layers:
        if not layer.grid.same(common):
            what = f"'{layer.channel}' is on another grid ({layer.grid}) than what was read before ({common})"
            raise InputError(what, file=path, key=key, hint="regrid the files to one grid first")
    return common


def _read(layer: Layer, time: np.datetime64, path: Path, key: str) -> Array:
    """The field [1, H, W] of a time."""
    at = np.flatnonzero(layer.times == time)
    if at.size == 0:
        what = f"'{layer.channel}' has no state of {format_time(time)}, it has {_span(layer.times)}"
        raise InputMissing(what, file=path, key=key)
    return layer.read(int(at[0]), int(at[0]) + 1)


def _span(times: Array) -> str:
    first, last = format_time(times.min()), format_time(times.max())
    return first if first == last else f"{first}..{last}"
