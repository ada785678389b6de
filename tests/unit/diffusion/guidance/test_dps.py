"""DPS is the gradient that it says it is, of a length that does not depend on the misfit."""

import pytest
import torch
from torch import Tensor

from stormda.diffusion.guidance.dps import dps
from stormda.errors import AnalysisRejected

SHAPE = (1, 2, 4)
MIX = torch.eye(8).double() * 0.5 + 0.1 * torch.randn(8, 8, generator=torch.Generator().manual_seed(0)).double()
X = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y, VARIANCE = torch.tensor([1.0, -2.0, 0.3]).double(), torch.tensor([0.1, 1.0, 4.0]).double()


def denoise(x: Tensor, sigma: Tensor) -> Tensor:
    return torch.tanh(x.flatten(1) @ MIX.T).view_as(x)


def operator(x: Tensor) -> Tensor:
    flat = x.flatten(1)
    return torch.stack([flat[:, 0], torch.arctan(flat[:, 3]), flat[:, 5] * flat[:, 6]], dim=-1)


def test_is_the_gradient_of_the_whitened_misfit() -> None:
    sigma = torch.tensor(0.7, dtype=torch.float64)
    x = X.clone().requires_grad_()
    misfit = ((Y - operator(denoise(x, sigma))) / VARIANCE.sqrt()).norm(dim=-1).sum()
    (gradient,) = torch.autograd.grad(misfit, x)
    expected = denoise(X, sigma) - 1.5 * 0.7**2 * gradient
    # The same chain rule in double precision.
    torch.testing.assert_close(dps(denoise, operator, Y, VARIANCE, zeta=1.5)(X, sigma), expected, atol=1e-13, rtol=0)


def test_a_perfect_fit_pulls_nowhere() -> None:
    sigma = torch.tensor(0.7, dtype=torch.float64)
    d = denoise(X[:1], sigma)
    assert torch.equal(dps(denoise, operator, operator(d)[0], VARIANCE)(X[:1], sigma), d)


def test_a_kink_is_rejected_by_name_of_the_level() -> None:
    def kink(x: Tensor, sigma: Tensor) -> Tensor:
        return x + torch.sqrt((x - x.detach()).abs())  # value x, infinite derivative

    with pytest.raises(AnalysisRejected, match=r"derivative .* noise level 0\.5"):
        dps(kink, operator, Y, VARIANCE)(X, torch.tensor(0.5).double())
