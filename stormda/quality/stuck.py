"""Stuck values: an instrument that reports the same number for a day has stopped measuring.

A run of at least six equal values that lasts `span` or longer is left out, all of it. A zero may last (no wind, no
rain), and so may saturated air.

Source: Dunn et al. 2012, HadISD: a quality-controlled global synoptic report database, Climate of the Past 8, 1649-1679
(repeated streaks).
"""

__all__ = ["REACH", "check_stuck"]

import numpy as np

from stormda.config import CheckConfig
from stormda.observations import QC, Observations
from stormda.quality.scope import in_scope
from stormda.quality.series import in_time

REACH = np.timedelta64(24 * 3600, "s")  # how long a value may stay
_FEWEST = 6  # values of a run
_ZERO = 1e-9  # in any unit: the wind's components are sines and cosines
_SATURATED = {"rh2m": 0.99, "r": 0.99}


def check_stuck(observations: Observations, check: CheckConfig) -> Observations:
    """Set `QC.STUCK` on runs of equal values that last `span` (24 h) or longer."""
    rows, series = in_time(observations, in_scope(observations, check))
    value, time = observations["value"][rows], observations["time"][rows]
    starts = np.ones(len(rows), dtype=bool)
    starts[1:] = (series[1:] != series[:-1]) | (value[1:] != value[:-1])
    first = np.flatnonzero(starts)
    if first.size == 0:
        return observations
    last = np.append(first[1:], len(rows)) - 1
    span = REACH if check.span is None else check.span
    long = (time[last] - time[first] >= span) & (last - first + 1 >= _FEWEST) & (np.abs(value[first]) > _ZERO)
    for name, limit in _SATURATED.items():
        long &= ~((observations["variable"][rows[first]] == name) & (value[first] >= limit))
    bad = np.zeros(len(observations), dtype=bool)
    bad[rows] = long[np.cumsum(starts) - 1]
    return observations.flag(bad, QC.STUCK)
