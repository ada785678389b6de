"""Isolation: a value that nobody near can confirm.

Where neighbours vouch for each other, the buddy check finds errors that the background cannot. Far from all others an
error goes straight into the analysis; a source that is not trusted may be left out there.

Source: MET Norway, titanlib, isolation check, https://github.com/metno/titanlib/wiki/Isolation-check.
"""

__all__ = ["check_isolation"]

import numpy as np
from scipy.spatial import cKDTree

from stormda.config import CheckConfig
from stormda.observations import QC, Observations
from stormda.quality.places import groups, positions
from stormda.quality.scope import in_scope

_RADIUS = 500.0  # km
_COUNT = 1  # fewest others


def check_isolation(observations: Observations, check: CheckConfig) -> Observations:
    """Set `QC.ISOLATED` where fewer than `count` other stations (1) report the variable within `radius` km (500).

    Rows that an earlier check has flagged and withheld stations confirm nothing.
    """
    radius = _RADIUS if check.radius is None else check.radius
    used = observations["qc"] == QC.USED
    scope = in_scope(observations, check)
    place = positions(observations, radius)
    station = np.unique(observations["station_id"].astype(str), return_inverse=True)[1]
    confirming = used & ~observations["withheld"].astype(bool)
    alone = np.zeros(len(observations), dtype=bool)
    for rows in groups(observations, used):
        others = rows[confirming[rows]]
        asked = rows[scope[rows]]
        near = cKDTree(place[others]).query_ball_point(place[asked], radius) if len(others) else [[]] * len(asked)
        for row, found in zip(asked, near, strict=True):
            stations = set(station[others[found]].tolist()) - {int(station[row])}
            alone[row] = len(stations) < (check.count or _COUNT)
    return observations.flag(alone, QC.ISOLATED)
