"""The dynamic pass of quality control, at the analysis: what the background ensemble tells against an observation.

Every check may run here; the background and the height of the grid's surface are known now.
"""

__all__ = ["run_dynamic"]

from collections.abc import Sequence

from stormda.config import CheckConfig
from stormda.errors import InputError
from stormda.observations import Observations
from stormda.quality.background import check_background
from stormda.quality.static import CHECKS
from stormda.quality.station_height import check_station_height
from stormda.types import Array


def run_dynamic(
    observations: Observations, checks: Sequence[CheckConfig], background: Array, model_height: Array | None
) -> Observations:
    """The observations with the codes of the checks, in their order.

    Args:
        observations: N rows.
        checks: the list of the configuration.
        background: H of the members of the background [M, N].
        model_height: height of the grid's surface at each row, m [N]; None where the grid has none.

    Raises:
        InputError: a background that does not fit the observations.
    """
    if background.ndim != 2 or background.shape[0] < 2 or background.shape[1] != len(observations):
        raise InputError(f"a background of shape {background.shape} does not fit {len(observations)} observations")
    for check in checks:
        if check.check == "background":
            observations = check_background(observations, check, background)
        elif check.check == "station_height":
            observations = check_station_height(observations, check, model_height)
        else:
            observations = CHECKS[check.check](observations, check)
    return observations
