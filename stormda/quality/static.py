"""The static pass of quality control, at ingest: what an observation tells against itself.

Checks run in the order of the configuration; each only sets a code where none is set yet, so that the first reason
stays.
"""

__all__ = ["run_static"]

from collections.abc import Callable, Sequence

from stormda.config import CheckConfig
from stormda.errors import ConfigError
from stormda.observations import Observations
from stormda.quality.blacklist import check_blacklist
from stormda.quality.duplicates import check_duplicates
from stormda.quality.range import check_range
from stormda.quality.station_height import check_station_height

CHECKS: dict[str, Callable[[Observations, CheckConfig], Observations]] = {
    "range": check_range,
    "duplicates": check_duplicates,
    "station_height": check_station_height,
    "blacklist": check_blacklist,
}


def run_static(observations: Observations, checks: Sequence[CheckConfig]) -> Observations:
    """The observations with the codes of the checks.

    Raises:
        ConfigError: a check that needs a background.
    """
    for number, check in enumerate(checks):
        if check.check not in CHECKS:
            hint = f"it belongs to quality.dynamic; here: {', '.join(CHECKS)}"
            raise ConfigError(f"'{check.check}' needs a background", key=f"quality.static.{number}.check", hint=hint)
        observations = CHECKS[check.check](observations, check)
    return observations
