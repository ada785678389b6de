"""The analysis increment of a noise level: what guidance of every kind has in common.

    increment = V A^T w,    (R + A V A^T) w = y - H(D)

V is the covariance V[x | x_t], known by its products; A = dH/dx at D. The system is whitened by R and solved by GMRES
to a tolerance, starting from the solution of the previous noise level and preconditioned by a Gaussian that resembles
the prior. GMRES, because the derivative of a learned network, from which V may come, is only nearly symmetric.
"""

__all__ = ["Increment"]

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.guidance.precondition import preconditioner
from stormda.diffusion.linalg import gmres
from stormda.diffusion.linearise import linearise
from stormda.errors import AnalysisRejected
from stormda.layout import WHOLE, Layout
from stormda.types import Mapping2

log = logging.getLogger(__name__)


class Increment:
    """Solves for the increment, level after level of one batch of members.

    Args:
        operator: H, x_BCHW -> y_BN, differentiable.
        y: observed values, [N] or [B, N].
        variance: of the observation errors, [N].
        gaussian: an approximation of the prior, which makes the solver faster, not the result different.
        tolerance, max_iterations: of the linear solver.
        layout: how observations are spread over processes.
    """

    def __init__(
        self,
        operator: Mapping2,
        y: Tensor,
        variance: Tensor,
        gaussian: Gaussian | None,
        *,
        tolerance: float,
        max_iterations: int,
        layout: Layout = WHOLE,
    ) -> None:
        self.operator, self.y, self.variance = operator, y, variance
        self.precondition = None if gaussian is None else preconditioner(gaussian, operator, variance)
        self.tolerance, self.max_iterations, self.layout = tolerance, max_iterations, layout
        self._warm: dict[tuple[int, ...], Tensor] = {}
        self._told = False

    def __call__(self, d_BCHW: Tensor, covariance: Callable[[Tensor], Tensor], sigma: Tensor) -> Tensor:
        """V A^T w, [B, C, H, W], at the denoised state D, for V given by its products.

        Raises:
            AnalysisRejected: the state, the operator or a product is not finite.
        """
        h = linearise(self.operator, d_BCHW)
        s = self.variance.sqrt().to(d_BCHW)
        innovation = (self.y.to(d_BCHW) - h.value) / s
        if not bool(torch.isfinite(innovation).all()):
            raise _rejected("the state", sigma)

        def whitened(w_BN: Tensor) -> Tensor:  # (I + R^-1/2 A V A^T R^-1/2) w
            return w_BN + h.forward(covariance(h.transpose(w_BN / s))) / s

        try:
            w, count = gmres(
                whitened,
                innovation,
                self._warm.get(tuple(innovation.shape)),
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
        self._warm[tuple(innovation.shape)] = w
        return covariance(h.transpose(w / s))

    def _dot(self, a_BN: Tensor, b_BN: Tensor) -> Tensor:
        return self.layout.sum((a_BN * b_BN).sum(dim=-1))


def _rejected(what: str, sigma: Tensor) -> AnalysisRejected:
    return AnalysisRejected(
        f"{what} is not finite at noise level {float(sigma):.3g}", hint="more sampler.steps, or another prior"
    )
