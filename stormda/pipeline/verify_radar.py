"""Rain and reflectivity as radars saw them, as fields on the grid of an ensemble.

    files --read_radar--> rows that the radar's checks found good, within 7.5 minutes of the time
          --boxes-------> the mean of the values in each grid box; NaN where the radar did not look
    ensemble --H--------> the same quantity at every grid point, by the operators of the configuration

A box is known where at least half as many values as usual (the median of the boxes that have any) fell into it: the rim
of a radar's range is left out. Of composites at several times the nearest is taken; the sweeps of volumes within these
minutes belong together. Reflectivities of volumes are fields in layers of 1000 m, like the observations
(`compare.labels_of`). Radial velocity depends on where the radar stands, and is no field.
"""

__all__ = ["NO_RADAR", "RadarFields", "boxes"]

import glob
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from stormda.config import Config, Dates, RadarSource
from stormda.errors import ConfigError, InputError, InputMissing
from stormda.grid import Grid
from stormda.observations import QC, Observations
from stormda.operators.build import build_operator
from stormda.pipeline.inputs import located, resolver
from stormda.pipeline.verify_truth import optional, tell
from stormda.sources.radar import read_radar
from stormda.sources.urls import filled
from stormda.state import State
from stormda.types import Array
from stormda.variables import Channel
from stormda.verification.compare import NO_LEAD, Part, Scoring, against_field, labels_of

NO_RADAR = "no radar field at"
_KEY = "verify.radar"
_FIELDS = ("rr", "tp", "dbzc", "dbz")
_WITHIN = np.timedelta64(450, "s")  # half of the quarter of an hour between composites of OPERA
_NEVER = np.datetime64("NaT", "s")
_HOUR = np.timedelta64(3600, "s")
_OPEN = 8  # files whose rows are kept: those around a time, or one that holds many times


class RadarFields:
    """The fields of `verify.radar`; a file is read when a time needs it.

    Args:
        config: the run.
        source: what to read.
        missing: gets a sentence for every file that cannot be read; the others are.
    """

    def __init__(self, config: Config, source: RadarSource, missing: list[str]) -> None:
        self._config, self._source, self._missing = config, source, missing
        self._spans: dict[Path, tuple[np.datetime64, np.datetime64]] = {}
        self._read = lru_cache(maxsize=_OPEN)(self._read_file)
        self.rows = lru_cache(maxsize=1)(self._at)

    def _at(self, time: np.datetime64) -> Observations:
        """What was seen at a time; no rows where there is no file of it.

        Raises:
            OutputError: the cache of files at URLs cannot be written.
        """
        parts = [self._near(path, time) for path in self._files(time)]
        rows = Observations.concat([p for p in parts if len(p)])
        flat = np.isnan(rows["level"])  # composites: the nearest picture of each quantity
        keep = ~flat
        away = np.abs(rows["time"] - time)
        for variable in np.unique(rows["variable"][flat].astype(str)):
            own = flat & (rows["variable"] == variable)
            keep |= own & (away == away[own].min())
        return rows.where(keep)

    def score(
        self,
        side: str,
        state: State,
        time: np.datetime64,
        split: int,
        *,
        scoring: Scoring,
        lead: np.timedelta64 = NO_LEAD,
    ) -> list[Part]:
        """The parts of an ensemble against what was seen; none where nothing was.

        Raises:
            InputError: the grid is curvilinear.
            ConfigError: no operator maps the state to what was seen.
        """
        parts: list[Part] = []
        channels = tuple(state.channels)
        for label, seen in boxes(self.rows(time), state.grid, time).items():
            if not scoring.wants(label):
                continue
            members = self._seen_by(seen, state.values, state.grid, channels, time)
            value = seen["value"].reshape(state.grid.shape)
            known = np.isfinite(value) & np.isfinite(members).all(axis=0)
            where = "radar", side, Channel.parse(label), members, value, state.grid, time, split
            if known.any():
                parts += against_field(*where, scoring=scoring, lead=lead, known_HW=known)
        return parts

    def _files(self, time: np.datetime64) -> list[Path]:
        """Those that may hold a time; texts with `%` are filled in with it."""
        source, found = self._source, []
        dates = source.dates or Dates(start=time, end=time, every=_HOUR)
        for text in filled(source.files, dates, source.sites, time):
            try:
                found += located(self._config, [text], key=f"{_KEY}.files")
            except InputMissing:
                continue  # told of once a time, where nothing of it is there
            except InputError as error:
                tell(str(error), self._missing)
        return list(dict.fromkeys(found))

    def _near(self, path: Path, time: np.datetime64) -> Observations:
        """The rows of a file that lie near a time; a file that is known to hold other times is not opened again."""
        first, last = self._spans.get(path, (time, time))
        if not first - _WITHIN <= time <= last + _WITHIN:  # false for NaT, of a file that holds nothing
            return Observations.empty()
        rows = optional(lambda: self._read(path), self._missing)
        if rows is None or not len(rows):
            self._spans[path] = _NEVER, _NEVER
            return Observations.empty()
        self._spans[path] = rows["time"].min(), rows["time"].max()
        return rows.where(np.abs(rows["time"] - time) <= _WITHIN)

    def _read_file(self, path: Path) -> Observations:
        source = self._source
        own = source.model_copy(update={"files": (glob.escape(str(path)),), "dates": None, "sites": ()})
        try:
            rows = read_radar(own, "radar", Path)
        except (InputError, InputMissing) as error:
            raise type(error)(error.what, file=error.file or path, key=_KEY, hint=error.hint) from error
        return rows.where((rows["qc"] == QC.USED) & ~np.isnat(rows["time"]) & np.isin(rows["variable"], _FIELDS))

    def _seen_by(
        self, seen: Observations, values_MCHW: Array, grid: Grid, channels: tuple[Channel, ...], time: np.datetime64
    ) -> Array:
        """What a radar would see of each member at every grid point, [M, H, W]."""
        there = seen.replace(value=np.nan_to_num(seen["value"]))
        # A member's value itself is scored: what `zero` makes of it is for a likelihood.
        plain = {n: own.model_copy(update={"zero": None}) for n, own in self._config.operators.items()}
        operator, flagged, rows = build_operator(there, grid, channels, plain, time, resolve=resolver(self._config))
        if not len(rows):
            label, code = labels_of(seen, ())[0], QC(int(flagged["qc"][0])).words
            hint = f"a channel or `operators.{seen['variable'][0]}` for it, or `keep` without it"
            raise ConfigError(f"nothing maps the state to {label} ({code})", key=_KEY, hint=hint)
        out = np.full((len(values_MCHW), len(seen)), np.nan)
        out[:, rows] = operator(torch.as_tensor(values_MCHW, dtype=torch.float64)).numpy()
        return out.reshape(len(values_MCHW), *grid.shape)


def boxes(rows: Observations, grid: Grid, time: np.datetime64) -> dict[str, Observations]:
    """By variable and layer, a row for every grid point with the mean of the values in its box, NaN where unknown.

    Raises:
        InputError: the grid is curvilinear.
    """
    if not grid.is_regular:
        raise InputError("the grid is curvilinear: radar has no boxes on it", key=_KEY)
    found: dict[str, Observations] = {}
    labels, count = labels_of(rows, ()), rows["count"].astype(np.float64)
    place, inside = _place(grid, rows["latitude"], rows["longitude"])
    latitude, longitude = (np.asarray(f).ravel() for f in grid.fields)
    for label in sorted(set(labels)):
        own = (labels == label) & inside
        if not own.any():
            continue
        at, size = place[own], latitude.size
        number = np.bincount(at, weights=count[own], minlength=size)
        known = (number > 0) & (number >= 0.5 * np.median(number[number > 0]))
        total = np.bincount(at, weights=count[own] * rows["value"][own], minlength=size)
        value = np.divide(total, number, out=np.full(size, np.nan), where=known)
        first = rows.take(np.flatnonzero(own)[:1])
        found[label] = Observations.of(
            {
                "report_id": np.full(size, "", dtype=object),
                "station_id": "",
                "platform": "radar",
                "source": "radar",
                "variable": str(first["variable"][0]),
                "level_type": str(first["level_type"][0]),
                "level": np.full(size, np.average(rows["level"][own], weights=count[own])),
                "time": np.full(size, time),
                "interval": float(first["interval"][0]),
                "latitude": latitude,
                "longitude": (longitude + 180.0) % 360.0 - 180.0,
                "value": value,
                "error": np.ones(size),  # no likelihood is asked for
            }
        )
    return found


def _place(grid: Grid, latitude: Array, longitude: Array) -> tuple[Array, Array]:
    """The number of the grid point whose box holds each place, and whether there is one."""
    rows, within = _nearest(grid.latitude, latitude)
    middle = float(np.mean(grid.longitude))
    east = (longitude - middle + 180.0) % 360.0 - 180.0 + middle
    columns, along = _nearest(grid.longitude, east)
    beyond, inside = _nearest(grid.longitude, np.where(east < middle, east + 360.0, east - 360.0))  # across the rim
    columns = np.where(along, columns, beyond)
    return rows * grid.shape[1] + columns, within & (along | inside)


def _nearest(lines: Array, values: Array) -> tuple[Array, Array]:
    """The nearest of a grid's lines, and whether a value is no further outside than half a distance of lines."""
    order = np.argsort(lines)
    ordered = lines[order]
    between = (ordered[1:] + ordered[:-1]) / 2.0
    half = (between[:1] - ordered[:1], ordered[-1:] - between[-1:]) if len(lines) > 1 else (np.array([0.5]),) * 2
    inside = (values >= ordered[0] - half[0]) & (values < ordered[-1] + half[1])
    return order[np.searchsorted(between, values, side="right")], inside
