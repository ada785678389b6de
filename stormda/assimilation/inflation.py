"""Inflation from innovations: how much wider than it says the background of this cycle is.

A filter that trusts its background too much sees it in d = y - H(b): its mean square is more than A V A^T + R allows.
With the eigenvalues s_k of R^-1/2 A V A^T R^-1/2 and the components d_k of R^-1/2 d along its eigenvectors, lambda is
the most probable one, with d Gaussian and ln lambda ~ N(0, 1):

    min   ln(lambda)^2 + sum_k [ ln(1 + lambda s_k) + d_k^2 / (1 + lambda s_k) ]

(maximum likelihood as by Dee 1995, https://doi.org/10.1175/1520-0493(1995)123<1128:OLEOEC>2.0.CO;2), so few
observations say little. Nothing is kept from cycle to cycle.

Draws x of the background become b + sqrt(lambda) (x - b), with the denoiser of these (`stormda.diffusion.background`).
"""

__all__ = ["Inflated", "inflated", "innovation_scale"]

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from stormda.assimilation.prior import Prior
from stormda.diffusion.background import widened
from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.history import History
from stormda.grid import Grid
from stormda.normaliser import Normaliser
from stormda.types import Denoise, Mapping2
from stormda.variables import Channel

if TYPE_CHECKING:
    from stormda.assimilation.methods import Problem

log = logging.getLogger(__name__)

_MOST = 400  # observations that are looked at, evenly from all
_CANDIDATES = torch.logspace(-1, 6, 701, dtype=torch.float64)  # of lambda, 2.3 % apart


def innovation_scale(gaussian: Gaussian, operator: Mapping2, y: Tensor, variance: Tensor) -> float:
    """lambda of a background N(b, V).

    Args:
        gaussian: of the background.
        operator, y, variance: H, observed values and error variances [N].
    """
    some = torch.linspace(0, len(y) - 1, min(len(y), _MOST)).round().long()
    r = variance[some].double()
    hb, _, both = gaussian.observed(lambda z: operator(z)[:, some], r)
    root = r.rsqrt()
    s, vectors = torch.linalg.eigh(root[:, None] * (both - torch.diag(r)) * root)
    squares = (vectors.T @ (root * (y[some].double() - hb))).square()
    expected = 1 + _CANDIDATES[:, None] * s.clamp_min(0.0)
    cost = _CANDIDATES.log().square() + (expected.log() + squares / expected).sum(dim=1)
    return float(_CANDIDATES[cost.argmin()])


@dataclass(eq=False)
class Inflated:
    """A prior whose deviations from its background are wider; see the protocol `Prior`.

    Args:
        base: the prior.
        background: b, [C, H, W].
        scale: lambda.
    """

    base: Prior
    background: Tensor
    scale: float

    def __post_init__(self) -> None:
        base = self.base
        self.channels: tuple[Channel, ...] = base.channels
        self.grid: Grid = base.grid
        self.normaliser: Normaliser = base.normaliser
        self.frames: int = base.frames
        self.step: np.timedelta64 = base.step
        self.sigma_max: float = base.sigma_max

    @property
    def signature(self) -> str | None:
        """That of `base`."""
        return self.base.signature

    def denoiser(self, history: History, time: np.datetime64) -> Denoise:
        """Of the wider draws."""
        return widened(self.base.denoiser(history, time), self.background, self.scale**0.5)

    def linear(self, history: History, time: np.datetime64) -> Gaussian:
        """With lambda times the covariance."""
        g = self.base.linear(history, time)
        return replace(g, covariance=self.scale * g.covariance, residual=self.scale * g.residual)

    def share(self, history: History, sigma: float) -> float:
        """That of `base` where its noise was as large against its deviations."""
        return self.base.share(history, sigma / self.scale**0.5)

    def carry(
        self, history: History, time: np.datetime64, operator: Mapping2, y: Tensor, variance: Tensor
    ) -> Tensor | None:
        """The posterior of the wider covariance, where `base` carries one."""
        if self.signature is None:
            return None
        around = replace(self.linear(history, time), mean=self.background.double())
        return around.posterior(operator, y, variance)[1]


def inflated(prior: Prior, problem: "Problem") -> Prior:
    """The prior of a problem, as wide as its innovations ask for; unchanged without a past or observations."""
    history, time = problem.history, problem.time
    if len(problem.y) == 0 or not bool(history.mask.any()):
        return prior
    linear, top = prior.linear(history, time), torch.tensor(prior.sigma_max)
    b = prior.denoiser(history, time)(linear.mean.float()[None], top)[0].double()
    share = prior.share(history, prior.sigma_max)
    around = replace(linear, mean=b, covariance=share * linear.covariance, residual=share * linear.residual)
    scale = innovation_scale(around, problem.operator, problem.y, problem.variance)
    log.info("the variance of the background is taken %.2f times", scale)
    return Inflated(prior, b, scale)
