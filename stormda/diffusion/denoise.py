"""Preconditioning: a network of unit-sized inputs and outputs becomes a denoiser.

EDM (Karras et al. 2022, https://arxiv.org/abs/2206.00364, section 5) writes D = c_skip x_t + c_out F(c_in x_t,
ln(sigma)/4), with weights that make input and target of F unit-sized at every noise level. Here c_skip x_t is a Wiener
filter: the mean D_g and the variance c_out^2 of the state given x_t and its past, if both were linear-Gaussian
(`stormda.diffusion.guess`),

    D = D_g + c_out F

so that F learns only what is not linear or not Gaussian, whatever the noise and however good the past, and an untrained
network is the linear-Gaussian method. Where the guess has no modes its points are independent, and without history
this is EDM itself.
"""

__all__ = ["EDM"]

import torch
from torch import Tensor, nn

from stormda.diffusion.guess import Guess, LinearGuess
from stormda.layout import WHOLE, Layout
from stormda.nn.planes import Strip


class EDM(nn.Module):
    """D(x_t; sigma, history, forcing) around a network F, in standardised units.

    Args:
        network: F, such as `stormda.nn.storm.Storm`.
        guess: what it improves on.
        precision: of products within F (autocast); None: that of its weights.
    """

    def __init__(self, network: nn.Module, guess: LinearGuess, precision: torch.dtype | None = None) -> None:
        super().__init__()
        self.network, self.guess, self.precision = network, guess, precision

    def forward(
        self,
        x_BCHW: Tensor,
        sigma_B: Tensor,
        mean_BKCHW: Tensor,
        error_BKCHW: Tensor,
        mask_BK: Tensor,
        forcing_BF: Tensor,
        layout: Layout = WHOLE,
        strip: Strip | None = None,
        guess: Guess | None = None,
    ) -> tuple[Tensor, Tensor]:
        """E[x | x_t, history], and the variance that the linear-Gaussian guess leaves, both [B, C, H, W].

        Arguments as those of `Storm`; one level, one history and one forcing (B = 1) may serve the whole batch.
        `guess`: where it is known already; None: that of the frames.
        """
        if guess is None:
            guess = self.guess(mean_BKCHW, error_BKCHW, mask_BK, layout=layout)
        d, variance = guess.denoise(x_BCHW, sigma_B)
        square = sigma_B[:, None, None, None] ** 2
        sd = guess.variance.sqrt()
        planes = [
            (x_BCHW - guess.mean) * (guess.variance + square).rsqrt(),
            guess.mean,
            sd,
            variance / square,
            (d - guess.mean) / sd,
        ]
        state = torch.stack([plane.expand_as(x_BCHW) for plane in planes], dim=1)
        told = {} if strip is None else {"strip": strip}
        with torch.autocast(x_BCHW.device.type, dtype=self.precision, enabled=self.precision is not None):
            f = self.network(state, sigma_B.log() / 4, mean_BKCHW, error_BKCHW, mask_BK, forcing_BF, layout, **told)
        return d + variance.sqrt() * f.to(d), variance

    def part(self, layout: Layout) -> "EDM":
        """For one process's part of a field: the same network around its part of the guess."""
        return EDM(self.network, self.guess.part(layout), self.precision)
