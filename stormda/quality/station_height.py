"""Station height: what a station says of the grid's surface depends on how far above or below that it stands.

Mean sea level pressure reduced from a high station, or a temperature in a valley that the grid does not have, are no
errors of the instrument, but of representativeness, and large. A station is left out if its height is unknown or
differs by more than `limit` metres from the grid's surface; before the grid is known (the static pass), from sea level.
"""

__all__ = ["check_station_height"]

import numpy as np

from stormda.config import CheckConfig
from stormda.observations import QC, Observations
from stormda.quality.scope import in_scope
from stormda.types import Array

_LIMIT = 700.0  # m


def check_station_height(
    observations: Observations, check: CheckConfig, model_height: Array | None = None
) -> Observations:
    """Set `QC.STATION_HEIGHT` where |height - surface| > limit, or the height is unknown.

    Args:
        observations: N rows.
        check: `limit` in m (700 where empty).
        model_height: height of the grid's surface at each row, m [N]; None: sea level.
    """
    limit = _LIMIT if check.limit is None else check.limit
    surface = 0.0 if model_height is None else model_height
    near = np.abs(observations["elevation"] - surface) <= limit  # False for NaN
    return observations.flag(~near & in_scope(observations, check), QC.STATION_HEIGHT)
