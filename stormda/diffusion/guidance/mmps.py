"""MMPS: moment-matching posterior sampling (Rozet et al. 2024, https://arxiv.org/abs/2405.13712).

The likelihood of y = H(x) + e given a noisy x_t is approximated by a Gaussian whose moments come from the denoiser:
E[x | x_t] = D and, by Tweedie, V[x | x_t] = sigma^2 J with J = dD/dx_t. With A = dH/dx at D the posterior denoiser is

    E[x | x_t, y] = D + V A^T (R + A V A^T)^-1 (y - H(D)),    V v = sigma^2 J^T v

exact where the prior is Gaussian and H linear. Nothing is formed: V is a vector-Jacobian product of the network, A and
A^T are products of the operator.
"""

__all__ = ["mmps"]

from typing import Unpack

import torch
from torch import Tensor

from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.guidance.increment import Increment, Solver
from stormda.types import Denoise, Mapping2


def mmps(
    denoise: Denoise,
    operator: Mapping2,
    y: Tensor,
    variance: Tensor,
    *,
    gaussian: Gaussian | None = None,
    **solver: Unpack[Solver],
) -> Denoise:
    """The denoiser of the posterior.

    Args:
        denoise: the denoiser of the prior, differentiable in its first argument.
        operator, y, variance, gaussian, solver: see `Increment`.

    Raises:
        AnalysisRejected: (by the returned function) the denoiser or the operator gave a value that is not finite.
    """
    increment = Increment(operator, y, variance, gaussian, **solver)

    def posterior(x_BCHW: Tensor, sigma: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x_BCHW.detach().requires_grad_()
            d = denoise(x, sigma)

        def covariance(v_BCHW: Tensor) -> Tensor:
            (product,) = torch.autograd.grad(d, x, v_BCHW, retain_graph=True)
            return sigma.to(x) ** 2 * product

        return d.detach() + increment(d.detach(), covariance, sigma)

    return posterior
