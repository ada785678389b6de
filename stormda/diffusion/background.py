"""The error covariance of a network's background: what an update with few observations depends on most.

    B = alpha G P G^T + f(t) Q         within R EOFs;   what they leave out: as in the linear-Gaussian guess
    ln f(t) = c + w . phi(t)           phi: phases of the year and the day

b = E[x | history] is the network's, far better than a linear model's; its errors are not those of the linear model
either: they are smaller, at the large scales most of all, and less of the analysis error P survives in them. So alpha,
Q and f are estimated from the network's own errors (`stormda.training.background`), as background errors always were
(Desroziers et al. 2005, https://doi.org/10.1256/qj.05.108; Bannister 2008, https://doi.org/10.1002/qj.339), and P is
carried from analysis to analysis: it knows where observations have been.

At noise level sigma the error covariance of the denoised state is then near share(sigma) (B^-1 + I / sigma^2)^-1.

Given a past with errors, a network takes its forecast for better than it is. So its draws are widened around b: where x
was one, x' = b + w (x - b) is, and their denoiser is

    D'(x'; sigma) = b + w (D(b + (x' - b) / w; sigma / w) - b)
"""

__all__ = ["BackgroundError", "widened"]

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from stormda.diffusion.guess import Guess, LinearGuess
from stormda.layout import WHOLE, Layout
from stormda.types import Denoise


class BackgroundError(nn.Module):
    """B of a background whose mean comes from elsewhere.

    Args:
        linear: its propagator is sqrt(alpha) G, its noise Q, at f = 1.
        season: c and w [1 + F].
        levels: noise levels, rising [S].
        share, cold_share: error variance of the denoiser at these levels in units of that of B, with history and
            without [S].
        width: w, by how much draws are widened around the background; a number.
    """

    season: Tensor
    levels: Tensor
    share: Tensor
    cold_share: Tensor
    width: Tensor

    def __init__(
        self, linear: LinearGuess, season: Tensor, levels: Tensor, share: Tensor, cold_share: Tensor, width: Tensor
    ) -> None:
        super().__init__()
        self.linear = linear
        own = {"season": season, "levels": levels, "share": share, "cold_share": cold_share, "width": width}
        for name, value in own.items():
            self.register_buffer(name, value.float())

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "BackgroundError":
        """From its state."""
        linear = {name.removeprefix("linear."): t for name, t in tensors.items() if name.startswith("linear.")}
        own = {name: t for name, t in tensors.items() if not name.startswith("linear.")}
        return cls(LinearGuess.of(linear), **({"width": torch.ones(())} | own))

    def forward(
        self,
        mean_BKCHW: Tensor,
        error_BKCHW: Tensor,
        mask_BK: Tensor,
        forcing_BF: Tensor,
        covariance_BRR: Tensor | None = None,
        layout: Layout = WHOLE,
    ) -> Guess:
        """B of the state given the frames; the mean is the linear model's.

        Args:
            mean_BKCHW, error_BKCHW, mask_BK: the frames.
            forcing_BF: phi of the state's time.
            covariance_BRR: P of the newest frame; None: its error with the climatological correlations.
            layout: how fields are spread over processes, of which this is the `part`.
        """
        scale = torch.exp(self.season[0] + forcing_BF.to(self.season) @ self.season[1:])
        guess: Guess = self.linear(mean_BKCHW, error_BKCHW, mask_BK, covariance_BRR, scale, layout)
        return guess

    def part(self, layout: Layout) -> "BackgroundError":
        """What this process holds of it."""
        linear = self.linear.part(layout)
        own = BackgroundError(linear, self.season, self.levels, self.share, self.cold_share, self.width)
        return own.to(self.season)

    def share_at(self, sigma: float, known: bool) -> float:
        """The share at a noise level, interpolated in ln sigma, with history (`known`) or without."""
        values = self.share if known else self.cold_share
        return float(np.interp(math.log(sigma), self.levels.log().cpu().numpy(), values.cpu().numpy()))


def widened(denoise: Denoise, background: Tensor, width: float) -> Denoise:
    """The denoiser of draws that are widened around a background.

    Args:
        denoise: D.
        background: b, [C, H, W] or one a member.
        width: w.
    """

    def wide(x_BCHW: Tensor, sigma: Tensor) -> Tensor:
        b = background.to(x_BCHW)
        return b + width * (denoise(b + (x_BCHW - b) / width, sigma / width) - b)

    return denoise if width == 1 else wide
