"""DPM-Solver++ 2M: two-step exponential integrator of the probability-flow equation, one denoiser call a step.

With t = -log sigma the equation dx/dsigma = (x - D(x; sigma)) / sigma becomes dx/dt = D - x, whose linear part is
integrated exactly and whose D is extrapolated linearly from the last two calls: second order (Lu et al. 2022,
"DPM-Solver++", https://arxiv.org/abs/2211.01095, algorithm 2). The last step, to sigma = 0, is D itself; the first
state comes from `stormda.diffusion.sample.start`.
"""

__all__ = ["dpm2m"]

import torch
from torch import Tensor

from stormda.diffusion.sample.langevin import UNCORRECTED, Langevin, Stir, still
from stormda.diffusion.sample.start import begin
from stormda.types import Denoise


def dpm2m(
    denoise: Denoise, noise_BCHW: Tensor, sigmas: Tensor, stir: Stir = still, langevin: Langevin = UNCORRECTED
) -> Tensor:
    """Draw a batch; arguments and result as in `stormda.diffusion.sample.langevin.Sampler`."""
    x, d = begin(denoise, noise_BCHW, sigmas[0])
    before: Tensor | None = None
    for i in range(len(sigmas) - 1):
        sigma, after = sigmas[i], sigmas[i + 1]
        if i > 0:
            x = langevin(denoise, x, sigma.to(x), stir)
            d = denoise(x, sigma.to(x))
        if after == 0:
            break
        h = torch.log(sigma / after)
        slope = d
        if before is not None:
            r = torch.log(sigmas[i - 1] / sigma) / h
            slope = d + (d - before) / (2 * r).to(x)
        x = (after / sigma).to(x) * x - torch.expm1(-h).to(x) * slope
        before = d
    return d
