"""The analysis increment of a noise level: what guidance of every kind has in common.

    increment = V A^T w,    (R + A V A^T) w = y - H(D)

V is the covariance V[x | x_t], known by its products; A = dH/dx at D. The system is whitened by R and solved by GMRES
to a tolerance, starting from the solution of the previous noise level and preconditioned by a Gaussian that resembles
the prior. GMRES, because the derivative of a learned network, from which V may come, is only nearly symmetric.

**H that is not linear.** The increment is the first step of Gauss and Newton towards the minimum of

    J(x) = |R^-1/2 (y - H(x))|^2 + (x - D)^T V^-1 (x - D)

Where H is flat at D and steep elsewhere that step may overshoot by far. So where H at its end is not what its
derivative said, by more than the solver's tolerance, the step is shortened to where J is least, and H linearised anew
there: with x_k = D + V g_k the next step solves the same system for y - H(x_k) + A_k (x_k - D) (Bell and Cathey 1993,
https://doi.org/10.1109/9.250476: the iterated Kalman filter). As every x_k is D + V g_k, J costs one evaluation of H.
"""

__all__ = ["Increment", "Solver", "check_finite"]

import logging
from collections.abc import Callable
from typing import TypedDict

import torch
from torch import Tensor

from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.guidance.precondition import preconditioner
from stormda.diffusion.guidance.robust import Weight, innovation_spread, weigh
from stormda.diffusion.linalg import gmres
from stormda.diffusion.linearise import Linear, linearise
from stormda.errors import AnalysisRejected
from stormda.layout import WHOLE, Layout
from stormda.types import Mapping2

log = logging.getLogger(__name__)

_LENGTHS = (1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.0)  # of a step, as shares of the whole one


class Solver(TypedDict, total=False):
    """How the increment is solved for; see `Increment`."""

    tolerance: float
    max_iterations: int
    layout: Layout
    linearisations: int
    weight: Weight | None


class Increment:
    """Solves for the increment, level after level of one batch of members.

    Args:
        operator: H, x_BCHW -> y_BN, differentiable.
        y: observed values, [N] or [B, N].
        variance: of the observation errors, [N].
        gaussian: an approximation of the prior, which makes the solver faster, not the result different.
        tolerance, max_iterations: of the linear solver.
        layout: how fields and observations are spread over processes; `operator` takes the part of a field, and y and
            `variance` are those of the observations of the part.
        linearisations: of H at most, where it is not linear.
        weight: of errors, where the likelihood is not Gaussian; it needs `gaussian`.
    """

    def __init__(
        self,
        operator: Mapping2,
        y: Tensor,
        variance: Tensor,
        gaussian: Gaussian | None,
        *,
        tolerance: float = 1e-2,
        max_iterations: int = 20,
        layout: Layout = WHOLE,
        linearisations: int = 1,
        weight: Weight | None = None,
    ) -> None:
        if weight is not None and gaussian is None:
            raise ValueError("the spread of innovations comes from a Gaussian, and none is given")
        self.operator, self.y, self.variance, self.gaussian = operator, y, variance, gaussian
        self.precondition = None if gaussian is None else preconditioner(gaussian, operator, variance)
        self.tolerance, self.max_iterations, self.layout = tolerance, max_iterations, layout
        self.linearisations, self.weight = linearisations, weight
        self._warm: dict[tuple[int, ...], Tensor] = {}
        self._told = False

    def __call__(
        self, d_BCHW: Tensor, covariance: Callable[[Tensor], Tensor], sigma: Tensor, share: float = 1.0
    ) -> Tensor:
        """V A^T w, [B, C, H, W], at the denoised state D, for V given by its products.

        `share` is that of the Gaussian's V in this one, for the weights of innovations.

        Raises:
            AnalysisRejected: the state, the operator or a product is not finite.
        """
        h = linearise(self.operator, d_BCHW)
        s = self.variance.sqrt().to(d_BCHW)
        innovation = (self.y.to(d_BCHW) - h.value) / s
        check_finite(innovation, "the state", sigma, self.layout)
        ratio = self._ratio(h, innovation, share, sigma)
        w = self._solve(h, s, ratio, covariance, innovation, self._warm.get(tuple(innovation.shape)), sigma)
        self._warm[tuple(innovation.shape)] = w
        pull = h.transpose(w / s)
        step = covariance(pull)
        return step if self.linearisations == 1 else self._newton(d_BCHW, h, s, ratio, covariance, pull, step, w, sigma)

    def _ratio(self, h: Linear, innovation: Tensor, share: float, sigma: Tensor) -> Tensor | None:
        """R' / R [B, N] of a robust likelihood; None: 1."""
        if self.weight is None or self.gaussian is None:
            return None
        square = 1 + innovation_spread(h, self.gaussian, share, sigma) / self.variance.to(innovation)  # s^2 / R
        return 1 + square * (1 / weigh(self.weight, innovation, square) - 1)

    def _solve(
        self,
        h: Linear,
        s: Tensor,
        ratio: Tensor | None,
        covariance: Callable[[Tensor], Tensor],
        right: Tensor,
        start: Tensor | None,
        sigma: Tensor,
    ) -> Tensor:
        """w of R^-1/2 (R' + A V A^T) R^-1/2 w = right."""

        def whitened(w_BN: Tensor) -> Tensor:
            own = w_BN if ratio is None else ratio * w_BN
            return own + h.forward(covariance(h.transpose(w_BN / s))) / s

        try:
            w, count = gmres(
                whitened,
                right,
                start,
                precondition=self.precondition and self.precondition(sigma),
                tolerance=self.tolerance,
                max_iterations=self.max_iterations,
                dot=self._dot,
            )
        except FloatingPointError as error:
            raise _rejected("the derivative of the denoiser or of H", sigma) from error
        if count == self.max_iterations and not self._told:
            self._told = True
            what = "the linear solver was stopped after %d iterations at noise level %.3g (guidance.max_iterations)"
            log.warning(what, count, float(sigma))
        return w

    def _newton(
        self,
        d: Tensor,
        h: Linear,
        s: Tensor,
        ratio: Tensor | None,
        covariance: Callable[[Tensor], Tensor],
        pull: Tensor,
        step: Tensor,
        w: Tensor,
        sigma: Tensor,
    ) -> Tensor:
        """Go on from the first step, V pull: members whose H bends; the others keep it bit by bit."""
        y, weights = self.y.to(d), 1.0 if ratio is None else 1 / ratio

        def misfit(x: Tensor) -> Tensor:
            with torch.no_grad():
                return (y - self.operator(x)) / s

        def cost(g: Tensor, increment: Tensor) -> Tensor:
            r = misfit(d + increment)
            total = self._dot(weights * r, r) + self.layout.sum((g * increment).flatten(1).sum(dim=-1))
            return torch.where(torch.isfinite(total), total, torch.inf)

        at, g = torch.zeros_like(step), torch.zeros_like(pull)  # x_k - D = V g
        scale = self._dot(*[(y - h.value) / s] * 2).sqrt()
        bends = torch.ones(len(d), dtype=torch.bool, device=d.device)
        for remaining in reversed(range(self.linearisations)):
            predicted = (y - h.value - h.forward(step - at)) / s
            off = misfit(d + step) - predicted
            straight = self._dot(off, off).sqrt() <= self.tolerance * scale
            lengths = torch.tensor(_LENGTHS, dtype=d.dtype, device=d.device)
            costs = torch.stack([cost(g + a * (pull - g), at + a * (step - at)) for a in lengths])
            length = torch.where(straight, 1.0, lengths[costs.argmin(dim=0)])
            length = torch.where(bends, length, 0.0)[:, None, None, None]
            at, g = torch.where(length == 1, step, at + length * (step - at)), g + length * (pull - g)
            bends = bends & ~straight & (length.flatten() > 0)
            if remaining == 0 or not bool(bends.any()):
                break
            h = linearise(self.operator, d + at)
            right = (y - h.value + h.forward(at)) / s
            check_finite(right, "the state", sigma, self.layout)
            w = self._solve(h, s, ratio, covariance, right, w, sigma)
            pull = h.transpose(w / s)
            step = covariance(pull)
        return at

    def _dot(self, a_BN: Tensor, b_BN: Tensor) -> Tensor:
        return self.layout.sum((a_BN * b_BN).sum(dim=-1))


def check_finite(values: Tensor, what: str, sigma: Tensor, layout: Layout = WHOLE) -> None:
    """Raise AnalysisRejected, naming `what` and the noise level, unless all values are finite, in every process."""
    if float(layout.sum((~torch.isfinite(values)).sum())) > 0:
        raise _rejected(what, sigma)


def _rejected(what: str, sigma: Tensor) -> AnalysisRejected:
    return AnalysisRejected(
        f"{what} is not finite at noise level {float(sigma):.3g}", hint="more sampler.steps, or another prior"
    )
