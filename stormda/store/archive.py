"""The gridded archive: what priors learn from, one Zarr v3 group that any tool reads.

    <channel>   [time, latitude, longitude] float32, physical units, CF attributes; chunks of about 1 MB along time
    time, latitude, longitude               coordinates (y, x dimensions where the grid is not regular)
    y, x, crs                               lines and CF grid mapping of a projected grid
    climatology_coefficients, anomaly_sd, harmonics     the normaliser, fitted to the training period
    mean, sd, minimum, maximum, clamped     [channel], of the training period; area weights

Chunks hold whole fields, so that one time is one read a channel and training is a few. An archive is written under a
temporary name and renamed: a reader sees the old one or the new one, whenever the writer is killed. Memory while
writing is that of one chunk of states and one Zarr chunk a channel, whatever the length of the archive; the
statistics are taken in a second pass, over what was written.
"""

__all__ = ["Archive", "ArchiveWriter", "write_archive"]

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec

from stormda.config import Harmonics, Period
from stormda.errors import InputError, InputMissing
from stormda.grid import Grid
from stormda.normaliser import Normaliser, clamped
from stormda.state import State
from stormda.store.archive_grid import dimensions, get_grid, put_grid
from stormda.store.cf import CONVENTIONS, channel_attributes
from stormda.store.publish import atomic_folder, plain
from stormda.time import format_time
from stormda.types import Array
from stormda.variables import Channel

_FORMAT = "stormda-archive-1"
_CHUNK_BYTES = 1 << 20  # of float32: a Zarr chunk
_PASS_BYTES = 16e6  # of float32: what the second pass reads at once
_DAYS_OF_YEAR = 365.2425
_STATISTICS = ("mean", "sd", "minimum", "maximum", "clamped")
_HINT = "stormda ingest builds it"


@dataclass(frozen=True, eq=False)
class Archive:
    """An archive that is open for reading.

    Args:
        path: its folder.
        channels: C channels.
        grid: H x W points.
        times: datetime64[s] [T], rising; gaps are legal.
        step: the step of the configuration; multiples of it may be missing.
        normaliser: fitted to the training period.
        statistics: `mean`, `sd`, `minimum`, `maximum` in physical units and `clamped` (values outside the bounds of the
            variable's transform), each [C], of the training period.
        provenance: what the writer said about the inputs.
    """

    path: Path
    channels: tuple[Channel, ...]
    grid: Grid
    times: Array
    step: np.timedelta64
    normaliser: Normaliser
    statistics: Mapping[str, Array]
    provenance: Mapping[str, Any]
    _arrays: tuple[zarr.Array[Any], ...]

    @classmethod
    def open(cls, path: Path) -> "Archive":
        """Open what `write_archive` wrote.

        Raises:
            InputMissing: there is none.
            InputError: it is incomplete, or something else.
        """
        if not path.exists():
            raise InputMissing("there is no archive yet", file=path, key="archive.path", hint=_HINT)
        try:
            return cls._open(path)
        except (KeyError, IndexError, TypeError, ValueError, OSError, InputError) as error:
            raise InputError(f"not a complete archive ({error})", file=path, hint=_HINT + " again") from error

    @classmethod
    def _open(cls, path: Path) -> "Archive":
        group = zarr.open_group(path, mode="r")
        facts: dict[str, Any] = dict(group.attrs)
        if facts.get("format") != _FORMAT:
            raise ValueError(f"format {facts.get('format')}, not {_FORMAT}")
        channels = tuple(Channel.parse(name) for name in facts["channels"])
        grid = get_grid(group, facts)
        times = _load(group, "time").astype("datetime64[s]")
        names = ("climatology_coefficients", "anomaly_sd", "harmonics")
        normaliser = Normaliser.from_arrays({n: _load(group, n) for n in names}, channels)
        arrays = tuple(_array(group, c.name) for c in channels)
        for array, channel in zip(arrays, channels, strict=True):
            if array.shape != (len(times), *grid.shape):
                raise ValueError(f"{channel} has the shape {array.shape}")
        statistics = {n: _load(group, n) for n in _STATISTICS}
        step = np.timedelta64(int(facts["step_seconds"]), "s")
        return cls(path, channels, grid, times, step, normaliser, statistics, facts["provenance"], arrays)

    @property
    def chunk(self) -> int:
        """Times of a Zarr chunk, which are cheapest to read together."""
        return int(self._arrays[0].chunks[0])

    def read(self, index: Array | slice) -> State:
        """The states at positions `index` of `times`, in that order, float32.

        Raises:
            InputError: a chunk is missing or damaged.
        """
        positions = np.arange(len(self.times))[index]
        values = np.empty((len(positions), len(self.channels), *self.grid.shape), dtype=np.float32)
        try:
            for c, array in enumerate(self._arrays):
                _gather(array, positions, values[:, c])
            return State(values, self.channels, self.grid, self.times[positions])
        except (OSError, ValueError, RuntimeError, InputError) as error:
            raise InputError(f"the archive is damaged ({error})", file=self.path, hint=_HINT + " again") from error

    def find(self, times: Array) -> Array:
        """Positions of `times` [T], -1 where the archive has none."""
        times = np.atleast_1d(np.asarray(times, dtype="datetime64[s]"))
        at = np.minimum(np.searchsorted(self.times, times), len(self.times) - 1)
        return np.where(self.times[at] == times, at, -1)

    def select(self, period: Period | None) -> Array:
        """Positions of the times of a period, without its excluded days; of all times for None."""
        return _select(self.times, period)


def write_archive(
    path: Path,
    chunks: Iterable[State],
    *,
    step: np.timedelta64,
    harmonics: Harmonics,
    train: Period | None,
    provenance: Mapping[str, Any],
) -> Archive:
    """Write an archive, in the place of one that is there, and open it.

    Args:
        path: its folder.
        chunks: states of successive times, of one grid and the same channels.
        step: nominal distance of times.
        harmonics: of the climatology, at most; what the training times cannot tell apart is left out.
        train: the period that statistics and climatology are taken from; None: all.
        provenance: facts to keep with it.

    Raises:
        InputError: no states, states that do not fit each other, times that do not rise, no time in the training
            period, a channel that never varies.
        OutputError: no room, no permission. An archive that was there is as it was.
    """
    with atomic_folder(path) as folder:
        writer = ArchiveWriter(zarr.open_group(folder, mode="w"))
        for state in chunks:
            writer.append(state)
        writer.finish(step, harmonics, train, provenance)
    return Archive.open(path)


class ArchiveWriter:
    """Appends states to the arrays, a whole Zarr chunk at a time, then takes the statistics.

    Args:
        group: an empty one.
    """

    def __init__(self, group: zarr.Group) -> None:
        self._group = group
        self._first: State | None = None
        self._times: list[Array] = []
        self._waiting: list[Array] = []
        self._length = 1  # times in a Zarr chunk
        self._written = 0

    def append(self, state: State) -> None:
        """Write states of times after those that are there."""
        first = self._begin(state) if self._first is None else self._first
        if state.channels != first.channels or not state.grid.same(first.grid):
            raise InputError("states of one archive have to share channels and grid")
        times = state.times
        if len(times) != len(state.values):
            raise InputError("a state of an archive has one time an entry")
        joined = np.concatenate([*self._times[-1:], times])
        late = np.flatnonzero(np.diff(joined) <= np.timedelta64(0, "s"))
        if late.size:
            raise InputError(f"the times of the archive do not rise at {format_time(joined[late[0] + 1])}")
        self._times.append(times)
        self._waiting.append(np.asarray(state.values, dtype=np.float32))
        ready = sum(map(len, self._waiting)) // self._length * self._length
        if ready:
            values = np.concatenate(self._waiting)
            self._write(values[:ready])
            self._waiting = [values[ready:].copy()]

    def reserve(self, channels: tuple[Channel, ...], grid: Grid, times: Array) -> int:
        """Make room for all times at once, for others to fill: whole Zarr chunks, of as many times as this tells."""
        self._begin(State(np.empty((0, len(channels), *grid.shape), np.float32), channels, grid, times[:0]))
        for channel in channels:
            _array(self._group, channel.name).resize((len(times), *grid.shape))
        self._times = [times]
        return self._length

    def finish(
        self, step: np.timedelta64, harmonics: Harmonics, train: Period | None, provenance: Mapping[str, Any]
    ) -> None:
        """Write the rest, the times, and the statistics."""
        if self._first is None:
            raise InputError("there are no fields to write", key="archive.sources")
        if self._waiting:
            self._write(np.concatenate(self._waiting))
        times, grid = np.concatenate(self._times), self._first.grid
        _put(self._group, "time", times.astype(np.int64), ("time",)).attrs.update(
            {"units": "seconds since 1970-01-01", "calendar": "proleptic_gregorian", "standard_name": "time"}
        )
        annual, diurnal = _statistics(self._group, self._first, times, _select(times, train), harmonics)
        facts = {
            "Conventions": CONVENTIONS,
            "format": _FORMAT,
            "channels": [c.name for c in self._first.channels],
            "step_seconds": int(step / np.timedelta64(1, "s")),
            "periodic": list(grid.periodic),
            "plane": grid.plane,
            "harmonics": {"annual": annual, "diurnal": diurnal},
            "train": None if train is None else train.model_dump(mode="json"),
            "provenance": provenance,
        }
        self._group.attrs.update(plain(facts))
        with warnings.catch_warnings():  # All metadata in one file: an extension of Zarr v3 that its readers look for.
            warnings.filterwarnings("ignore", message="Consolidated metadata")
            zarr.consolidate_metadata(self._group.store)

    def _begin(self, state: State) -> State:
        self._first, grid = state, state.grid
        dims, mapping = put_grid(self._group, grid)
        self._length = max(1, _CHUNK_BYTES // (4 * grid.shape[0] * grid.shape[1]))
        for channel in state.channels:
            array = self._group.create_array(
                channel.name,
                shape=(0, *grid.shape),
                chunks=(self._length, *grid.shape),
                dtype="float32",
                fill_value=np.nan,  # a chunk that is lost is no data
                compressors=BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"),  # benchmarks/ingest.md
                dimension_names=("time", *dims),
            )
            array.attrs.update({**channel_attributes(channel), **_level(channel), **mapping})
        return state

    def _write(self, values: Array) -> None:
        if len(values) == 0 or self._first is None:
            return
        stop = self._written + len(values)
        for c, channel in enumerate(self._first.channels):
            array = _array(self._group, channel.name)
            array.resize((stop, *self._first.grid.shape))
            array[self._written : stop] = values[:, c]
        self._written = stop


def _statistics(group: zarr.Group, first: State, times: Array, train: Array, harmonics: Harmonics) -> tuple[int, int]:
    """Fit the normaliser and take mean, sd and range, in one pass over the training times; returns the harmonics."""
    channels, grid = first.channels, first.grid
    arrays = [_array(group, c.name) for c in channels]
    moments = _Moments(grid.weights, channels)

    def parts() -> Iterator[tuple[Array, Array]]:
        size = max(1, int(_PASS_BYTES / (4 * len(channels) * grid.shape[0] * grid.shape[1])))
        for start in range(0, len(train), size):
            index = train[start : start + size]
            values = np.empty((len(index), len(channels), *grid.shape), dtype=np.float32)
            for c, array in enumerate(arrays):
                _gather(array, index, values[:, c])
            moments.add(values)
            yield values, times[index]

    annual, diurnal = _resolved(times[train], harmonics)
    normaliser = Normaliser.fit(parts(), channels, annual, diurnal, grid.weights)
    dims = {
        "climatology_coefficients": ("harmonic", "channel", *dimensions(grid)),
        "anomaly_sd": ("channel",),
        "harmonics": ("annual_diurnal",),
    }
    for name, values in normaliser.arrays().items():
        _put(group, name, values, dims[name])
    for name, values in moments.result().items():
        _put(group, name, values, ("channel",))
    return annual, diurnal


class _Moments:
    """Mean, standard deviation, range and clamped values of each channel, merged chunk by chunk.

    Chan, Golub and LeVeque 1983, https://doi.org/10.1080/00031305.1983.10483115: no cancellation, whatever the mean.
    """

    def __init__(self, weights_HW: Array, channels: tuple[Channel, ...]) -> None:
        self._weights, self._channels = weights_HW / weights_HW.sum(), channels
        self._count = 0
        self._mean, self._square = np.zeros(len(channels)), np.zeros(len(channels))
        self._low, self._high = np.full(len(channels), np.inf), np.full(len(channels), -np.inf)
        self._clamped = np.zeros(len(channels), dtype=np.int64)

    def add(self, x_TCHW: Array) -> None:
        n = len(x_TCHW)
        mean = np.einsum("tchw,hw->c", x_TCHW, self._weights) / n
        square = np.einsum("tchw,hw->c", (x_TCHW - mean[:, None, None]) ** 2, self._weights)
        gap, total = mean - self._mean, self._count + n
        self._square += square + gap**2 * self._count * n / total
        self._mean += gap * n / total
        self._count = total
        self._low = np.minimum(self._low, x_TCHW.min(axis=(0, 2, 3)))
        self._high = np.maximum(self._high, x_TCHW.max(axis=(0, 2, 3)))
        self._clamped += [clamped(x_TCHW[:, [i]], (c,)) for i, c in enumerate(self._channels)]

    def result(self) -> dict[str, Array]:
        sd = np.sqrt(self._square / self._count)
        return dict(zip(_STATISTICS, (self._mean, sd, self._low, self._high, self._clamped), strict=True))


def _resolved(times: Array, harmonics: Harmonics) -> tuple[int, int]:
    """How many annual and diurnal harmonics the training times tell apart.

    A wave of k cycles a year needs times closer than half its length all around the year, else the fit is free to swing
    where there are none; k cycles a day need 2 k hours of the day.
    """
    if len(times) == 0:
        return harmonics.annual, harmonics.diurnal
    seconds = times.astype("datetime64[s]").astype(np.int64)
    days = np.sort(seconds / 86400 % _DAYS_OF_YEAR)
    gap = np.diff(days, append=days[0] + _DAYS_OF_YEAR).max()
    hours = len(np.unique(seconds % 86400))
    return min(harmonics.annual, int(_DAYS_OF_YEAR / (2 * gap))), min(harmonics.diurnal, hours // 2)


def _select(times: Array, period: Period | None) -> Array:
    if period is None:
        return np.arange(len(times))
    inside = (times >= period.start) & (times <= period.end)
    excluded = np.array([day.astype("datetime64[D]") for day in period.exclude], dtype="datetime64[D]")
    return np.flatnonzero(inside & ~np.isin(times.astype("datetime64[D]"), excluded))


def _gather(array: zarr.Array[Any], positions: Array, out: Array) -> None:
    """out[i] = array[positions[i]], reading each Zarr chunk that is touched once."""
    length = array.chunks[0]
    chunk = positions // length
    for number in np.unique(chunk):
        mine = np.flatnonzero(chunk == number)
        start, stop = int(positions[mine].min()), int(positions[mine].max()) + 1
        block = np.asarray(array[start:stop])
        out[mine] = block[positions[mine] - start]


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise ValueError(f"{name} is not an array")
    return array


def _load(group: zarr.Group, name: str) -> Array:
    return np.asarray(_array(group, name)[:])


def _put(group: zarr.Group, name: str, values: Array, dims: tuple[str, ...]) -> zarr.Array[Any]:
    return group.create_array(name, data=np.array(values), dimension_names=dims)


def _level(channel: Channel) -> dict[str, float | str]:
    if channel.level is None:
        return {}
    return {"level": channel.level, "level_type": channel.info.level_type.value}
