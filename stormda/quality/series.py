"""The values of one station in the order of time: what checks in time look at."""

__all__ = ["in_time"]

import numpy as np

from stormda.observations import QC, Observations
from stormda.quality.scope import codes
from stormda.types import Array


def in_time(observations: Observations, scope: Array) -> tuple[Array, Array]:
    """Rows in use, ordered by series and time, and the number of the series of each.

    A series is what one station of one source reports of a variable at a level and over an interval. Two sources report
    the same station at other minutes and rounded in other ways, which looks like a spike.

    Args:
        observations: N rows.
        scope: bool [N], what the check looks at.

    Returns:
        rows int64 [n] and series int64 [n], which does not decrease.
    """
    use = scope & (observations["qc"] == QC.USED) & ~np.isnat(observations["time"]) & np.isfinite(observations["value"])
    rows = np.flatnonzero(use)
    keys = [codes(observations, n)[rows] for n in ("source", "station_id", "variable", "level_type")]
    keys += [np.nan_to_num(observations[n][rows].astype(np.float64), nan=-1.0) for n in ("level", "interval")]
    order = np.lexsort((observations["time"][rows], *keys))
    sorted_keys = np.stack([k[order].astype(np.float64) for k in keys])
    new = np.ones(len(order), dtype=bool)
    new[1:] = (sorted_keys[:, 1:] != sorted_keys[:, :-1]).any(axis=0)
    return rows[order], np.cumsum(new) - 1
