"""Thinning: of reports that are closer to each other than what the state resolves, one is kept.

Neighbouring values share errors of representativeness that a diagonal R takes for independent: dense reports would
weigh more than they should. The most exact report is taken first, of equals the one nearest to the analysis time, then
in the order of station names; whatever is within the radius of one that is kept is left out.

Withheld stations neither go nor make others go: what verifies an analysis must not choose what goes into it.

Source: Liu and Rabier 2002, The interaction between model resolution, observation resolution and observation density in
data assimilation, QJRMS 128, 1367-1386.
"""

__all__ = ["check_thinning"]

import numpy as np
from scipy.spatial import cKDTree

from stormda.config import CheckConfig
from stormda.observations import QC, Observations
from stormda.quality.places import groups, positions
from stormda.quality.scope import in_scope

_RADIUS = 50.0  # km
_SPAN = np.timedelta64(24, "h")


def check_thinning(observations: Observations, check: CheckConfig, time: np.datetime64) -> Observations:
    """Set `QC.THINNED` on what lies within `radius` (50 km) of a report that is kept.

    Args:
        observations: N rows.
        check: `radius` in km; `span`: what is further apart in time is no neighbour (24 h).
        time: of the analysis.
    """
    radius = _RADIUS if check.radius is None else check.radius
    place = positions(observations, radius, _SPAN if check.span is None else check.span)
    use = in_scope(observations, check) & (observations["qc"] == QC.USED) & ~observations["withheld"].astype(bool)
    late = np.abs(observations["time"] - time.astype("datetime64[us]"))
    station = np.unique(observations["station_id"].astype(str), return_inverse=True)[1]
    gone = np.zeros(len(observations), dtype=bool)
    for rows in groups(observations, use):
        tree = cKDTree(place[rows])
        order = np.lexsort((station[rows], late[rows], np.nan_to_num(observations["error"][rows], nan=np.inf)))
        kept = np.zeros(len(rows), dtype=bool)
        for i in order:
            if not gone[rows[i]]:
                kept[i] = True
                near = np.asarray(tree.query_ball_point(place[rows[i]], radius))
                gone[rows[near[~kept[near]]]] = True
    return observations.flag(gone, QC.THINNED)
