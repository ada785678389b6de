"""Scores that twin experiments have in common: of one ensemble by channel, and of a series with its interval."""

__all__ = ["area_mean", "ensemble_scores", "interval", "mean", "ratio", "root"]

from collections.abc import Callable

import numpy as np

from stormda.metrics.probabilistic import crps_fair
from stormda.types import Array
from stormda.verification.intervals import block_bootstrap


def area_mean(field_CHW: Array, weights_HW: Array) -> Array:
    """Mean of each channel [C], weighted by area; the weights may be of a shape that extends to [H, W]."""
    share = weights_HW / np.broadcast_to(weights_HW, field_CHW.shape[1:]).sum()
    return np.asarray((field_CHW * share).sum(axis=(1, 2)))


def ensemble_scores(x_MCHW: Array, truth_CHW: Array, weights_HW: Array) -> Array:
    """Mean square error of the mean, CRPS (fair) and (1 + 1/M) times the variance by channel, [3, C]."""
    members = len(x_MCHW)
    values = (
        (x_MCHW.mean(axis=0) - truth_CHW) ** 2,
        crps_fair(x_MCHW, truth_CHW),
        (1 + 1 / members) * x_MCHW.var(axis=0, ddof=1),
    )
    return np.stack([area_mean(field, weights_HW) for field in values])


def interval(values: Array, statistic: Callable[[Array], float], length: int | None = None) -> dict[str, float]:
    """A statistic of a series and its 95 % interval, by a bootstrap of blocks of a length (None: chosen)."""
    low, high = block_bootstrap(values, statistic, length=length)
    return {"value": statistic(values), "low": low, "high": high}


def root(squares: Array) -> float:
    """The square root of the mean of squares."""
    return float(np.sqrt(squares.mean()))


def mean(values: Array) -> float:
    """The mean."""
    return float(values.mean())


def ratio(pair_T2: Array) -> float:
    """The mean of the first series in units of that of the second."""
    mine, reference = pair_T2.mean(axis=0)
    return float(mine / reference)
