"""The static pass of quality control, at ingest: what an observation tells against itself.

Checks run in the order of the configuration; each only sets a code where none is set yet, so that the first reason
stays.
"""

__all__ = ["CHECKS", "near", "reach", "run_static"]

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from stormda.config import CheckConfig
from stormda.errors import ConfigError
from stormda.observations import Observations
from stormda.quality.blacklist import check_blacklist
from stormda.quality.duplicates import check_duplicates
from stormda.quality.range import check_range
from stormda.quality.spike import REACH as SPIKE_REACH
from stormda.quality.spike import check_spikes
from stormda.quality.station_height import check_station_height
from stormda.quality.stuck import REACH as STUCK_REACH
from stormda.quality.stuck import Streaks, check_stuck

CHECKS: dict[str, Callable[[Observations, CheckConfig], Observations]] = {
    "range": check_range,
    "duplicates": check_duplicates,
    "station_height": check_station_height,
    "blacklist": check_blacklist,
    "stuck": check_stuck,
    "spike": check_spikes,
}


_REACH = {"duplicates": np.timedelta64(0, "s"), "stuck": STUCK_REACH, "spike": SPIKE_REACH}


def reach(checks: Sequence[CheckConfig]) -> np.timedelta64 | None:
    """How far before a new report the checks look at what came earlier; None: not at all."""
    spans = [_REACH[c.check] if c.span is None else c.span for c in checks if c.check in _REACH]
    return max(spans, default=None)


def near(checks: Sequence[CheckConfig]) -> np.timedelta64:
    """How far around a row in time its code is decided, stuck values apart: by one check after another."""
    spans = [_REACH[c.check] if c.span is None else c.span for c in checks if c.check in _REACH and c.check != "stuck"]
    return sum(spans, np.timedelta64(0, "s"))


def run_static(
    observations: Observations, checks: Sequence[CheckConfig], streaks: Mapping[int, Streaks] | None = None
) -> Observations:
    """The observations with the codes of the checks.

    Args:
        observations: rows; of a file that comes in parts, those of a part and what is `near`.
        checks: in their order.
        streaks: of such a file, by the number of the check: the runs of all parts.

    Raises:
        ConfigError: a check that needs a background, or an order of sources: what is stored keeps its code, whoever
            comes later.
    """
    for number, check in enumerate(checks):
        if check.check not in CHECKS:
            hint = f"it belongs to quality.dynamic; here: {', '.join(CHECKS)}"
            raise ConfigError(f"'{check.check}' needs a background", key=f"quality.static.{number}.check", hint=hint)
        if check.prefer:
            key, hint = f"quality.static.{number}.prefer", "write the check with `prefer` into quality.dynamic"
            raise ConfigError("at ingest the source that comes first keeps a report", key=key, hint=hint)
        runs = None if streaks is None else streaks.get(number)
        observations = CHECKS[check.check](observations, check) if runs is None else runs.flag(observations)
    return observations
