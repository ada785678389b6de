"""Likelihoods with heavier tails than a Gaussian's, by reweighting: a gross error must not carry the analysis away.

An innovation d = y - H(D) of expected standard deviation s = sqrt(R + diag A V A^T) has the normalised size z = d / s.
A robust likelihood pulls with psi(z) = w(z) z instead of z:

    Huber (1964, https://doi.org/10.1214/aoms/1177703732)      w = min(1, c / |z|)       Gaussian in the middle,
                                                                                         exponential tails
    Student's t with nu degrees of freedom (Lange et al. 1989,
    https://doi.org/10.1080/01621459.1989.10478852)            w = (nu + 1) / (nu + z^2)  forgets gross errors

The linear system of a noise level keeps its form if R is replaced by what makes a single observation pull with w z,

    R' = R + s^2 (1 / w - 1)

which is R / w where V is small, and no less than R: w is at most 1. Every noise level weighs anew at its own D: an
iterated reweighting (Holland and Welsch 1977, https://doi.org/10.1080/03610927708827533) that begins where nothing is
known but the prior, so that an outlier is judged by the prior and its neighbours first.
"""

__all__ = ["Weight", "huber", "innovation_spread", "student"]

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.linearise import Linear

Weight: TypeAlias = Callable[[Tensor], Tensor]
"""Normalised innovations -> their weights w, above 0 and at most 1."""

_PROBES = 32


def huber(limit: float) -> Weight:
    """w = min(1, limit / |z|)."""
    return lambda z: limit / z.abs().clamp_min(limit)


def student(freedom: float) -> Weight:
    """w = (nu + 1) / (nu + z^2), where that is below 1: an error that is smaller than expected proves nothing."""
    return lambda z: ((freedom + 1) / (freedom + z.square())).clamp_max(1.0)


def innovation_spread(h: Linear, gaussian: Gaussian, share: float, sigma: Tensor) -> Tensor:
    """About diag(A V A^T) [B, N] for V = share (S^-1 + I / sigma^2)^-1, at the state where H is linearised.

    The mean of (A V^1/2 z)^2 over random fields z, the same for all members: relative standard error sqrt(2 / 32) =
    25 %, of a number that only has to tell gross errors from others.
    """
    x = h.graph[0]
    values, variance = gaussian.principal[0].to(x), sigma.to(x) ** 2
    rho = gaussian.residual
    inside = (values * variance / (values + variance)).sqrt()
    outside = (rho * variance / (rho + variance)).sqrt()
    g = torch.Generator().manual_seed(0)
    total = torch.zeros_like(h.value)
    for _ in range(_PROBES):
        z = torch.randn(x.shape[1:], generator=g, dtype=torch.float64).to(x)
        total = total + h.forward(gaussian.apply(z[None], inside, outside).expand_as(x)).square()
    return share * total / _PROBES
