"""The gridded archive: what priors learn from, one Zarr v3 group that any tool reads.

One array a channel [time, latitude, longitude] in chunks of time, CF attributes, and the statistics of the training period:
the climatology (`stormda.normaliser`) and, a channel, mean, standard deviation, least and largest value. It is written under
a temporary name and renamed: a reader sees the old archive or the new one.
"""

__all__ = ["Archive", "write_archive"]

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from stormda.config import Harmonics, Period
from stormda.errors import InputError, InputMissing
from stormda.grid import Grid
from stormda.normaliser import Normaliser
from stormda.state import State
from stormda.store.publish import atomic_folder
from stormda.types import Array
from stormda.variables import Channel

FORMAT = "stormda-archive-1"
_CHUNK = 64  # times


@dataclass(frozen=True, eq=False)
class Archive:
    """An open archive: C channels on one grid at T times."""

    path: Path
    channels: tuple[Channel, ...]
    grid: Grid
    times: Array
    step: np.timedelta64
    normaliser: Normaliser
    group: zarr.Group

    @classmethod
    def open(cls, path: Path) -> "Archive":
        """Raises InputMissing where there is none, InputError where it is broken."""
        if not path.exists():
            raise InputMissing(
                "there is no archive yet", file=path, key="archive.path", hint="stormda ingest builds it"
            )
        try:
            group = zarr.open_group(path, mode="r")
            facts = json.loads(str(group.attrs["stormda"]))
            if facts["format"] != FORMAT:
                raise KeyError("format")
            channels = tuple(Channel.parse(name) for name in facts["channels"])
            grid = Grid(
                np.asarray(group["latitude"]), np.asarray(group["longitude"]), tuple(facts["periodic"]), facts["plane"]
            )
            times = np.asarray(group["time"]).astype("datetime64[s]")
            arrays = {n: np.asarray(group[n]) for n in ("climatology_coefficients", "anomaly_sd", "harmonics")}
            normaliser = Normaliser.from_arrays(arrays, channels)
        except (KeyError, ValueError, TypeError, OSError) as error:
            raise InputError(
                f"not a complete archive: {error}", file=path, hint="stormda ingest builds it again"
            ) from error
        return cls(path, channels, grid, times, np.timedelta64(facts["step_seconds"], "s"), normaliser, group)

    def read(self, index: Array | slice) -> State:
        """The states at positions `index` of `times`."""
        if not isinstance(index, slice):
            index = np.asarray(index)
        values = np.stack([self.group[c.name].oindex[index] for c in self.channels], axis=1)
        return State(values, self.channels, self.grid, self.times[index])

    def find(self, times: Array) -> Array:
        """Positions of `times`, -1 where the archive has none."""
        times = np.asarray(times, dtype="datetime64[s]")
        place = np.minimum(np.searchsorted(self.times, times), len(self.times) - 1)
        return np.where(self.times[place] == times, place, -1)

    def select(self, period: Period | None) -> Array:
        """Positions within a period, without its excluded days; all for None."""
        if period is None:
            return np.arange(len(self.times))
        keep = (self.times >= period.start) & (self.times <= period.end)
        for day in period.exclude:
            keep &= self.times.astype("datetime64[D]") != day.astype("datetime64[D]")
        return np.flatnonzero(keep)


def write_archive(
    path: Path,
    chunks: Iterable[State],
    *,
    step: np.timedelta64,
    harmonics: Harmonics,
    train: Period | None,
    provenance: Mapping[str, Any],
) -> Archive:
    """Write states, in order of time, and the statistics of the training period; replaces an archive that is there.

    Raises:
        InputError: no states, states that do not fit each other, times that do not rise, a channel that never varies.
    """
    with atomic_folder(path) as temporary:
        group = zarr.open_group(temporary, mode="w")
        times: list[Array] = []
        first: State | None = None
        for state in chunks:
            if first is None:
                first = state
                for name, line, unit in (
                    ("latitude", state.grid.latitude, "degrees_north"),
                    ("longitude", state.grid.longitude, "degrees_east"),
                ):
                    dims = (name,) if state.grid.is_regular else ("y", "x")
                    group.create_array(name, data=np.array(line), dimension_names=dims).attrs.update(
                        units=unit, standard_name=name
                    )
                for c in state.channels:
                    h, w = state.grid.shape
                    a = group.create_array(
                        c.name, shape=(0, h, w), chunks=(_CHUNK, h, w), dtype="float32",
                        dimension_names=("time", *(("latitude", "longitude") if state.grid.is_regular else ("y", "x"))),
                    )  # fmt: skip
                    a.attrs.update(units=c.info.unit, long_name=c.info.long_name)
            if state.channels != first.channels or not state.grid.same(first.grid):
                raise InputError("states of one archive must share their channels and grid")
            n = sum(len(t) for t in times)
            for i, c in enumerate(state.channels):
                array = group[c.name]
                array.resize((n + len(state.values), *state.grid.shape))
                array[n:] = state.values[:, i]
            times.append(state.times)
        if first is None:
            raise InputError("there are no states to write", key="archive.sources")
        all_times = np.concatenate(times)
        if not (np.diff(all_times) > np.timedelta64(0, "s")).all():
            raise InputError("the times of the archive do not rise", key="archive.sources")
        time = group.create_array(
            "time", data=all_times.astype("datetime64[s]").astype(np.int64), dimension_names=("time",)
        )
        time.attrs.update(units="seconds since 1970-01-01", calendar="proleptic_gregorian", standard_name="time")
        grid = first.grid
        facts = {
            "format": FORMAT, "channels": [c.name for c in first.channels], "plane": grid.plane,
            "periodic": list(grid.periodic), "step_seconds": int(step / np.timedelta64(1, "s")), "provenance": dict(provenance),
        }  # fmt: skip
        keep = np.ones(len(all_times), bool)
        if train is not None:
            keep = (all_times >= train.start) & (all_times <= train.end)
            for day in train.exclude:
                keep &= all_times.astype("datetime64[D]") != day.astype("datetime64[D]")
        chosen = np.flatnonzero(keep)

        def parts() -> Iterable[tuple[Array, Array]]:
            for part in np.array_split(chosen, max(1, len(chosen) // 512)):
                yield np.stack([group[c.name].oindex[part] for c in first.channels], axis=1), all_times[part]

        normaliser = Normaliser.fit(parts(), first.channels, harmonics.annual, harmonics.diurnal, grid.weights)
        for name, value in normaliser.arrays().items():
            group.create_array(name, data=value)
        group.attrs["stormda"] = json.dumps(facts)
    return Archive.open(path)
