"""Spikes: a value that jumps away from the one before and back again.

Value y_i between its neighbours in time, each at most `span` away, is a spike if both steps

    a = y_i - y_(i-1)     b = y_i - y_(i+1)

go the same way, the smaller is larger than the limit of the variable, and the neighbours differ by less than half of
it. A front, a gust front or a morning inversion that breaks is a step and no spike: it does not come back. The last
value of a series has no successor yet and is left to the background check.

Source: Dunn et al. 2012, HadISD: a quality-controlled global synoptic report database, Climate of the Past 8, 1649-1679
(spike check). There limits are learned for each station from a year of reports; here each variable has one.
"""

__all__ = ["REACH", "check_spikes"]

import numpy as np

from stormda.config import CheckConfig
from stormda.observations import QC, Observations
from stormda.quality.scope import in_scope
from stormda.quality.series import in_time

REACH = np.timedelta64(3 * 3600, "s")  # how far a neighbour in time may be
_STEPS = {"t2m": 8.0, "d2m": 8.0, "msl": 500.0, "sp": 500.0, "ws10": 20.0, "u10": 20.0, "v10": 20.0, "rh2m": 0.5}


def check_spikes(observations: Observations, check: CheckConfig) -> Observations:
    """Set `QC.SPIKE`; `steps` gives limits in the unit of the variable, variables without one are not checked."""
    rows, series = in_time(observations, in_scope(observations, check))
    if len(rows) < 3:
        return observations
    steps = _STEPS | check.steps
    names, inverse = np.unique(observations["variable"][rows].astype(str), return_inverse=True)
    limit = np.array([steps.get(n, np.inf) for n in names])[inverse]
    value, time = observations["value"][rows], observations["time"][rows]
    span = REACH if check.span is None else check.span
    inside = (series[2:] == series[:-2]) & (np.diff(time)[:-1] <= span) & (np.diff(time)[1:] <= span)
    a, b = value[1:-1] - value[:-2], value[1:-1] - value[2:]
    size = np.where(a * b > 0, np.minimum(np.abs(a), np.abs(b)), 0.0)
    bad = np.zeros(len(observations), dtype=bool)
    bad[rows[1:-1]] = inside & (size > limit[1:-1]) & (np.abs(value[2:] - value[:-2]) < size / 2)
    return observations.flag(bad, QC.SPIKE)
