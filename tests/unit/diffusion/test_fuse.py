"""A state from elsewhere beside a prior: the closed form with dense matrices, and through every sampler's denoiser."""

from math import inf

import pytest
import torch
from torch import Tensor

from stormda.diffusion.fuse import Fusion
from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.guidance.jfps import jfps
from stormda.diffusion.noise import karras
from stormda.diffusion.propagate import propagate
from stormda.diffusion.sample.dpm2m import dpm2m
from stormda.errors import InputError

SHAPE, N = (2, 3, 4), 24


def gaussian(modes: int, seed: int, residual: float, scale: float = 1.0) -> Gaussian:
    """Random patterns, a full covariance within them."""
    draw = torch.Generator().manual_seed(seed)
    e = torch.linalg.qr(torch.randn(N, modes, generator=draw, dtype=torch.float64))[0].T
    half = torch.randn(modes, modes, generator=draw, dtype=torch.float64)
    mean = torch.randn(SHAPE, generator=draw, dtype=torch.float64)
    return Gaussian(mean, e.contiguous(), scale * (half @ half.T + 0.1 * torch.eye(modes)) / modes, residual)


def dense(g: Gaussian) -> Tensor:
    e = g.modes
    return e.T @ g.covariance @ e + g.residual * (torch.eye(N) - e.T @ e)


@pytest.mark.parametrize("modes", [(6, 5), (6, 0), (0, 5), (20, 9), (24, 24)])
def test_the_posterior_is_the_closed_form(modes: tuple[int, int]) -> None:
    prior, other = gaussian(modes[0], 1, 0.3), gaussian(modes[1], 2, 0.2)
    s, b = dense(prior), dense(other)
    gain = s @ torch.linalg.inv(s + b)
    mean = prior.mean.flatten() + gain @ (other.mean - prior.mean).flatten()
    fused = Fusion(prior, other).gaussian
    # Products of 24 x 24 matrices of condition below 1e4 in double precision: 1e-12, with room for 100 times that.
    torch.testing.assert_close(fused.mean.flatten(), mean, atol=1e-10, rtol=0)
    torch.testing.assert_close(dense(fused), gain @ b, atol=1e-10, rtol=0)
    torch.testing.assert_close(fused.modes[: modes[0]], prior.modes, atol=0, rtol=0)


def test_the_denoiser_is_that_of_the_posterior() -> None:
    """With a share of 1 it has to be the Wiener filter of the closed form; V[x | x_t, b] too."""
    prior, other = gaussian(6, 1, 0.3), gaussian(5, 2, 0.2)
    fusion, x = Fusion(prior, other), torch.randn(3, *SHAPE, dtype=torch.float64)
    for level in (0.05, 1.0, 30.0):
        sigma = torch.tensor(level, dtype=torch.float64)
        informed = fusion.denoiser(prior.denoise, lambda _: 1.0)
        # Products as above; the difference of (1/sigma^2 = 400) and prior variances loses two digits more.
        torch.testing.assert_close(informed(x, sigma), fusion.gaussian.denoise(x, sigma), atol=1e-9, rtol=0)
        torch.testing.assert_close(fusion.spread(x, level), fusion.gaussian.spread(x, sigma), atol=1e-9, rtol=0)


def test_a_share_scales_the_covariance_of_the_prior_only() -> None:
    prior, other = gaussian(6, 1, 0.3), gaussian(5, 2, 0.2)
    fusion, d = Fusion(prior, other), torch.randn(2, *SHAPE, dtype=torch.float64)
    v, b = 0.4 * torch.linalg.inv(torch.linalg.inv(dense(prior)) + torch.eye(N) / 0.25), dense(other)
    gain = v @ torch.linalg.inv(v + b)
    want = d + ((other.mean - d).flatten(1) @ gain.T).view_as(d)
    torch.testing.assert_close(fusion.mean(d, 0.5, 0.4), want, atol=1e-10, rtol=0)
    torch.testing.assert_close(fusion.spread(d, 0.5, 0.4).flatten(1), d.flatten(1) @ (gain @ b).T, atol=1e-10, rtol=0)


@pytest.mark.parametrize("steps", [24, 64])
def test_mean_and_covariance_through_sampler_and_guidance(steps: int) -> None:
    """The ensemble given y and b: sampled exactly (propagated), compared with both updates in closed form."""
    prior, other = gaussian(6, 1, 0.3, 9.0), gaussian(5, 2, 0.2)
    fusion, rows = Fusion(prior, other), torch.tensor([0, 5, 13, 20])
    y, r = torch.tensor([0.5, -1.0, 2.0, 0.1]).double(), torch.full((4,), 0.1).double()

    def observe(x: Tensor) -> Tensor:
        return x.flatten(-3)[..., rows]

    posterior = jfps(
        fusion.denoiser(prior.denoise, lambda _: 1.0), observe, y, r, fusion.gaussian,
        spread=fusion.spread, tolerance=1e-10, max_iterations=50,
    )  # fmt: skip
    mean, covariance = propagate(dpm2m, posterior, SHAPE, karras(0.02, 30.0, steps, 7.0))
    s, b, h = dense(prior), dense(other), torch.eye(N).double()[rows]
    known = torch.linalg.inv(torch.linalg.inv(s) + torch.linalg.inv(b) + h.T @ h / 0.1)
    information = torch.linalg.solve(s, prior.mean.flatten()) + torch.linalg.solve(b, other.mean.flatten())
    want = known @ (information + h.T @ y / 0.1)
    # The error of a second-order sampler falls as 1 / steps^2: measured .02 of a standard deviation with 24 steps.
    limit = 0.05 * (24 / steps) ** 2
    assert ((mean - want).abs() / known.diagonal().sqrt()).max() < limit
    assert (covariance.diagonal() / known.diagonal() - 1).abs().max() < 2 * limit + 0.01


def test_a_covariance_that_is_none_is_said() -> None:
    flat = Gaussian(torch.zeros(SHAPE).double(), torch.zeros(0, N).double(), torch.zeros(0, 0).double(), 0.0)
    with pytest.raises(InputError, match="not positive definite"):
        Fusion(gaussian(6, 1, 0.3), flat)
    other = Gaussian(torch.zeros(1, 1, 3), torch.zeros(0, 3), torch.zeros(0, 0), 1.0)
    with pytest.raises(InputError, match="another shape"):
        Fusion(gaussian(6, 1, 0.3), other)
    assert Fusion(gaussian(6, 1, 0.3), gaussian(0, 1, 0.25))._at(inf, 1.0).residual == pytest.approx(0.3 / 0.55 * 0.25)
