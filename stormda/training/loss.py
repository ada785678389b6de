"""The denoising objective of EDM, for a red spectrum.

    L = E  w(place) (D(x + sigma n; sigma, history) - x)^2 / c_out^2

Weather's variance sits in large patterns: the leading EOF of a standardised archive has a standard deviation of ten and
more, so a large scale is decided at noise levels where a single point has long drowned. ln sigma is therefore drawn
from a uniform density over all levels, from sigma_min to sigma_max = 5 leading standard deviations, mixed with a normal
one (after Karras et al. 2022, https://arxiv.org/abs/2206.00364, table 1, whose ln sigma ~ N(-1.2, 1.2^2) alone suits
images).
"""

__all__ = ["NoiseDensity", "denoising_error", "draw_noise"]

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stormda.training.data import Batch


@dataclass(frozen=True)
class NoiseDensity:
    """Which noise levels are trained.

    Args:
        sigma_min, sigma_max: their range.
        uniform: share that is log-uniform over the range; the rest is log-normal, cut to the range.
        centre, width: mean and standard deviation of ln sigma of the log-normal part.
    """

    sigma_min: float
    sigma_max: float
    uniform: float = 0.7
    centre: float = 0.0
    width: float = 1.2

    def draw(self, count: int, g: torch.Generator) -> Tensor:
        """Levels [B], stratified: one of each of B equal parts of the uniform density."""
        low, high = math.log(self.sigma_min), math.log(self.sigma_max)
        ranks = (
            torch.randperm(count, generator=g, device=g.device) + torch.rand(count, generator=g, device=g.device)
        ) / count
        levels = low + (high - low) * ranks
        normal = self.centre + self.width * torch.randn(count, generator=g, device=g.device)
        levels = torch.where(
            torch.rand(count, generator=g, device=g.device) < self.uniform, levels, normal.clamp(low, high)
        )
        return levels.exp()

    def levels(self, count: int) -> Tensor:
        """Levels [count] spread evenly in ln sigma, for validation."""
        return torch.linspace(math.log(self.sigma_min), math.log(self.sigma_max), count).exp()


def draw_noise(batch: Batch, g: torch.Generator) -> Tensor:
    """Standard normal noise like the truth of a batch."""
    return torch.randn(batch.x.shape, generator=g, device=g.device)


def denoising_error(model: nn.Module, batch: Batch, sigma_B: Tensor, noise: Tensor, weights_HW: Tensor) -> Tensor:
    """Weighted mean square error of each sample [B] in units of c_out^2, its mean over a channel of a sample.

    c_out^2 is what the linear-Gaussian guess leaves, so 1 is the loss of a guess that is right, before any training. It
    is averaged over the points of a channel, so that places keep their physical proportions while every channel and
    noise level counts the same.
    """
    x = batch.x + sigma_B[:, None, None, None] * noise
    d, variance = model(x, sigma_B, *batch.told)
    scale = (variance * weights_HW).mean(dim=(-2, -1), keepdim=True)
    error: Tensor = (weights_HW * (d - batch.x) ** 2 / scale).mean(dim=(1, 2, 3))
    return error
