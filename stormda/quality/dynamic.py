"""The dynamic pass of quality control, at the analysis: what the background ensemble tells against an observation.

Every check may run here; the background and the height of the grid's surface are known now.
"""

__all__ = ["run_dynamic"]

from collections.abc import Sequence

import numpy as np

from stormda.config import CheckConfig
from stormda.errors import InputError
from stormda.observations import Observations
from stormda.quality.background import check_background
from stormda.quality.buddy import check_buddies
from stormda.quality.climatology import Climate, check_climatology
from stormda.quality.isolation import check_isolation
from stormda.quality.static import CHECKS
from stormda.quality.station_height import check_station_height
from stormda.quality.thinning import check_thinning
from stormda.types import Array


def run_dynamic(
    observations: Observations,
    checks: Sequence[CheckConfig],
    background: Array,
    model_height: Array | None,
    climate: Climate | None = None,
    time: np.datetime64 | None = None,
) -> Observations:
    """The observations with the codes of the checks, in their order.

    Args:
        observations: N rows.
        checks: the list of the configuration.
        background: H of the members of the background [M, N].
        model_height: height of the grid's surface at each row, m [N]; None where the grid has none.
        climate: what the climatology expects of each row; None: its check is left out.
        time: of the analysis, for thinning; None: the last of the observations.

    Raises:
        InputError: a background that does not fit the observations.
    """
    if background.ndim != 2 or background.shape[0] < 2 or background.shape[1] != len(observations):
        raise InputError(f"a background of shape {background.shape} does not fit {len(observations)} observations")
    for check in checks:
        if check.check == "background":
            observations = check_background(observations, check, background)
        elif check.check == "buddy":
            observations = check_buddies(observations, check, background)
        elif check.check == "climatology" and climate is not None:
            observations = check_climatology(observations, check, climate)
        elif check.check == "isolation":
            observations = check_isolation(observations, check)
        elif check.check == "thinning" and len(observations):
            observations = check_thinning(observations, check, observations["time"].max() if time is None else time)
        elif check.check == "station_height":
            observations = check_station_height(observations, check, model_height)
        elif check.check in CHECKS:
            observations = CHECKS[check.check](observations, check)
    return observations
