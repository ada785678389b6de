"""Two pieces of knowledge of one state: a prior, and a state from elsewhere with an error covariance of its own.

A forecasting centre's own state b errs as N(0, B), independently of the prior. It is an observation of every point,
with H = I and R = B, so that for a Gaussian prior N(m, S) the posterior is

    mean m + S (S + B)^-1 (b - m),    covariance S (S + B)^-1 B = (S^-1 + B^-1)^-1

and for a denoiser D with V = V[x | x_t], at every noise level,

    E[x | x_t, b] = D + V (V + B)^-1 (b - D),    V[x | x_t, b] = (V^-1 + B^-1)^-1

after which other observations find a denoiser and its covariance as they would without b. With V of a Gaussian it is
exact where that is the prior.

S and B are each a covariance within some patterns (EOFs, E and F) and one variance in every other direction. In an
orthonormal basis U of both, E first, so are S, B and all of the above: matrices as large as there are patterns, and a
number beside them; nothing is as large as the state squared.
"""

__all__ = ["Fusion"]

from collections.abc import Callable
from functools import cached_property
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from stormda.diffusion.gaussian import Gaussian
from stormda.errors import InputError
from stormda.types import Denoise

_NEW = 1e-6  # part of a pattern of unit length that lies outside of the others, to count


class _Gain(NamedTuple):
    """K = V (V + B)^-1 and K B within U, and the same numbers in other directions."""

    gain: Tensor
    covariance: Tensor
    beside: float
    residual: float


class Fusion:
    """What is known of a state when N(b, B) is known beside the prior.

    Args:
        prior: N(m, S), or the Gaussian that resembles a prior.
        other: N(b, B), B positive definite.

    Raises:
        InputError: states of other shapes, or a B that is not positive definite.
    """

    def __init__(self, prior: Gaussian, other: Gaussian) -> None:
        if prior.modes.shape[1] != other.modes.shape[1]:
            raise InputError("a state from elsewhere has another shape than the prior")
        self.prior, self.other = prior, other
        e, f = prior.modes.double(), other.principal[1]
        beyond = f - (f @ e.T) @ e
        _, sizes, rows = torch.linalg.svd(beyond, full_matrices=False)
        self.basis = torch.cat([e, rows[sizes > _NEW]])
        c = self.basis @ f.T
        values, r = other.principal[0], other.residual
        self._b = (c * (values - r)) @ c.T + r * torch.eye(len(self.basis), dtype=torch.float64)
        smallest = min([r, *values.tolist()])
        if not smallest > 0:
            raise InputError("the error covariance of a state from elsewhere is not positive definite")
        self.smallest = smallest**0.5
        self._gains: dict[tuple[float, float], _Gain] = {}
        self._cast: dict[torch.dtype, tuple[Tensor, Tensor]] = {}

    @cached_property
    def gaussian(self) -> Gaussian:
        """The posterior of N(m, S), in the basis U, whose first rows are the prior's modes."""
        mean = self.mean(self.prior.mean.double(), inf)
        at = self._at(inf, 1.0)
        return Gaussian(mean, self.basis, at.covariance, at.residual)

    def mean(self, d_BCHW: Tensor, sigma: float, share: float = 1.0) -> Tensor:
        """D + V (V + B)^-1 (b - D), V that of the prior's Gaussian at a noise level times `share`."""
        at, (u, b) = self._at(sigma, share), self._parts(d_BCHW.dtype)
        gap = b - d_BCHW.flatten(-3)
        inside = gap @ u.T
        step = at.beside * gap + (inside @ at.gain.T.to(u) - at.beside * inside) @ u
        return d_BCHW + step.reshape(d_BCHW.shape)

    def spread(self, v_BCHW: Tensor, sigma: float, share: float = 1.0) -> Tensor:
        """V[x | x_t, b] v."""
        at, (u, _) = self._at(sigma, share), self._parts(v_BCHW.dtype)
        v = v_BCHW.flatten(-3)
        inside = v @ u.T
        out = at.residual * v + (inside @ at.covariance.to(u) - at.residual * inside) @ u
        return out.reshape(v_BCHW.shape)

    def denoiser(self, denoise: Denoise, share: Callable[[float], float]) -> Denoise:
        """E[x | x_t, b] from the prior's E[x | x_t], whose error variance is `share` of that of the Gaussian."""

        def informed(x_BCHW: Tensor, sigma: Tensor) -> Tensor:
            return self.mean(denoise(x_BCHW, sigma), float(sigma), share(float(sigma)))

        return informed

    def _at(self, sigma: float, share: float) -> _Gain:
        key = sigma, share
        if key not in self._gains:
            self._gains = {key: self._gain(sigma, share)}  # Levels come one after another.
        return self._gains[key]

    def _gain(self, sigma: float, share: float) -> _Gain:
        values, patterns = self.prior.principal
        less = 0.0 if sigma == inf else 1 / sigma**2
        rho = share * self.prior.residual / (1 + self.prior.residual * less)
        rotation = self.basis @ patterns.T
        v = (rotation * (share * values / (1 + values * less) - rho)) @ rotation.T
        v = v + rho * torch.eye(len(self.basis), dtype=torch.float64)
        gain = torch.cholesky_solve(v, torch.linalg.cholesky(v + self._b)).T
        covariance = gain @ self._b
        beside = rho / (rho + self.other.residual)
        return _Gain(gain, (covariance + covariance.T) / 2, beside, beside * self.other.residual)

    def _parts(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        if dtype not in self._cast:
            self._cast[dtype] = self.basis.to(dtype), self.other.mean.flatten(-3).to(dtype)
        return self._cast[dtype]
