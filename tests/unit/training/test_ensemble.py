"""Ensembles at validation: scores by their definition, spread by the linear-Gaussian world where it is known."""

import pytest
import torch
from torch import Tensor, nn

from stormda.diffusion.denoise import EDM
from stormda.diffusion.guess import LinearGuess
from stormda.metrics.probabilistic import crps_fair as crps_of_scores
from stormda.training.data import Batch
from stormda.training.ensemble import STEPS, crps_fair, draw_members, ensemble_scores

SIGMA = (0.02, 50.0)


class Silent(nn.Module):
    def forward(self, state: Tensor, *rest: Tensor) -> Tensor:
        return torch.zeros_like(state[:, 0])


def linear_world(points: int = 12, modes: int = 5) -> EDM:
    """Red EOFs of variances 25 to 0.1, each remembering 0.9 of itself, and white noise of variance 0.05 beside."""
    g = torch.Generator().manual_seed(0)
    e = torch.linalg.qr(torch.randn(points, points, generator=g))[0][:modes]
    energy = torch.logspace(1.4, -1, modes)
    beside = torch.full((1, 1, points), 0.05)
    variance = (e.square() * energy[:, None]).sum(dim=0).view(1, 1, points) + beside
    r = torch.zeros(1, 1, 1, points)
    return EDM(Silent(), LinearGuess(variance, r, e, energy, 0.9 * torch.eye(modes), 0.19 * torch.diag(energy), beside))


def case(model: EDM, error: float) -> Batch:
    shape = (1, *model.guess.variance.shape)
    mean = torch.randn(shape[:1] + shape, generator=torch.Generator().manual_seed(1))
    told = torch.full_like(mean, error)
    return Batch(torch.zeros(shape), mean, told, torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 4))


@pytest.mark.parametrize("error", [0.01, 1.0])
def test_members_of_a_linear_gaussian_world_have_its_mean_and_spread(error: float) -> None:
    model = linear_world()
    batch = case(model, error)
    for known in (batch, batch.forgotten()):
        exact = model.guess(known.mean, known.error, known.mask)
        noise = torch.randn(4000, *known.x.shape[1:], generator=torch.Generator().manual_seed(2))
        members = draw_members(model, known, noise, SIGMA, STEPS)
        ratio = float((members.var(dim=0).mean() / exact.variance.mean()).sqrt())
        # 4 % too wide by ten steps (module), one or two EOFs hold most: standard error sqrt(1/8000) = 0.011.
        assert 1.0 < ratio < 1.08
        miss = (members.mean(dim=0) - exact.mean[0]) / exact.variance[0].sqrt()
        assert float(miss.abs().max()) < 0.06  # 1/sqrt(4000) = 0.016, and what the start leaves


def test_crps_is_that_of_the_metrics() -> None:
    g = torch.Generator().manual_seed(0)
    members, truth = torch.randn(7, 50, generator=g), torch.randn(50, generator=g)
    expected = torch.as_tensor(crps_of_scores(members.numpy(), truth.numpy())).float()
    torch.testing.assert_close(crps_fair(members, truth), expected, atol=1e-6, rtol=0)  # float32, 7 terms of size 1


def test_members_that_are_exchangeable_with_the_truth_are_calibrated() -> None:
    x = (
        torch.randn(400, 9, 2, 3, 4, generator=torch.Generator().manual_seed(0))
        * torch.tensor([1.0, 3.0])[:, None, None]
    )
    weights = torch.tensor([0.5, 1.0, 1.5])[:, None].expand(3, 4)
    crps, ratio = ensemble_scores(x[:, 1:], x[:, 0], weights)
    # 4800 values: standard error of a root of a mean square sqrt(1/9600) = 0.010, of the weights and CRPS about 0.015.
    assert ratio.tolist() == pytest.approx([1.0, 1.0], abs=0.05)
    assert (crps / torch.tensor([1.0, 3.0])).tolist() == pytest.approx([0.5642, 0.5642], abs=0.04)  # 1/sqrt(pi)
