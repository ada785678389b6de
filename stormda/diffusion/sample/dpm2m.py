"""DPM-Solver++ 2M: two-step exponential integrator of the probability-flow equation, one denoiser call a step.

With t = -log sigma the equation dx/dsigma = (x - D(x; sigma)) / sigma becomes dx/dt = D - x, whose linear part is
integrated exactly and whose D is extrapolated linearly from the last two calls: second order (Lu et al. 2022,
"DPM-Solver++", https://arxiv.org/abs/2211.01095, algorithm 2). The first state comes from
`stormda.diffusion.sample.start`. The last step, to sigma = 0, is

    dpm2m     D_n, the answer at the last level itself. Of a direction of variance v it leaves v / (v + sigma_n^2) of
              what it should: D is a mean, and what is not known at the last level is lost.
    dpm2mx    D_n + (D_n - D_{n-1}) sigma_n^2 / (sigma_{n-1}^2 - sigma_n^2): on its way down D of a direction is
              proportional to (v + sigma^2)^-1/2, linear in sigma^2 where v is larger, so the last two answers tell the
              one at sigma = 0. No call more, and noise that D removed does not come back.
"""

__all__ = ["dpm2m", "dpm2mx"]

import torch
from torch import Tensor

from stormda.diffusion.sample.langevin import UNCORRECTED, Langevin, Stir, still
from stormda.diffusion.sample.start import begin
from stormda.types import Denoise


def dpm2m(
    denoise: Denoise, noise_BCHW: Tensor, sigmas: Tensor, stir: Stir = still, langevin: Langevin = UNCORRECTED
) -> Tensor:
    """Draw a batch; arguments and result as in `stormda.diffusion.sample.langevin.Sampler`."""
    d, _ = _run(denoise, noise_BCHW, sigmas, stir, langevin)
    return d


def dpm2mx(
    denoise: Denoise, noise_BCHW: Tensor, sigmas: Tensor, stir: Stir = still, langevin: Langevin = UNCORRECTED
) -> Tensor:
    """Draw a batch and extrapolate to zero noise; arguments and result as in `dpm2m`."""
    d, before = _run(denoise, noise_BCHW, sigmas, stir, langevin)
    return d if before is None else d + (d - before) / ((sigmas[-3] / sigmas[-2]) ** 2 - 1).to(d)


def _run(
    denoise: Denoise, noise_BCHW: Tensor, sigmas: Tensor, stir: Stir, langevin: Langevin
) -> tuple[Tensor, Tensor | None]:
    """The denoiser's answers at the last level, and at the one before if there is one."""
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
    return d, before
