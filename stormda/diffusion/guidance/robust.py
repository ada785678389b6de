"""Likelihoods with heavier tails than a Gaussian's, by reweighting: a gross error must not carry the analysis away.

A likelihood of the error e = y - H(x), of standard deviation sqrt(R), pulls with w(e / sqrt R) e / R instead of e / R:

    Huber (1964, https://doi.org/10.1214/aoms/1177703732)      w(z) = min(1, c / |z|)       Gaussian in the middle,
                                                                                            exponential tails
    Student's t with nu degrees of freedom (Lange et al. 1989,
    https://doi.org/10.1080/01621459.1989.10478852)            w(z) = (nu + 1) / (nu + z^2)  forgets gross errors

At a noise level x is known to V, and an innovation d = y - H(D) is expected to be of size s, s^2 = R + diag A V A^T. In
the middle the error of D decides, and the pull is d / s^2; in the tails the likelihood's own is the weaker one:

    pull = W d / s^2,     W = min(1, s^2 / R w(d / sqrt R))

(both ends of the convolution of the likelihood with N(0, A V A^T)). The linear system keeps its form if R is replaced
by what makes a single observation pull like that,

    R' = R + s^2 (1 / W - 1)

which is R / w where V is small, and never less than R. Every noise level weighs anew at its own D: an iterated
reweighting (Holland and Welsch 1977, https://doi.org/10.1080/03610927708827533) that begins where nothing is known but
the prior, so that an outlier is judged by the prior and its neighbours first.
"""

__all__ = ["Weight", "huber", "innovation_spread", "student", "weigh"]

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.linearise import Linear

Weight: TypeAlias = Callable[[Tensor], Tensor]
"""Errors in units of sqrt(R) -> their weights w, above 0."""

_PROBES = 32


def huber(limit: float) -> Weight:
    """w = min(1, limit / |z|)."""
    return lambda z: limit / z.abs().clamp_min(limit)


def student(freedom: float) -> Weight:
    """w = (nu + 1) / (nu + z^2)."""
    return lambda z: (freedom + 1) / (freedom + z.square())


def weigh(weight: Weight, z_BN: Tensor, square: Tensor) -> Tensor:
    """W [B, N] of innovations d / sqrt(R), for s^2 / R."""
    return (square * weight(z_BN)).clamp_max(1.0)


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
    g, shape = torch.Generator().manual_seed(0), gaussian.layout.whole((x.shape[-2], x.shape[-1]))
    rows, columns = gaussian.layout.part(shape)
    total = torch.zeros_like(h.value)
    for _ in range(_PROBES):
        z = torch.randn(len(x[0]), *shape, generator=g, dtype=torch.float64)[:, rows, columns].to(x)
        total = total + h.forward(gaussian.apply(z[None], inside, outside).expand_as(x)).square()
    return share * total / _PROBES
