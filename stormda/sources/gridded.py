"""Gridded sources: files of any layout become states on common times, a chunk at a time.

    files --open--> fields --find--> layers --catalogue--> of each time and channel the file and entry --read--> states

The first pass reads coordinates only and makes the catalogue. Files may hold any part: a month, a variable, a level.
Times that several files give count once if their fields are identical, else they are an error. A state needs every
channel, so only times common to all channels remain; gaps are legal. The second pass reads chunks of about 32 MB in
the order of time.
"""

__all__ = ["read_gridded", "read_sources"]

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stormda.config import GriddedSource
from stormda.errors import InputError
from stormda.grid import Grid
from stormda.sources.fields import Field, contents, nearest
from stormda.sources.files import expand
from stormda.sources.grib import open_grib
from stormda.sources.layers import Layer, layer_of
from stormda.sources.netcdf import open_netcdf
from stormda.sources.unpack import fields_within, is_zip
from stormda.sources.urls import moments
from stormda.sources.zarr import open_zarr
from stormda.state import State
from stormda.time import format_time
from stormda.types import Array, Progress, silent
from stormda.variables import Channel

_OPEN: dict[str, Callable[[Path, GriddedSource], AbstractContextManager[list[Field]]]] = {
    "netcdf": open_netcdf,
    "grib": open_grib,
    "zarr": open_zarr,
}
_CHUNK_BYTES = 32e6
_OPEN_FILES = 16
_ROUNDING = 1e-3  # degrees

_log = logging.getLogger(__name__)


def read_sources(
    sources: Mapping[str, GriddedSource],
    channels: Sequence[str],
    resolve: Callable[[str], Path],
    *,
    plane: bool = False,
    periodic: tuple[bool, bool] | None = None,
    key: str = "archive.sources",
    files: Mapping[str, Sequence[Path]] | None = None,
    progress: Progress = silent,
) -> Iterator[State]:
    """Every channel from the sources that have it, on the times that all channels have.

    Args:
        sources: by name; where two have the same channel at the same time, they have to agree.
        channels: names, in the order of the states.
        resolve: makes a path of a text of the configuration.
        plane, periodic: of the grid, as in `ArchiveConfig`.
        key: configuration key of the sources, for messages.
        files: where the files of each source are, if that is known; else what its texts name.
        progress: told about files and times.

    Returns:
        States of successive times.

    Raises:
        InputMissing: a file that is not there.
        InputError: a channel that no source has, grids that differ or are curvilinear, no common time, and all that
            reading finds.
    """
    parts = []
    for name, source in sources.items():
        paths = (
            expand(source.files, resolve, key=f"{key}.{name}.files", folders=source.kind == "zarr")
            if files is None
            else files[name]
        )
        parts += [_Part(path, source, f"{key}.{name}") for path in paths]
    if not parts:
        raise InputError("no gridded source is configured", key=key)
    return _states(parts, channels, channels, plane, periodic, None, None, True, progress)


def read_gridded(
    source: GriddedSource,
    channels: Sequence[str],
    files: Sequence[Path],
    *,
    times: Array | None = None,
    grid: Grid | None = None,
    plane: bool = False,
    periodic: tuple[bool, bool] | None = None,
    regular: bool = False,
    key: str = "source",
    progress: Progress = silent,
) -> Iterator[State]:
    """The channels that one source has, in the order of `channels`.

    Args:
        source: its configuration.
        channels: names; those that the source does not have are left out, unless `source.variables` names them.
        files: what `expand` makes of `source.files`.
        times: read only these, those of them that the source has [T].
        grid: give the fields on the points of this grid, in its order; the files may hold more points.
        plane, periodic: of the grid, as in `ArchiveConfig`.
        regular: whether a curvilinear grid, with latitude and longitude at every point, is an error.
        key: configuration key of the source, for messages.
        progress: told about files and times.

    Returns:
        States of successive times.

    Raises:
        InputError: none of the channels is there; as in `read_sources`.
    """
    parts = [_Part(path, source, key) for path in files]
    wanted = [c for c in channels if c in source.variables]
    return _states(parts, channels, wanted, plane, periodic, grid, times, regular, progress)


@dataclass(frozen=True)
class _Part:
    """A file and the source that it belongs to."""

    path: Path
    source: GriddedSource
    key: str


@dataclass(eq=False)
class _Entries:
    """Where a channel is: times [n] in order, the part and the entry within it of each."""

    times: Array
    part: Array
    entry: Array

    def at(self, times: Array) -> "_Entries":
        index = np.searchsorted(self.times, times)
        return _Entries(times, self.part[index], self.entry[index])


class _Files:
    """Layers of files, a few of which are kept open."""

    def __init__(self, parts: Sequence[_Part], channels: Sequence[Channel]) -> None:
        self._parts, self._channels = parts, channels
        self._open: OrderedDict[int, tuple[ExitStack, dict[Channel, Layer], list[Field]]] = OrderedDict()

    def __enter__(self) -> "_Files":
        return self

    def __exit__(self, *_: object) -> None:
        while self._open:
            self._open.popitem()[1][0].close()

    def layers(self, number: int) -> dict[Channel, Layer]:
        """The layers of part `number`."""
        return self._get(number)[1]

    def fields(self, number: int) -> list[Field]:
        """All that part `number` has."""
        return self._get(number)[2]

    def _get(self, number: int) -> tuple[ExitStack, dict[Channel, Layer], list[Field]]:
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        if len(self._open) >= _OPEN_FILES:
            self._open.popitem(last=False)[1][0].close()
        part = self._parts[number]
        with ExitStack() as stack:
            fields = stack.enter_context(_OPEN[part.source.kind](part.path, part.source))
            found = {c: layer_of(c, fields, part.source, part.key) for c in self._channels}
            layers = {c: layer for c, layer in found.items() if layer is not None}
            self._open[number] = (stack.pop_all(), layers, fields)
        return self._open[number]

    def read(self, channel: Channel, where: _Entries, targets: "_Targets") -> Array:
        """The fields of a channel at all of `where`, [T, H, W] on the common grid."""
        breaks = np.flatnonzero((np.diff(where.part) != 0) | (np.diff(where.entry) != 1)) + 1
        runs = np.split(np.arange(len(where.times)), breaks)
        blocks = []
        for run in runs:
            number, first = int(where.part[run[0]]), int(where.entry[run[0]])
            x = self.layers(number)[channel].read(first, first + len(run))
            blocks.append(targets[number, channel].take(x))
        return np.concatenate(blocks)


@dataclass(frozen=True, eq=False)
class _Target:
    """How a file's points become those of the common grid: rows and columns to take, None for all as they are."""

    rows: Array | None = None
    columns: Array | None = None

    def take(self, x: Array) -> Array:
        if self.rows is not None:
            x = x[:, self.rows]
        return x if self.columns is None else x[:, :, self.columns]


_Targets = dict[tuple[int, Channel], _Target]


def _states(
    parts: Sequence[_Part],
    names: Sequence[str],
    wanted: Sequence[str],
    plane: bool,
    periodic: tuple[bool, bool] | None,
    grid: Grid | None,
    only: Array | None,
    regular: bool,
    progress: Progress,
) -> Iterator[State]:
    channels = [Channel.parse(name) for name in names]
    with ExitStack() as stack:
        parts = [whole for part in parts for whole in _unpacked(part, stack)]
        files = stack.enter_context(_Files(parts, channels))
        catalogue, targets, common = _scan(files, parts, channels, grid, progress)
        _check_complete(catalogue, files, parts, names, wanted)
        if regular and not common.is_regular:
            raise InputError(
                f"the grid is curvilinear: latitude and longitude are 2-D fields of {common.shape[0]} x "
                f"{common.shape[1]} points, not lines",
                file=parts[0].path,
                key=parts[0].key,
                hint="regrid the files first to rows of latitude and columns of longitude, by cdo remapbil or xesmf",
            )
        grid = grid or Grid(common.latitude, common.longitude, periodic or common.periodic, plane)
        cells = grid.shape[0] * grid.shape[1]
        catalogue = {c: _resolve(files, parts, c, e, targets, cells) for c, e in catalogue.items()}
        times = _common(catalogue, parts)
        if only is not None:
            times = np.intersect1d(times, np.asarray(only, dtype="datetime64[s]"))
        size = max(1, int(_CHUNK_BYTES / (4 * len(catalogue) * cells)))
        for start in range(0, len(times), size):
            chunk = times[start : start + size]
            values = np.stack([files.read(c, e.at(chunk), targets) for c, e in catalogue.items()], axis=1)
            yield State(values, tuple(catalogue), grid, chunk)
            progress("times", start + len(chunk), len(times))


def _unpacked(part: _Part, stack: ExitStack) -> list[_Part]:
    """A file as it is; of a ZIP archive the files within, until `stack` is closed."""
    if part.source.kind == "zarr" or not is_zip(part.path):
        return [part]
    inside = stack.enter_context(fields_within(part.path, f"{part.key}.files"))
    return [_Part(path, part.source.model_copy(update={"kind": kind}), part.key) for path, kind in inside]


def _scan(
    files: _Files, parts: Sequence[_Part], channels: Sequence[Channel], grid: Grid | None, progress: Progress
) -> tuple[dict[Channel, _Entries], _Targets, Grid]:
    """The catalogue from the coordinates of all files, how each comes to the common grid, and that grid."""
    found: dict[Channel, list[_Entries]] = {c: [] for c in channels}
    targets: _Targets = {}
    common, first = grid, parts[0]
    for number, part in enumerate(parts):
        for channel, layer in files.layers(number).items():
            if common is None:
                common, first = layer.grid, part
            target = _target(layer.grid, common, subset=grid is not None)
            if target is None:
                raise InputError(
                    f"'{channel}' is on another grid ({layer.grid}) than "
                    + (f"the archive ({common})" if grid is not None else f"{first.path.name} has ({common})"),
                    file=part.path,
                    key=part.key,
                    hint="regrid the files to one grid first",
                )
            targets[number, channel] = target
            entry = _dated(layer.times, part)
            found[channel].append(_Entries(layer.times[entry], np.full(len(entry), number), entry))
        progress("files", number + 1, len(parts))
    joined = {c: _join(entries) for c, entries in found.items() if entries}
    return joined, targets, common if common is not None else Grid(np.zeros(1), np.zeros(1))


def _dated(times: Array, part: _Part) -> Array:
    """Which of the times of a file are wanted [n]."""
    dates = part.source.dates
    if dates is None:
        return np.arange(len(times))
    return np.flatnonzero(np.isin(times, moments(dates, np.datetime64("now", "s"))))


def _join(entries: Sequence[_Entries]) -> _Entries:
    times, part, entry = (np.concatenate([getattr(e, name) for e in entries]) for name in ("times", "part", "entry"))
    order = np.argsort(times, kind="stable")
    return _Entries(times[order], part[order], entry[order])


def _check_complete(
    catalogue: Mapping[Channel, _Entries],
    files: _Files,
    parts: Sequence[_Part],
    names: Sequence[str],
    wanted: Sequence[str],
) -> None:
    """Every wanted channel has to be in some file, and one channel at least."""
    have = {c.name for c in catalogue}
    missing = [name for name in wanted if name not in have] or ([] if have else list(names))
    if not missing:
        return
    name = missing[0]
    number = next((i for i, p in enumerate(parts) if name in p.source.variables), 0)
    part, fields = parts[number], files.fields(number)
    mapped = part.source.variables.get(name)
    what = f"no '{mapped}' for channel '{name}'" if mapped else f"nothing that is channel '{name}'"
    others = f" (and {len(parts) - 1} more files)" if len(parts) > 1 else ""
    raise InputError(
        f"{what} in the file{others}; it has {contents(fields)}",
        file=part.path,
        key=f"{part.key}.variables.{name}",
        hint=f"{nearest(mapped or name, fields)}name it: variables: {{{name}: NAME_IN_FILE}}",
    )


def _resolve(
    files: _Files, parts: Sequence[_Part], channel: Channel, entries: _Entries, targets: _Targets, cells: int
) -> _Entries:
    """Each time once: of identical fields the first, while different ones are an error."""
    again = np.flatnonzero(entries.times[1:] == entries.times[:-1]) + 1
    size = max(1, int(_CHUNK_BYTES / (8 * cells)))
    for start in range(0, len(again), size):
        later, earlier = again[start : start + size], again[start : start + size] - 1
        a, b = (
            files.read(channel, _Entries(entries.times[i], entries.part[i], entries.entry[i]), targets)
            for i in (earlier, later)
        )
        differ = np.flatnonzero((a != b).any(axis=(1, 2)))
        if differ.size:
            i = later[differ[0]]
            one, other = parts[int(entries.part[i - 1])], parts[int(entries.part[i])]
            also = "the file itself" if one.path == other.path else one.path.name
            raise InputError(
                f"'{channel}' at {format_time(entries.times[i])} differs from that of {also} "
                f"by up to {np.abs(a - b)[differ[0]].max():g} {channel.info.unit}",
                file=other.path,
                key=f"{other.key}.files",
                hint="name the files so that each time comes from one",
            )
    keep = np.ones(len(entries.times), dtype=bool)
    keep[again] = False
    return _Entries(entries.times[keep], entries.part[keep], entries.entry[keep])


def _common(catalogue: Mapping[Channel, _Entries], parts: Sequence[_Part]) -> Array:
    """The times that every channel has."""
    entries = list(catalogue.values())
    times = entries[0].times
    for other in entries[1:]:
        times = np.intersect1d(times, other.times, assume_unique=True)
    if times.size == 0:
        spans = "; ".join(
            f"{c} {format_time(e.times[0])}..{format_time(e.times[-1])}" if e.times.size else f"{c} no time"
            for c, e in catalogue.items()
        )
        raise InputError(f"no time that all channels have ({spans})", file=parts[0].path, key=parts[0].key)
    lost = max(len(e.times) for e in entries) - len(times)
    if lost:
        _log.warning("%d times are left out: not every channel has them", lost)
    return times


def _target(have: Grid, want: Grid, *, subset: bool) -> _Target | None:
    """How the points of `have` become those of `want`; None if they are not the same (or do not include them)."""
    if have.shape == want.shape and np.allclose(have.latitude, want.latitude, rtol=0, atol=_ROUNDING):
        if have.same(want):
            return _Target()
    if not (have.is_regular and want.is_regular) or (have.shape != want.shape and not subset):
        return None
    rows = _positions(have.latitude, want.latitude)
    columns = _positions(np.mod(have.longitude + _ROUNDING, 360.0), np.mod(want.longitude + _ROUNDING, 360.0))
    return None if rows is None or columns is None else _Target(rows, columns)


def _positions(have: Array, want: Array) -> Array | None:
    """Where each of `want` is in `have`; None if one is not there."""
    distance = np.abs(have[None, :] - want[:, None])
    index = distance.argmin(axis=1)
    return index if (distance[np.arange(len(want)), index] < _ROUNDING).all() else None
