"""Poles: where a grid reaches one, and which fields change sign on the way across.

Walking north over the pole one comes down the opposite meridian, facing south. So beyond the first row lies the same
row half a circle away (the one after it, if the first row is the pole itself), and there the eastward and the northward
component of a vector both have the other sign.
"""

__all__ = ["pole_arguments"]

from collections.abc import Sequence
from typing import Any

import numpy as np

from stormda.grid import Grid
from stormda.variables import Channel


def pole_arguments(grid: Grid, channels: Sequence[Channel]) -> dict[str, Any]:
    """Arguments `poles`, `pole_rows` and `vectors` of `stormda.nn.storm.Storm`; none where the grid reaches no pole.

    A pole is reached by latitude rows that go around the globe, in an even number of points, and end less than
    three quarters of a row before it.
    """
    if not any(grid.reaches_poles) or grid.shape[1] % 2:
        return {}
    ends = grid.latitude[[0, -1]]
    steps = np.abs([grid.latitude[1] - ends[0], grid.latitude[-2] - ends[1]])
    left = (90.0 - np.abs(ends)) / steps
    return {
        "poles": list(grid.reaches_poles),
        "pole_rows": (left < 0.25).tolist(),
        "vectors": [i for i, channel in enumerate(channels) if channel.info.is_vector],
    }
