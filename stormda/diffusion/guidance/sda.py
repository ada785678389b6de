"""SDA: score-based data assimilation (Rozet and Louppe 2023, https://arxiv.org/abs/2306.10574).

The likelihood of y = H(x) + e given a noisy x_t is approximated by a Gaussian around H(D) whose variance grows with the
noise level,

    p(y | x_t) = N(y; H(D), R + Gamma sigma^2 |a|^2),     |a|^2 the squared lengths of the rows of A = dH/dx

so Gamma stands for V[x | x_t] / sigma^2 in units of the state, whatever those of y. Its gradient in x_t, by Tweedie's
formula, moves the denoiser to

    E[x | x_t, y] = D + sigma^2 J^T A^T (R + Gamma sigma^2 |a|^2)^-1 (y - H(D)),     J = dD/dx_t

One call of the network and one vector-Jacobian product a noise level, and no linear system. The price: Gamma is one
number, set by hand, for what depends on the direction and the noise level. Too small, steps overshoot and diverge; too
large, observations are used too little and spread stays too large.
"""

__all__ = ["sda"]

import torch
from torch import Tensor

from stormda.diffusion.guidance.increment import check_finite
from stormda.diffusion.guidance.robust import Weight, weigh
from stormda.diffusion.linearise import row_squares
from stormda.layout import WHOLE, Layout
from stormda.types import Denoise, Mapping2


def sda(
    denoise: Denoise,
    operator: Mapping2,
    y: Tensor,
    variance: Tensor,
    *,
    gamma: float = 0.1,
    weight: Weight | None = None,
    layout: Layout = WHOLE,
) -> Denoise:
    """The denoiser of the posterior.

    Args:
        denoise: the denoiser of the prior, differentiable in its first argument.
        operator, y, variance, layout: see `Increment`.
        gamma: Gamma.
        weight: of errors, where the likelihood is not Gaussian.

    Raises:
        AnalysisRejected: (by the returned function) the denoiser, the operator or a derivative is not finite.
    """
    squares: list[Tensor] = []

    def posterior(x_BCHW: Tensor, sigma: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x_BCHW.detach().requires_grad_()
            d = denoise(x, sigma)
            h = operator(d)
        if not squares:  # H at the climate, once: the same for every member
            zeros = torch.zeros_like(x_BCHW[0], dtype=torch.float64)
            squares.append(row_squares(operator, zeros, layout).to(variance.device))
        total = (variance.double() + gamma * float(sigma) ** 2 * squares[0]).to(h)
        innovation = y.to(h) - h.detach()
        check_finite(innovation, "the state", sigma, layout)
        if weight is not None:
            r = variance.to(h)
            innovation = weigh(weight, innovation / r.sqrt(), total / r) * innovation
        (pull,) = torch.autograd.grad(h, x, innovation / total)
        check_finite(pull, "the derivative of the denoiser or of H", sigma, layout)
        return d.detach() + sigma.to(pull) ** 2 * pull

    return posterior
