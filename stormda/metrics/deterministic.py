"""Scores of the ensemble mean.

    error           e = xbar - y, xbar the mean of the members
    bias            mean e
    MAE             mean |e|
    RMSE            sqrt(mean e^2)
    ACC             mean f'o' / sqrt(mean f'^2  mean o'^2),  f' = xbar - c,  o' = y - c

c is the climatology of day and hour. The anomaly correlation is the uncentred one (Wilks 2019, "Statistical Methods in
the Atmospheric Sciences", 4th ed., section 9.8.4, https://doi.org/10.1016/C2017-0-03921-6): 1 is perfect, 0 no better
than climatology.

Against observations y carries its own error: with a perfect analysis RMSE is the observation error, not zero.
"""

__all__ = ["AbsoluteError", "Anomalies", "Error", "SquaredError", "acc", "bias", "mae", "rmse"]

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


@dataclass(frozen=True, eq=False)
class Anomalies:
    """f'o', f'^2 and o'^2 of the ensemble mean and the reference about a climatology [N]: three columns."""

    climatology: Array
    name: str = "anomalies"

    def __call__(self, pair: Pair) -> Array:
        """See the class: a row a value."""
        f, o = pair.members.mean(axis=0) - self.climatology, pair.reference - self.climatology
        return np.stack([f * o, f**2, o**2], axis=-1)


def bias(sums: Sums) -> Array:
    """Mean error, [G]: positive where the ensemble is too high."""
    return sums.mean("error")


def mae(sums: Sums) -> Array:
    """Mean absolute error of the ensemble mean, [G]."""
    return sums.mean("absolute_error")


def rmse(sums: Sums) -> Array:
    """Root of the mean squared error of the ensemble mean, [G]."""
    return np.asarray(np.sqrt(sums.mean("squared_error")))


def acc(sums: Sums) -> Array:
    """Anomaly correlation, [G]; NaN where there are no anomalies."""
    if "anomalies" not in sums.totals:
        return np.full(sums.count.shape, np.nan)
    product, f, o = np.moveaxis(sums.totals["anomalies"], -1, 0)
    return np.asarray(np.divide(product, np.sqrt(f * o), out=np.full(np.shape(f), np.nan), where=f * o > 0))
