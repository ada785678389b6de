"""SDA against its dense formula, and where it is exact: one variance in every direction, all of it observed."""

import numpy as np
import torch
from torch import Tensor

from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.guidance.robust import huber
from stormda.diffusion.guidance.sda import sda

N, SHAPE = 10, (1, 2, 5)
G = np.random.default_rng(7)
MIX = torch.as_tensor(0.3 * np.eye(N) + 0.1 * G.normal(size=(N, N)))  # not symmetric
Y = torch.as_tensor(G.normal(size=3))
VARIANCE = torch.tensor([0.1, 0.5, 0.02], dtype=torch.float64)
X = torch.as_tensor(np.random.default_rng(8).normal(size=(3, *SHAPE)))


def denoise(x: Tensor, sigma: Tensor) -> Tensor:
    return torch.tanh(x.flatten(1) @ MIX.to(x).T / (1 + sigma**2)).reshape(x.shape)


def operator(x: Tensor) -> Tensor:
    flat = x.flatten(-3)
    return torch.stack([flat[..., 0], 3.0 * torch.sin(flat[..., 3]), 0.5 * flat[..., 8]], dim=-1)


def test_is_the_dense_formula() -> None:
    squares = torch.tensor([1.0, 9.0, 0.25]).double()  # of the rows of A at zero; one element each: no random error
    for level in (0.1, 1.0, 5.0):
        sigma = torch.tensor(level, dtype=torch.float64)
        ours = sda(denoise, operator, Y, VARIANCE, gamma=0.2)(X, sigma)
        for i in range(3):
            d = denoise(X[i : i + 1], sigma)[0]
            j = torch.autograd.functional.jacobian(lambda z, s=sigma: denoise(z[None], s)[0], X[i]).reshape(N, N)
            a = torch.autograd.functional.jacobian(operator, d).reshape(3, N)
            pull = sigma**2 * j.T @ a.T @ ((Y - operator(d)) / (VARIANCE + 0.2 * sigma**2 * squares))
            np.testing.assert_allclose(ours[i].flatten(), d.flatten() + pull, atol=1e-11)  # double precision


def test_is_exact_for_one_variance_everywhere_observed_with_the_right_gamma() -> None:
    # Prior N(0, v I), y = x + e: V / sigma^2 = v / (v + sigma^2), the same in every direction, so this gamma is right.
    v, r = 2.0, 0.3
    prior = Gaussian(torch.zeros(SHAPE).double(), torch.eye(N).double(), v * torch.eye(N).double())
    y, variance = torch.linspace(-1, 1, N).double(), torch.full((N,), r, dtype=torch.float64)
    for level in (0.1, 1.0, 5.0):
        sigma = torch.tensor(level, dtype=torch.float64)
        ours = sda(prior.denoise, lambda x: x.flatten(1), y, variance, gamma=v / (v + level**2))(X, sigma)
        precision = 1 / v + 1 / r + 1 / level**2
        expected = (y / r + X.flatten(1) / level**2) / precision
        np.testing.assert_allclose(ours.flatten(1), expected, atol=1e-12)


def test_a_gross_error_pulls_no_harder_than_its_limit() -> None:
    sigma = torch.tensor(1.0, dtype=torch.float64)
    wrong = Y.clone()
    moved = []
    for size in (1e2, 1e4):
        wrong[0] = size
        moved.append(sda(denoise, operator, wrong, VARIANCE, weight=huber(2.0))(X, sigma))
    # Beyond the limit the pull is constant, up to rounding of 1e4.
    torch.testing.assert_close(moved[0], moved[1], atol=1e-11, rtol=0)
