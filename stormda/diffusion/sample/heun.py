"""Heun's method on the probability-flow equation, two denoiser calls a step.

dx/dsigma = (x - D(x; sigma)) / sigma by the trapezoidal rule (Karras et al. 2022, https://arxiv.org/abs/2206.00364,
algorithm 1 without churn): second order. The last step, to sigma = 0, is Euler's and ends in D; the first state comes
from `stormda.diffusion.sample.start`.
"""

__all__ = ["heun"]

from torch import Tensor

from stormda.diffusion.sample.langevin import UNCORRECTED, Langevin, Stir, still
from stormda.diffusion.sample.start import begin
from stormda.types import Denoise


def heun(
    denoise: Denoise, noise_BCHW: Tensor, sigmas: Tensor, stir: Stir = still, langevin: Langevin = UNCORRECTED
) -> Tensor:
    """Draw a batch; arguments and result as in `stormda.diffusion.sample.langevin.Sampler`."""
    x, d = begin(denoise, noise_BCHW, sigmas[0])
    for i in range(len(sigmas) - 1):
        sigma, after = sigmas[i].to(x), sigmas[i + 1].to(x)
        if i > 0:
            x = langevin(denoise, x, sigma, stir)
            d = denoise(x, sigma)
        if after == 0:
            break
        slope = (x - d) / sigma
        euler = x + (after - sigma) * slope
        x = x + (after - sigma) * (slope + (euler - denoise(euler, after)) / after) / 2
    return d
