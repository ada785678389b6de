"""DPS: diffusion posterior sampling (Chung et al. 2023, https://arxiv.org/abs/2209.14687).

The observations pull along the gradient of their misfit at the denoised state, whitened by R so that kinds and units of
observations may be mixed, with a step that does not depend on how large the misfit is:

    E[x | x_t, y] ~ D - zeta sigma^2 grad_{x_t} |R^-1/2 (y - H(D))|

The gradient of a Gaussian log-likelihood would be that of -|.|^2 / 2, so zeta stands in the place of |.|, about
sqrt(N) for N observations where the fit is right. One call of the network and one vector-Jacobian product a noise
level. Biased, not calibrated: V[x | x_t] appears nowhere, zeta is set by hand, and not even for a Gaussian prior does
the result tend to the posterior.
"""

__all__ = ["dps"]

import torch
from torch import Tensor

from stormda.diffusion.guidance.increment import check_finite
from stormda.layout import WHOLE, Layout
from stormda.types import Denoise, Mapping2


def dps(
    denoise: Denoise, operator: Mapping2, y: Tensor, variance: Tensor, *, zeta: float = 1.0, layout: Layout = WHOLE
) -> Denoise:
    """The denoiser that guides towards the observations.

    Args:
        denoise: the denoiser of the prior, differentiable in its first argument.
        operator, y, variance, layout: see `Increment`.
        zeta: length of a step.

    Raises:
        AnalysisRejected: (by the returned function) the denoiser, the operator or a derivative is not finite.
    """

    def posterior(x_BCHW: Tensor, sigma: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x_BCHW.detach().requires_grad_()
            d = denoise(x, sigma)
            h = operator(d)
        s = variance.sqrt().to(h)
        misfit = (y.to(h) - h.detach()) / s
        check_finite(misfit, "the state", sigma, layout)
        length = layout.sum(misfit.square().sum(dim=-1, keepdim=True)).sqrt()
        unit = misfit / length.clamp_min(torch.finfo(length.dtype).tiny)  # a perfect fit pulls nowhere
        (pull,) = torch.autograd.grad(h, x, zeta * unit / s)
        check_finite(pull, "the derivative of the denoiser or of H", sigma, layout)
        return d.detach() + sigma.to(pull) ** 2 * pull

    return posterior
