"""Gridded sources: files of any layout become states on common times, a chunk at a time.

    files --open--> fields --find--> layers --catalogue--> of each time and channel the file and entry --read--> states

The first pass reads coordinates only and makes the catalogue. Files may hold any part: a month, a variable, a level.
Times that several files give count once if their fields are identical, else they are an error. A state needs every
channel, so only times common to all channels remain; gaps are legal. The second pass reads chunks of about 32 MB in
the order of time.
"""

__all__ = ["open_sources", "read_gridded", "read_sources"]

import logging
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from stormda.config import GriddedSource
from stormda.errors import InputError
from stormda.grid import Grid
from stormda.sources.fields import contents, nearest
from stormda.sources.files import expand
from stormda.sources.series import CHUNK_BYTES, Entries, Files, Part, Series, Target, Targets
from stormda.sources.unpack import fields_within, is_zip
from stormda.sources.urls import moments
from stormda.state import State
from stormda.time import format_time
from stormda.types import Array, Progress, silent
from stormda.variables import Channel

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
        parts += [Part(path, source, f"{key}.{name}") for path in paths]
    if not parts:
        raise InputError("no gridded source is configured", key=key)
    return _states(_series(parts, channels, channels, plane, periodic, None, None, True, progress), progress)


@contextmanager
def open_sources(
    sources: Mapping[str, GriddedSource],
    channels: Sequence[str],
    files: Mapping[str, Sequence[Path]],
    *,
    plane: bool = False,
    periodic: tuple[bool, bool] | None = None,
    key: str = "archive.sources",
    progress: Progress = silent,
) -> Iterator["Series"]:
    """As `read_sources`, with the files of each source; the states are read where and when they are asked for."""
    parts = [Part(path, source, f"{key}.{name}") for name, source in sources.items() for path in files[name]]
    if not parts:
        raise InputError("no gridded source is configured", key=key)
    with _series(parts, channels, channels, plane, periodic, None, None, True, progress) as series:
        yield series


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
        regular: whether a curvilinear grid, with latitude and longitude at every point and no projection, is an error.
        key: configuration key of the source, for messages.
        progress: told about files and times.

    Returns:
        States of successive times.

    Raises:
        InputError: none of the channels is there; as in `read_sources`.
    """
    parts = [Part(path, source, key) for path in files]
    wanted = [c for c in channels if c in source.variables]
    return _states(_series(parts, channels, wanted, plane, periodic, grid, times, regular, progress), progress)


@contextmanager
def _series(
    parts: Sequence[Part],
    names: Sequence[str],
    wanted: Sequence[str],
    plane: bool,
    periodic: tuple[bool, bool] | None,
    grid: Grid | None,
    only: Array | None,
    regular: bool,
    progress: Progress,
) -> Iterator[Series]:
    channels = [Channel.parse(name) for name in names]
    with ExitStack() as stack:
        parts = [whole for part in parts for whole in _unpacked(part, stack)]
        files = stack.enter_context(Files(parts, channels))
        catalogue, targets, common = _scan(files, parts, channels, grid, progress)
        _check_complete(catalogue, files, parts, names, wanted)
        if regular and not common.is_regular and common.projection is None:
            raise InputError(
                f"the grid is curvilinear: latitude and longitude are 2-D fields of {common.shape[0]} x "
                f"{common.shape[1]} points, not lines",
                file=parts[0].path,
                key=parts[0].key,
                hint="name its projection, a CF grid_mapping, or regrid the files first to rows of latitude and "
                "columns of longitude, by cdo remapbil or xesmf",
            )
        grid = grid or replace(common, periodic=periodic or common.periodic, plane=plane)
        cells = grid.shape[0] * grid.shape[1]
        catalogue = {c: _resolve(files, parts, c, e, targets, cells) for c, e in catalogue.items()}
        times = _common(catalogue, parts)
        if only is not None:
            times = np.intersect1d(times, np.asarray(only, dtype="datetime64[s]"))
        entries = tuple(e.at(times) for e in catalogue.values())
        with Series(tuple(catalogue), grid, times, parts, entries, targets, secrets.token_hex(8)).using(
            files
        ) as series:
            yield series


def _states(opened: AbstractContextManager[Series], progress: Progress) -> Iterator[State]:
    with opened as series:
        for start in range(0, len(series.times), series.size):
            state = series.read(start, start + series.size)
            yield state
            progress("times", start + len(state.times), len(series.times))


def _unpacked(part: Part, stack: ExitStack) -> list[Part]:
    """A file as it is; of a ZIP archive the files within, until `stack` is closed."""
    if part.source.kind == "zarr" or not is_zip(part.path):
        return [part]
    inside = stack.enter_context(fields_within(part.path, f"{part.key}.files"))
    return [Part(path, part.source.model_copy(update={"kind": kind}), part.key) for path, kind in inside]


def _scan(
    files: Files, parts: Sequence[Part], channels: Sequence[Channel], grid: Grid | None, progress: Progress
) -> tuple[dict[Channel, Entries], Targets, Grid]:
    """The catalogue from the coordinates of all files, how each comes to the common grid, and that grid."""
    found: dict[Channel, list[Entries]] = {c: [] for c in channels}
    targets: Targets = {}
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
            found[channel].append(Entries(layer.times[entry], np.full(len(entry), number), entry))
        progress("files", number + 1, len(parts))
    joined = {c: _join(entries) for c, entries in found.items() if entries}
    return joined, targets, common if common is not None else Grid(np.zeros(1), np.zeros(1))


def _dated(times: Array, part: Part) -> Array:
    """Which of the times of a file are wanted [n]."""
    dates = part.source.dates
    if dates is None:
        return np.arange(len(times))
    return np.flatnonzero(np.isin(times, moments(dates, np.datetime64("now", "s"))))


def _join(entries: Sequence[Entries]) -> Entries:
    times, part, entry = (np.concatenate([getattr(e, name) for e in entries]) for name in ("times", "part", "entry"))
    order = np.argsort(times, kind="stable")
    return Entries(times[order], part[order], entry[order])


def _check_complete(
    catalogue: Mapping[Channel, Entries],
    files: Files,
    parts: Sequence[Part],
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
    listed = "regrid the files first, by cdo remapbil or remapcon: points of a list have no rows and columns"
    named = f"{nearest(mapped or name, fields)}name it: variables: {{{name}: NAME_IN_FILE}}"
    raise InputError(
        f"{what} in the file{others}; it has {contents(fields)}",
        file=part.path,
        key=f"{part.key}.variables.{name}",
        hint=listed if fields and all(f.is_list for f in fields) else named,
    )


def _resolve(
    files: Files, parts: Sequence[Part], channel: Channel, entries: Entries, targets: Targets, cells: int
) -> Entries:
    """Each time once: of identical fields the first, while different ones are an error."""
    again = np.flatnonzero(entries.times[1:] == entries.times[:-1]) + 1
    size = max(1, int(CHUNK_BYTES / (8 * cells)))
    for start in range(0, len(again), size):
        later, earlier = again[start : start + size], again[start : start + size] - 1
        a, b = (
            files.read(channel, Entries(entries.times[i], entries.part[i], entries.entry[i]), targets)
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
    return Entries(entries.times[keep], entries.part[keep], entries.entry[keep])


def _common(catalogue: Mapping[Channel, Entries], parts: Sequence[Part]) -> Array:
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


def _target(have: Grid, want: Grid, *, subset: bool) -> Target | None:
    """How the points of `have` become those of `want`; None if they are not the same (or do not include them)."""
    if have.shape == want.shape and np.allclose(have.latitude, want.latitude, rtol=0, atol=_ROUNDING):
        if have.same(want):
            return Target()
    if have.shape != want.shape and not subset:
        return None
    if have.projection is not None and want.projection is not None:
        found = want.projection.within(have.projection)
        return None if found is None else Target(*found)
    if not (have.is_regular and want.is_regular):
        return None
    rows = _positions(have.latitude, want.latitude)
    columns = _positions(np.mod(have.longitude + _ROUNDING, 360.0), np.mod(want.longitude + _ROUNDING, 360.0))
    return None if rows is None or columns is None else Target(rows, columns)


def _positions(have: Array, want: Array) -> Array | None:
    """Where each of `want` is in `have`; None if one is not there."""
    distance = np.abs(have[None, :] - want[:, None])
    index = distance.argmin(axis=1)
    return index if (distance[np.arange(len(want)), index] < _ROUNDING).all() else None
