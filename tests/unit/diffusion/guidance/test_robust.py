"""Robust likelihoods: weights by hand, the system by its dense formula, a gross error by quadrature."""

import numpy as np
import pytest
import torch
from torch import Tensor

from stormda.assimilation.ensemble import draw
from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.guidance.increment import Increment
from stormda.diffusion.guidance.jfps import jfps
from stormda.diffusion.guidance.robust import Weight, huber, innovation_spread, student, weigh
from stormda.diffusion.linearise import linearise
from stormda.diffusion.noise import karras
from stormda.diffusion.sample.dpm2m import dpm2m
from stormda.types import Denoise

SHAPE, N = (1, 1, 6), 6
ROOT = torch.randn(N, N, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
PRIOR = Gaussian(torch.zeros(SHAPE).double(), torch.eye(N).double(), ROOT @ ROOT.T / N)
A = torch.randn(4, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
VARIANCE = torch.tensor([0.1, 0.5, 0.02, 1.0], dtype=torch.float64)


def operator(x: Tensor) -> Tensor:
    return x.flatten(1) @ A.T


def test_weights_by_hand() -> None:
    z = torch.tensor([0.0, 1.0, -2.0, 4.0, 1e6]).double()
    torch.testing.assert_close(huber(2.0)(z), torch.tensor([1, 1, 1, 0.5, 2e-6]).double())
    torch.testing.assert_close(student(4.0)(z), torch.tensor([1.25, 1, 5 / 8, 0.25, 5 / (4 + 1e12)]).double())
    # A pull no stronger than the Gaussian's, d / s^2, nor than the likelihood's own, 2 sqrt(R) / d of d / R.
    torch.testing.assert_close(weigh(huber(2.0), z, torch.tensor(3.0)), torch.tensor([1, 1, 1, 1, 6e-6]).double())


def test_spread_of_innovations_is_about_that_of_the_gaussian() -> None:
    sigma = torch.tensor(0.8, dtype=torch.float64)
    h = linearise(operator, torch.zeros(2, *SHAPE, dtype=torch.float64))
    s = PRIOR.covariance
    v = 0.7 * (s - s @ torch.linalg.inv(s + 0.64 * torch.eye(N)) @ s)
    estimate = innovation_spread(h, PRIOR, 0.7, sigma)
    assert torch.equal(estimate[0], estimate[1])  # the same for every member
    # Relative standard error sqrt(2 / 32) = 25 % of each of four; all within 3 of them with probability 0.99.
    assert ((estimate[0] / torch.diag(A @ v @ A.T)) - 1).abs().max() < 0.75


@pytest.mark.parametrize("weight", [huber(1.0), student(3.0)], ids=["huber", "student"])
def test_the_system_is_its_dense_formula(weight: Weight) -> None:
    sigma, d = torch.tensor(0.8, dtype=torch.float64), torch.zeros(1, *SHAPE, dtype=torch.float64)
    y = torch.tensor([0.3, -9.0, 4.0, 0.1]).double()
    s = PRIOR.covariance
    v = s - s @ torch.linalg.inv(s + 0.64 * torch.eye(N)) @ s
    square = VARIANCE + innovation_spread(linearise(operator, d), PRIOR, 1.0, sigma)[0]
    r = VARIANCE + square * (1 / weigh(weight, y / VARIANCE.sqrt(), square / VARIANCE) - 1)
    assert (r > 2 * VARIANCE).any() and (r == VARIANCE).any()
    solve = Increment(operator, y, VARIANCE, PRIOR, tolerance=1e-12, weight=weight)
    ours = solve(d, lambda x: PRIOR.spread(x, sigma), sigma).flatten()
    # Condition numbers of up to 1e6 (R' of a gross error beside 0.02), double precision.
    torch.testing.assert_close(ours, v @ A.T @ torch.linalg.solve(torch.diag(r) + A @ v @ A.T, y), atol=1e-7, rtol=0)


@pytest.mark.parametrize(("weight", "density"), [
    (student(4.0), lambda z: -2.5 * np.log1p(z**2 / 4)),
    (huber(1.5), lambda z: np.where(abs(z) < 1.5, -(z**2) / 2, -1.5 * abs(z) + 1.125)),
], ids=["student", "huber"])  # fmt: skip
@pytest.mark.parametrize("y", [0.5, 6.0])
def test_a_gross_error_does_not_carry_the_analysis_away(weight: Weight, density: object, y: float) -> None:
    # One direction, prior N(0, 1), error sd 0.3, an observation of 6 (a Gaussian likelihood: 5.5) or of 0.5; the mean
    # of the posterior by quadrature. Moment matching is no exact treatment of a tail: within a quarter of the way from
    # there to the Gaussian's answer, and 0.1 prior sd where nothing is gross.
    r = 0.09
    prior = Gaussian(torch.zeros(1, 1, 1).double(), torch.eye(1).double(), torch.eye(1).double())
    data = torch.tensor([y], dtype=torch.float64), torch.tensor([r], dtype=torch.float64)

    def posterior() -> Denoise:
        return jfps(prior.denoise, lambda x: x.flatten(1), *data, prior, weight=weight)

    x = draw(dpm2m, posterior, (1, 1, 1), karras(0.05, 8.0, 24), range(500), seed=0, stream=1, batch=500).mean()
    grid = np.linspace(-8, 12, 20001)
    p = np.exp(-(grid**2) / 2 + density((y - grid) / r**0.5))  # type: ignore[operator]
    exact, gaussian = (grid * p).sum() / p.sum(), y / (1 + r)
    assert abs(float(x) - exact) < 0.1 + 0.25 * abs(exact - gaussian)


def test_it_needs_a_gaussian() -> None:
    with pytest.raises(ValueError, match="comes from a Gaussian"):
        Increment(operator, torch.zeros(4), VARIANCE, None, weight=huber(2.0))
