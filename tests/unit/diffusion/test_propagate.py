"""Propagated moments are those of many draws by hand: one batch of columns does what one column a number would."""

import pytest
import torch
from torch import Tensor

from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.noise import karras
from stormda.diffusion.propagate import propagate
from stormda.diffusion.sample.ancestral import ancestral
from stormda.diffusion.sample.dpm2m import dpm2m
from stormda.diffusion.sample.heun import heun
from stormda.diffusion.sample.langevin import Langevin, Sampler

N, SHAPE = 4, (1, 2, 2)
ROOT = torch.randn(N, N, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
PRIOR = Gaussian(torch.arange(4.0).double().view(SHAPE), torch.eye(N).double(), ROOT @ ROOT.T)
SIGMAS = karras(0.05, 20.0, 5)


@pytest.mark.parametrize(
    ("sampler", "langevin", "draws"),
    [(dpm2m, Langevin(), 1), (heun, Langevin(2, 0.3), 9), (ancestral, Langevin(), 5), (ancestral, Langevin(1), 9)],
)
def test_moments_are_those_of_one_column_a_number(sampler: Sampler, langevin: Langevin, draws: int) -> None:
    columns = torch.zeros(1 + N * draws, N, dtype=torch.float64)
    columns[1 : 1 + N] = torch.eye(N)
    used = [1]

    def stir(x: Tensor, s: Tensor) -> Tensor:
        flat = x.flatten(1).clone()
        first = 1 + N * used[0]
        flat[first : first + N] += s * torch.eye(N, dtype=torch.float64)
        used[0] += 1
        return flat.view_as(x)

    x = sampler(PRIOR.denoise, columns.view(-1, *SHAPE), SIGMAS, stir, langevin).flatten(1)
    mean, covariance = propagate(sampler, PRIOR.denoise, SHAPE, SIGMAS, langevin)
    assert used[0] == draws
    # Roots of matrices with condition numbers below 1e5, ten times over.
    torch.testing.assert_close(mean, x[0], atol=1e-12, rtol=0)
    torch.testing.assert_close(covariance, (x[1:] - x[0]).T @ (x[1:] - x[0]), atol=1e-9, rtol=0)
