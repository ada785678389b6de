"""Ancestral sampling: every step puts back the noise that the step before took away too much.

Given x and x_t the state of a lower noise level s' < s is a Gaussian, and D stands for the x that is not known (Ho et
al. 2020, "Denoising diffusion probabilistic models", https://arxiv.org/abs/2006.11239, in the variance-exploding form
of Song et al. 2021, https://arxiv.org/abs/2011.13456, appendix F):

    x_{s'} = D + (s' / s)^2 (x_s - D) + s' sqrt(1 - (s' / s)^2) n,     n ~ N(0, I)

which is Euler's ancestral sampler as well. One call of the denoiser a step, of first order only. What is not known of x
given x_t, V[x | x_t], is left out of every step, so the spread is too small: many steps are needed. The last step, to
sigma = 0, is D itself; the first state comes from `stormda.diffusion.sample.start`.
"""

__all__ = ["ancestral"]

from torch import Tensor

from stormda.diffusion.sample.langevin import UNCORRECTED, Langevin, Stir, still
from stormda.diffusion.sample.start import begin
from stormda.types import Denoise


def ancestral(
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
        share = (after / sigma) ** 2
        x = stir(d + share * (x - d), after * (1 - share).sqrt())
    return d
