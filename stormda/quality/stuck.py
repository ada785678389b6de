"""Stuck values: an instrument that reports the same number for a day has stopped measuring.

A run of at least six equal values that lasts `span` or longer is left out, all of it. A zero may last (no wind, no
rain), and so may saturated air. A run may last for months where reports are rare, so no neighbourhood in time is wide
enough to see it: of a file that comes in parts, `Streaks` joins the runs of the parts first.

Source: Dunn et al. 2012, HadISD: a quality-controlled global synoptic report database, Climate of the Past 8, 1649-1679
(repeated streaks).
"""

__all__ = ["REACH", "Streaks", "check_stuck"]

from collections.abc import Hashable

import numpy as np
import pandas as pd

from stormda.config import CheckConfig
from stormda.observations import QC, Observations
from stormda.quality.scope import in_scope
from stormda.quality.series import in_time
from stormda.types import Array

REACH = np.timedelta64(24 * 3600, "s")  # how long a value may stay
_FEWEST = 6  # values of a run
_ZERO = 1e-9  # in any unit: the wind's components are sines and cosines
_SATURATED = {"rh2m": 0.99, "r": 0.99}
_WORDS = ("source", "station_id", "variable", "level_type")


def check_stuck(observations: Observations, check: CheckConfig) -> Observations:
    """Set `QC.STUCK` on runs of equal values that last `span` (24 h) or longer."""
    rows, series = in_time(observations, in_scope(observations, check))
    if len(rows) == 0:
        return observations
    runs, starts = _runs(observations, rows, series)
    bad = np.zeros(len(observations), dtype=bool)
    bad[rows] = _long(runs, check)[np.cumsum(starts) - 1]
    return observations.flag(bad, QC.STUCK)


class Streaks:
    """The runs of a file that comes in parts; in memory are one run a series and those that are too long.

    Args:
        check: whose runs they are.
    """

    def __init__(self, check: CheckConfig) -> None:
        self._check = check
        self._numbers: dict[Hashable, int] = {}  # of the series
        self._open: list[pd.DataFrame] = []  # the last run of each series, which may go on
        self._found: list[pd.DataFrame] = []

    def add(self, observations: Observations) -> None:
        """Take the rows of a part, all of them later than those of the parts before it."""
        rows, series = in_time(observations, in_scope(observations, self._check))
        if len(rows) == 0:
            return
        new = _runs(observations, rows, self._named(observations, rows, series))[0]
        runs = pd.concat([*self._open, new], ignore_index=True).sort_values("series", kind="stable", ignore_index=True)
        number = (_differ(runs, "series") | _differ(runs, "value")).cumsum()
        how = {"series": "first", "variable": "first", "value": "first", "first": "min", "last": "max", "count": "sum"}
        runs = runs.groupby(number, sort=False).agg(how)
        ends = np.append(_differ(runs, "series")[1:], True)
        self._open = [runs[ends]]
        closed = runs[~ends]
        self._found.append(closed[_long(closed, self._check)])

    def flag(self, observations: Observations) -> Observations:
        """Set `QC.STUCK` on the rows of long runs: those of any part, or of its neighbourhood."""
        rows, series = in_time(observations, in_scope(observations, self._check))
        runs = pd.concat([*self._found, *(run[_long(run, self._check)] for run in self._open)]) if self._open else None
        if len(rows) == 0 or runs is None or runs.empty:
            return observations
        asked = pd.DataFrame({"series": self._named(observations, rows, series), "row": rows})
        asked["value"], asked["time"] = observations["value"][rows], observations["time"][rows]
        met = pd.merge_asof(
            asked.sort_values("time", kind="stable"),
            runs[["series", "value", "first", "last"]].sort_values("first", kind="stable"),
            left_on="time",
            right_on="first",
            by=["series", "value"],
        )
        bad = np.zeros(len(observations), dtype=bool)
        bad[met["row"][met["time"] <= met["last"]]] = True  # False where no run was met
        return observations.flag(bad, QC.STUCK)

    def _named(self, observations: Observations, rows: Array, series: Array) -> Array:
        """For the numbers of the series of these rows, those that hold for all parts."""
        first = rows[np.flatnonzero(np.diff(series, prepend=-1))]
        columns = [observations.table.column(name).take(first).to_pylist() for name in _WORDS]
        columns += [np.nan_to_num(observations[n][first].astype(np.float64), nan=-1.0) for n in ("level", "interval")]
        keys = zip(*columns, strict=True)
        return np.array([self._numbers.setdefault(key, len(self._numbers)) for key in keys], dtype=np.int64)[series]


def _runs(observations: Observations, rows: Array, series: Array) -> tuple[pd.DataFrame, Array]:
    """The runs of equal values of rows in the order of `in_time`, and where in the rows they start, bool [n]."""
    value, time = observations["value"][rows], observations["time"][rows]
    starts = np.ones(len(rows), dtype=bool)
    starts[1:] = (series[1:] != series[:-1]) | (value[1:] != value[:-1])
    first = np.flatnonzero(starts)
    last = np.append(first[1:], len(rows)) - 1
    runs = pd.DataFrame({"series": series[first], "variable": observations["variable"][rows[first]]})
    runs["value"], runs["first"], runs["last"] = value[first], time[first], time[last]
    return runs.assign(count=last - first + 1), starts


def _long(runs: pd.DataFrame, check: CheckConfig) -> Array:
    """Which runs are too long, bool [n]."""
    span = REACH if check.span is None else check.span
    value = runs["value"].to_numpy()
    long: Array = (runs["last"] - runs["first"]).to_numpy() >= span
    long &= (runs["count"].to_numpy() >= _FEWEST) & (np.abs(value) > _ZERO)
    for name, limit in _SATURATED.items():
        long &= ~((runs["variable"] == name).to_numpy() & (value >= limit))
    return long


def _differ(runs: pd.DataFrame, name: str) -> Array:
    """Whether each run differs from the one before it, bool [n]; the first does."""
    column = runs[name].to_numpy()
    return np.append(True, column[1:] != column[:-1])
