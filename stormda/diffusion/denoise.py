"""Preconditioning: a network of unit-sized inputs and outputs becomes a denoiser.

EDM (Karras et al. 2022, https://arxiv.org/abs/2206.00364, section 5) writes D = c_skip x_t + c_out F(c_in x_t,
ln(sigma)/4), with weights that make input and target of F unit-sized at every noise level for data of variance v =
sigma_data^2 around 0. Here mean and variance are those of a guess from the past, point by point, by a regression on the
newest frame that is there, a mean m with an error e:

    mu = r m,    v = s^2 (1 - r^2) + r^2 e^2        s^2 the climatological variance, r the autocorrelation
    D  = mu + v/(v + sigma^2) (x_t - mu) + sqrt(v) sigma/sqrt(v + sigma^2) F

so that F learns only what persistence does not know, whatever the noise and however good the past; without any frame,
mu = 0 and v = s^2, and this is EDM. The denoiser that F = 0 leaves is exact where points are independent first-order
Gaussian processes.
"""

__all__ = ["EDM", "Guess"]

from typing import NamedTuple

import torch
from torch import Tensor, nn

from stormda.layout import WHOLE, Layout

_LEAST = 1e-3  # of the climatological variance of a channel, which is 1: no point is taken to be known


class Guess(NamedTuple):
    """Mean and variance of the state given its past, point by point, [B, C, H, W]."""

    mean: Tensor
    variance: Tensor


class EDM(nn.Module):
    """D(x_t; sigma, history, forcing) around a network F, in standardised units.

    Args:
        network: F, such as `stormda.nn.storm.Storm`.
        variance: s^2, climatological variance of every point [C, H, W].
        correlation: r, autocorrelation of every point at the lag of each frame, oldest first [K, C, H, W].
    """

    variance: Tensor
    correlation: Tensor

    def __init__(self, network: nn.Module, variance: Tensor, correlation: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("variance", variance.to(torch.float32).clamp_min(_LEAST))
        self.register_buffer("correlation", correlation.to(torch.float32).clamp(-0.999, 0.999))

    def guess(self, mean_BKCHW: Tensor, error_BKCHW: Tensor, mask_BK: Tensor) -> Guess:
        """mu and v from the newest frame that is there."""
        mu = torch.zeros_like(mean_BKCHW[:, 0])
        v = self.variance.expand_as(mu)
        for k, r in enumerate(self.correlation):  # oldest first: newer frames overrule
            there = mask_BK[:, k, None, None, None]
            mu = torch.where(there, r * mean_BKCHW[:, k], mu)
            v = torch.where(there, self.variance * (1 - r**2) + (r * error_BKCHW[:, k]) ** 2, v)
        return Guess(mu, v)

    def forward(
        self,
        x_BCHW: Tensor,
        sigma_B: Tensor,
        mean_BKCHW: Tensor,
        error_BKCHW: Tensor,
        mask_BK: Tensor,
        forcing_BF: Tensor,
        layout: Layout = WHOLE,
    ) -> Tensor:
        """E[x | x_t, history]: the denoised state [B, C, H, W]; arguments as those of `Storm`.

        One history (B = 1) may serve the whole batch.
        """
        mu, v = self.guess(mean_BKCHW, error_BKCHW, mask_BK)
        sigma = sigma_B[:, None, None, None]
        total = v + sigma**2
        gain = v / total
        planes = [(x_BCHW - mu) * total.rsqrt(), mu, v.sqrt(), gain]
        noise_B = sigma_B.log() / 4
        state = torch.stack([plane.expand_as(x_BCHW) for plane in planes], dim=1)
        f = self.network(state, noise_B, mean_BKCHW, error_BKCHW, mask_BK, forcing_BF, layout)
        out: Tensor = mu + gain * (x_BCHW - mu) + v.sqrt() * sigma * total.rsqrt() * f
        return out
