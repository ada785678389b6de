"""The noise density reaches the large scales; the loss is 1 where persistence is all there is to know."""

import math

import torch
from torch import Tensor, nn

from stormda.diffusion.denoise import EDM
from stormda.diffusion.guess import LinearGuess
from stormda.training.data import Batch
from stormda.training.loss import NoiseDensity, denoising_error


def test_density_covers_its_range_in_every_batch() -> None:
    density = NoiseDensity(0.02, 75.0, uniform=1.0)
    sigma = density.draw(32, torch.Generator().manual_seed(0)).log().sort().values
    edges = torch.linspace(math.log(0.02), math.log(75.0), 33)
    assert bool(((sigma >= edges[:-1]) & (sigma <= edges[1:])).all())  # one level in each of 32 equal parts


def test_density_mixes_a_normal_part() -> None:
    sigma = NoiseDensity(0.02, 75.0, uniform=0.5).draw(20_000, torch.Generator().manual_seed(0))
    near = ((sigma.log().abs() < 1.2).float().mean()).item()
    # 0.5 x 2.4/8.23 + 0.5 x 0.683 = 0.487; the standard error of a share of 20 000 is 0.0035.
    assert abs(near - 0.487) < 0.015
    assert float(sigma.min()) >= 0.02 * (1 - 1e-6) and float(sigma.max()) <= 75.0 * (1 + 1e-6)


class Zero(nn.Module):
    def forward(self, state: Tensor, *rest: Tensor) -> Tensor:
        return torch.zeros_like(state[:, 0])


def test_loss_is_one_where_points_are_independent_processes() -> None:
    b, shape, g = 64, (2, 8, 8), torch.Generator().manual_seed(0)
    s2, r = torch.tensor([1.0, 4.0])[:, None, None].expand(shape), 0.9
    model = EDM(Zero(), LinearGuess.pointwise(s2, torch.full((1, *shape), r)))
    m = torch.randn(b, *shape, generator=g) * s2.sqrt()
    x = r * m + (s2 * (1 - r**2)).sqrt() * torch.randn(b, *shape, generator=g)
    batch = Batch(x, m[:, None], torch.zeros(b, 1, *shape), torch.ones(b, 1, dtype=torch.bool), torch.zeros(b, 4))
    weights = torch.rand(8, 8, generator=g)
    for sigma in (0.05, 0.5, 5.0, 50.0):
        noise = torch.randn(x.shape, generator=g)
        error = denoising_error(model, batch, torch.full((b,), sigma), noise, weights / weights.mean())
        # The mean of 64 x 128 squares of normal numbers: standard error sqrt(2/8192) = 0.016, 0.018 with the weights.
        assert abs(float(error.mean()) - 1) < 0.07
