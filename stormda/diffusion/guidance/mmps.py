"""MMPS: moment-matching posterior sampling (Rozet et al. 2024, https://arxiv.org/abs/2405.13712).

The likelihood of y = H(x) + e given a noisy x_t is approximated by a Gaussian whose moments come from the denoiser:
E[x | x_t] = D and, by Tweedie, V[x | x_t] = sigma^2 J with J = dD/dx_t. With A = dH/dx at D the posterior denoiser is

    E[x | x_t, y] = D + V A^T (R + A V A^T)^-1 (y - H(D)),    V v = sigma^2 J^T v

exact where the prior is Gaussian and H linear. Nothing is formed: V is a vector-Jacobian product of the network, A and
A^T are products of the operator, and the system, whitened by R, is solved by GMRES to a tolerance, starting from the
solution of the previous noise level and preconditioned by a Gaussian that resembles the prior. (J of a learned network
is only nearly symmetric, hence GMRES.)
"""

__all__ = ["mmps"]

import torch
from torch import Tensor

from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.guidance.precondition import preconditioner
from stormda.diffusion.linalg import gmres
from stormda.diffusion.linearise import linearise
from stormda.errors import AnalysisRejected
from stormda.layout import WHOLE, Layout
from stormda.types import Denoise, Mapping2


def mmps(
    denoise: Denoise,
    operator: Mapping2,
    y: Tensor,
    variance: Tensor,
    *,
    gaussian: Gaussian | None = None,
    tolerance: float = 1e-2,
    max_iterations: int = 20,
    layout: Layout = WHOLE,
) -> Denoise:
    """The denoiser of the posterior.

    Args:
        denoise: the denoiser of the prior, differentiable in its first argument.
        operator: H, x_BCHW -> y_BN, differentiable.
        y: observed values, [N] or [B, N].
        variance: of the observation errors, [N].
        gaussian: an approximation of the prior, which makes the solver faster, not the result different.
        tolerance, max_iterations: of the linear solver.
        layout: how observations are spread over processes.

    Raises:
        AnalysisRejected: (by the returned function) the denoiser or the operator gave a value that is not finite.
    """
    warm: dict[tuple[int, ...], Tensor] = {}
    precondition = None if gaussian is None else preconditioner(gaussian, operator, variance)

    def dot(a_BN: Tensor, b_BN: Tensor) -> Tensor:
        return layout.sum((a_BN * b_BN).sum(dim=-1))

    def posterior(x_BCHW: Tensor, sigma: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x_BCHW.detach().requires_grad_()
            d_graph = denoise(x, sigma)
        d = d_graph.detach()
        h = linearise(operator, d)
        s = variance.sqrt().to(d)
        innovation = (y.to(d) - h.value) / s
        if not bool(torch.isfinite(innovation).all()):
            raise _rejected("the state", sigma)

        def v_at(w_BN: Tensor) -> Tensor:  # V A^T R^-1/2 w
            (product,) = torch.autograd.grad(d_graph, x, h.transpose(w_BN / s), retain_graph=True)
            return sigma.to(d) ** 2 * product

        def whitened(w_BN: Tensor) -> Tensor:  # (I + R^-1/2 A V A^T R^-1/2) w
            return w_BN + h.forward(v_at(w_BN)) / s

        start = warm.get(tuple(innovation.shape))
        try:
            w, _ = gmres(
                whitened,
                innovation,
                start,
                precondition=precondition and precondition(sigma),
                tolerance=tolerance,
                max_iterations=max_iterations,
                dot=dot,
            )
        except FloatingPointError as error:
            raise _rejected("the derivative of the denoiser or of H", sigma) from error
        warm[tuple(innovation.shape)] = w
        return d + v_at(w)

    return posterior


def _rejected(what: str, sigma: Tensor) -> AnalysisRejected:
    return AnalysisRejected(
        f"{what} is not finite at noise level {float(sigma):.3g}", hint="more sampler.steps, or another prior"
    )
