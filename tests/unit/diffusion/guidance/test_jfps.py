"""JFPS: exact for the prior it is given, its own dense formula otherwise, and never a derivative of the denoiser."""

from typing import Any

import torch
from torch import Tensor

from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.guidance.jfps import jfps
from stormda.diffusion.guidance.mmps import mmps

N, SHAPE = 12, (1, 3, 4)
MODES = torch.linalg.qr(torch.randn(N, N, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0][:5]
GAUSSIAN = Gaussian(
    torch.ones(SHAPE, dtype=torch.float64), MODES, torch.diag(torch.linspace(9.0, 1.0, 5)).double(), 0.2
)
Y, VARIANCE = torch.tensor([1.0, -2.0, 0.5]).double(), torch.tensor([0.1, 1.0, 0.01]).double()
X = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
EXACT: dict[str, Any] = {"tolerance": 1e-13, "max_iterations": 10}


def operator(x: Tensor) -> Tensor:
    return x.flatten(1)[:, [0, 7, 7]]


def test_it_is_mmps_where_the_prior_is_its_gaussian() -> None:
    for level in (0.05, 1.0, 30.0):
        sigma = torch.tensor(level).double()
        ours = jfps(GAUSSIAN.denoise, operator, Y, VARIANCE, GAUSSIAN, **EXACT)(X, sigma)
        # Double precision, condition numbers below 1e4.
        torch.testing.assert_close(
            ours, mmps(GAUSSIAN.denoise, operator, Y, VARIANCE, **EXACT)(X, sigma), atol=1e-9, rtol=0
        )


def test_it_is_its_dense_formula_for_another_prior() -> None:
    sigma, share = torch.tensor(0.7).double(), 0.6
    s = MODES.T @ GAUSSIAN.covariance @ MODES + 0.2 * (torch.eye(N) - MODES.T @ MODES)
    v = share * torch.linalg.inv(torch.linalg.inv(s) + torch.eye(N).double() / sigma**2)
    a = torch.eye(N).double()[[0, 7, 7]]
    d = torch.tanh(X)
    gain = v @ a.T @ torch.linalg.inv(torch.diag(VARIANCE) + a @ v @ a.T)
    expected = d + ((Y - operator(d)) @ gain.T).view_as(d)
    ours = jfps(lambda x, _: torch.tanh(x), operator, Y, VARIANCE, GAUSSIAN, share=lambda _: share, **EXACT)(X, sigma)
    torch.testing.assert_close(ours, expected, atol=1e-9, rtol=0)  # as above


def test_it_needs_no_derivative_of_the_denoiser() -> None:
    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return torch.tanh(x).detach()

    jfps(denoise, operator, Y, VARIANCE, GAUSSIAN, **EXACT)(X, torch.tensor(1.0).double())
