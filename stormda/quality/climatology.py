"""Climatology check: a value that has never been seen at this place, season and hour.

The archive's climatology m(t) has annual and diurnal harmonics at every grid point, and one standard deviation s of the
anomaly a channel (`stormda.normaliser`). With c = H(m(t)) and s_H = H(m(t) + s) - c, which take any transform and any H
along, a value is left out where

    |y - c| > limit sqrt(s_H^2 + r^2)

It needs no background, so that a background that has drifted away cannot hide a bad value or refuse a good one.
"""

__all__ = ["Climate", "check_climatology"]

from dataclasses import dataclass

import numpy as np

from stormda.config import CheckConfig
from stormda.observations import QC, Observations
from stormda.quality.scope import in_scope
from stormda.types import Array

_LIMIT = 6.0  # standard deviations


@dataclass(frozen=True, eq=False)
class Climate:
    """What the climatology expects of N observations.

    Args:
        centre: H of the climatology [N], in the unit of the values.
        spread: one standard deviation of its anomalies [N].
    """

    centre: Array
    spread: Array


def check_climatology(observations: Observations, check: CheckConfig, climate: Climate) -> Observations:
    """Set `QC.CLIMATOLOGY` beyond `limit` standard deviations (6); an error that is not configured counts as 0."""
    limit = _LIMIT if check.limit is None else check.limit
    deviation = np.sqrt(climate.spread**2 + np.nan_to_num(observations["error"]) ** 2)
    far = np.abs(observations["value"] - climate.centre) > limit * deviation
    return observations.flag(far & in_scope(observations, check), QC.CLIMATOLOGY)
