"""Scores of the ensemble mean.

    error           e = xbar - y, xbar the mean of the members
    bias            mean e
    MAE             mean |e|
    RMSE            sqrt(mean e^2)

Against observations y carries its own error: with a perfect analysis RMSE is the observation error, not zero.
"""

__all__ = ["AbsoluteError", "Error", "SquaredError", "bias", "mae", "rmse"]

from dataclasses import dataclass

import numpy as np

from stormda.metrics.base import Pair, Sums
from stormda.types import Array


@dataclass(frozen=True)
class Error:
    """xbar - y."""

    name: str = "error"

    def __call__(self, pair: Pair) -> Array:
        """See the class: a row a value."""
        return np.asarray(pair.members.mean(axis=0) - pair.reference)


@dataclass(frozen=True)
class AbsoluteError:
    """|xbar - y|."""

    name: str = "absolute_error"

    def __call__(self, pair: Pair) -> Array:
        """See the class: a row a value."""
        return np.asarray(np.abs(Error()(pair)))


@dataclass(frozen=True)
class SquaredError:
    """(xbar - y)^2."""

    name: str = "squared_error"

    def __call__(self, pair: Pair) -> Array:
        """See the class: a row a value."""
        return np.asarray(Error()(pair) ** 2)


def bias(sums: Sums) -> Array:
    """Mean error, [G]: positive where the ensemble is too high."""
    return sums.mean("error")


def mae(sums: Sums) -> Array:
    """Mean absolute error of the ensemble mean, [G]."""
    return sums.mean("absolute_error")


def rmse(sums: Sums) -> Array:
    """Root of the mean squared error of the ensemble mean, [G]."""
    return np.asarray(np.sqrt(sums.mean("squared_error")))
