"""Which observations a check applies to: those of its variables and platforms, all where it names none; their words."""

__all__ = ["codes", "in_scope"]

import numpy as np

from stormda.config import CheckConfig
from stormda.observations import Observations
from stormda.types import Array


def in_scope(observations: Observations, check: CheckConfig) -> Array:
    """Whether the check looks at each row [N]."""
    scope = np.ones(len(observations), dtype=bool)
    if check.variables:
        scope &= np.isin(observations["variable"].astype(str), check.variables)
    if check.platforms:
        scope &= np.isin(observations["platform"].astype(str), check.platforms)
    return scope


def codes(observations: Observations, name: str) -> Array:
    """A number for each different word of a column [N]: a hundred times faster to compare."""
    column = observations.table.column(name).combine_chunks().dictionary_encode()
    return np.asarray(column.indices.to_numpy(zero_copy_only=False))
