"""Range check: a value outside the physical range of its variable is an error of instrument, unit or transmission.

The ranges of the vocabulary are wide enough for every value ever recorded on Earth; `ranges` narrows them.
"""

__all__ = ["check_range"]

import numpy as np

from stormda.config import CheckConfig
from stormda.observations import QC, Observations
from stormda.quality.scope import in_scope
from stormda.variables import VOCABULARY


def check_range(observations: Observations, check: CheckConfig) -> Observations:
    """Set `QC.RANGE` where minimum <= value <= maximum does not hold (a NaN never does)."""
    names, inverse = np.unique(observations["variable"].astype(str), return_inverse=True)
    limits = [check.ranges.get(n, (VOCABULARY[n].minimum, VOCABULARY[n].maximum)) for n in names]
    low, high = np.asarray(limits, dtype=np.float64).reshape(-1, 2)[inverse].T
    value = observations["value"]
    return observations.flag(~((value >= low) & (value <= high)) & in_scope(observations, check), QC.RANGE)
