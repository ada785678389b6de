"""Where the reverse diffusion begins: as if it came from infinity.

The state of noise level s_0 is x_t = x + s_0 n, so it has the mean of x. Beginning at s_0 n forgets that mean, and
what is forgotten never comes back: the probability flow of N(m, v) in one direction keeps a share sqrt(v / (v +
s_0^2)) of an offset at s_0, so the ensemble mean would miss by |m| / s_0 standard deviations of the result, however
many steps there are. With s_0 five times the sd of the largest pattern that is 0.2 of its analysis error on average,
and 0.1 of the whole field's.

The exponential step from infinity to s_0 with D held constant ends in s_0 n + D(infinity). D hardly varies at the top,
so

    x_0 = s_0 n + D_0,   D_0 = D(s_0 n; s_0)

which leaves |m| v / s_0^3 instead (v is the posterior's variance, far below s_0^2), and the denoiser call is one that
the first step needs anyway: D_0 serves it too.
"""

__all__ = ["begin"]

from torch import Tensor

from stormda.types import Denoise


def begin(denoise: Denoise, noise_BCHW: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """The state x_0 at the highest noise level and the denoiser's answer D_0 there, both [B, C, H, W]."""
    x = sigma.to(noise_BCHW) * noise_BCHW
    d = denoise(x, sigma.to(noise_BCHW))
    return x + d, d
