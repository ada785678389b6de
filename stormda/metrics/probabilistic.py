"""Scores of the whole ensemble: is it sharp, and is it as wrong as it says?

**CRPS, fair** (Ferro 2014, "Fair scores for ensemble forecasts", https://doi.org/10.1002/qj.2270): an unbiased estimate
of the CRPS of the distribution that M members were drawn from,

    CRPS = mean_i |x_i - y| - 1 / (2 M (M - 1)) sum_ij |x_i - x_j|

in the unit of the variable; smaller is better; for M = 1 undefined. Computed by `scores.probability`.

**Spread/skill**: members and reference should be exchangeable. With s^2 the unbiased ensemble variance, the squared
error of the ensemble mean against another draw of the same distribution is on average (1 + 1/M) s^2; R, the variance of
the observation error, comes on top where y is an observation:

    spread/skill = sqrt(mean[(1 + 1/M) s^2 + R]) / sqrt(mean (y - xbar)^2)

(Fortin et al. 2014, https://doi.org/10.1175/JHM-D-14-0008.1). 1 is calibrated, below 1 is too sure of itself.

**Rank histogram** (Hamill 2001, https://doi.org/10.1175/1520-0493(2001)129<0550:IORHFV>2.0.CO;2): how often the
reference has rank r = 0..M among the members. Against observations each member gets a draw of their error first. Flat
is calibrated, a U is too little spread, a hump too much, a slope bias. flatness = sum_r |f_r - 1/(M+1)|: 0 is flat, 2
the worst.
"""

__all__ = ["Crps", "Ranks", "Variance", "crps", "crps_fair", "flatness", "frequencies", "spread_skill"]

from dataclasses import dataclass

import numpy as np
import torch

from stormda.metrics.base import Pair, Sums
from stormda.random import normal, stream, uniform
from stormda.types import Array


def crps_fair(members: Array, reference: Array) -> Array:
    """Fair CRPS of every value.

    Args:
        members: [M, ...], M >= 2.
        reference: [...].

    Returns:
        [...], in the unit of the values, double precision.
    """
    import xarray as xr
    from scores.probability import crps_for_ensemble

    # Differences to the reference keep their digits where values are large and spread is small, such as pressure in Pa.
    difference = np.asarray(members, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    flat = difference.reshape(difference.shape[0], -1)
    ensemble = xr.DataArray(flat, dims=("member", "value"))
    zero = xr.DataArray(np.zeros(flat.shape[1]), dims="value")
    result = crps_for_ensemble(ensemble, zero, "member", method="fair", preserve_dims="all")
    return np.asarray(result.to_numpy().reshape(difference.shape[1:]))


@dataclass(frozen=True)
class Crps:
    """Fair CRPS."""

    name: str = "crps"

    def __call__(self, pair: Pair) -> Array:
        """See the class: a row a value."""
        return crps_fair(pair.members, pair.reference)


@dataclass(frozen=True)
class Variance:
    """(1 + 1/M) s^2 + R: the squared error that the ensemble expects of its mean."""

    name: str = "variance"

    def __call__(self, pair: Pair) -> Array:
        """See the class: a row a value."""
        return np.asarray((1.0 + 1.0 / pair.size) * pair.members.var(axis=0, ddof=1) + pair.variance)


@dataclass(frozen=True)
class Ranks:
    """The rank of the reference among the members, as M + 1 columns of which one is 1.

    Observation noise and the order of equal values are counter-based random numbers of (purpose, member, value).

    Args:
        size: M; ensembles of another size have sums of their own.
        purpose: what the random numbers are for, such as "analysis 2019-02-17T12Z".
    """

    size: int
    purpose: str = ""

    @property
    def name(self) -> str:
        """`ranks32` for 32 members."""
        return f"ranks{self.size}"

    def __call__(self, pair: Pair) -> Array:
        """See the class: a row a value."""
        points, members = torch.arange(len(pair)), torch.arange(pair.size)
        draws = pair.members
        if pair.variance.any():
            noise = normal(0, stream("rank noise", self.purpose), members, points).numpy()
            draws = draws + np.sqrt(pair.variance) * noise
        ties = (draws == pair.reference).sum(axis=0)
        order = uniform(0, stream("rank ties", self.purpose), torch.zeros(1, dtype=torch.int64), points)[0].numpy()
        rank = (draws < pair.reference).sum(axis=0) + np.floor(order * (ties + 1)).astype(np.int64)
        return np.asarray(rank[:, None] == np.arange(pair.size + 1), dtype=np.float64)


def crps(sums: Sums) -> Array:
    """Mean fair CRPS, [G]."""
    return sums.mean("crps")


def spread_skill(sums: Sums) -> Array:
    """Spread/skill, [G]; NaN where the error is zero."""
    error = sums.mean("squared_error")
    ratio = np.divide(sums.mean("variance"), error, out=np.full(error.shape, np.nan), where=error > 0)
    return np.asarray(np.sqrt(ratio))


def frequencies(sums: Sums, size: int) -> Array:
    """Relative frequency of each rank, [G, M + 1], of ensembles of `size` members; NaN in a group without any."""
    total = sums.totals[f"ranks{size}"]
    whole = total.sum(axis=-1, keepdims=True)
    return np.asarray(np.divide(total, whole, out=np.full(total.shape, np.nan), where=whole > 0))


def flatness(sums: Sums, size: int) -> Array:
    """sum_r |f_r - 1/(M + 1)|, [G]."""
    return np.asarray(np.abs(frequencies(sums, size) - 1.0 / (size + 1)).sum(axis=-1))
