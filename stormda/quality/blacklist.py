"""Blacklist: stations that are known to be wrong, named in the configuration."""

__all__ = ["check_blacklist"]

import numpy as np

from stormda.config import CheckConfig
from stormda.observations import QC, Observations
from stormda.quality.scope import in_scope
from stormda.store.identity import canonical


def check_blacklist(observations: Observations, check: CheckConfig) -> Observations:
    """Set `QC.BLACKLIST` on the stations that the check names, however their numbers are padded."""
    names = [n for n in canonical(check.stations) if n]
    bad = np.isin(observations["station_id"].astype(str), names)
    return observations.flag(bad & in_scope(observations, check), QC.BLACKLIST)
