"""The LETKF is the Kalman filter with the sample covariance, point by point with the observations near it."""

import numpy as np
import pytest
import torch
from torch import Tensor

from stormda.assimilation.baselines.letkf import letkf, relax_spread
from stormda.assimilation.baselines.localisation import Places, nearby
from stormda.grid import Grid

M, SHAPE, N = 7, (2, 3, 4), 5
GRID = Grid(np.arange(3.0), np.arange(4) * 90.0, periodic=(False, True), plane=True)


def problem(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Members, an H of dense rows, H of the members, values and variances."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(M, *SHAPE, generator=generator, dtype=torch.float64)
    h = torch.randn(N, 24, generator=generator, dtype=torch.float64)
    y = torch.randn(N, generator=generator, dtype=torch.float64)
    return x, h, x.flatten(1) @ h.T, y, torch.tensor([0.3, 1.0, 0.05, 2.0, 0.5], dtype=torch.float64)


def dense(x: Tensor, h: Tensor, y: Tensor, variance: Tensor, inflation: float = 1.0) -> tuple[Tensor, Tensor]:
    """The Kalman update in the space of the state, with the sample covariance."""
    flat = x.flatten(1)
    mean, p = flat.mean(dim=0), inflation**2 * torch.cov(flat.T)
    gain = p @ h.T @ torch.linalg.inv(h @ p @ h.T + torch.diag(variance))
    return mean + gain @ (y - h @ mean), p - gain @ h @ p


@pytest.mark.parametrize("inflation", [1.0, 1.3])
def test_without_localisation_it_is_the_kalman_update_with_the_sample_covariance(inflation: float) -> None:
    x, h, hx, y, variance = problem()
    mean, covariance = dense(x, h, y, variance, inflation)
    ours = letkf(x, hx, y, variance, inflation=inflation).flatten(1)
    # Matrices of order 5 and 7 with condition numbers below 1e4, in float64: 1e-12, and a factor of 100.
    np.testing.assert_allclose(ours.mean(dim=0), mean, atol=1e-10)
    np.testing.assert_allclose(torch.cov(ours.T), covariance, atol=1e-10)


def test_a_huge_radius_is_no_localisation() -> None:
    x, _, hx, y, variance = problem()
    places = Places(np.array([0.0, 1, 2, 0.5, 1.5]), np.array([0.0, 90, 180, -45, 10]))
    local = letkf(x, hx, y, variance, nearby(GRID, places, 1e7))
    # The taper is 1 - 20/3 (d / radius)^2 there, d < 4.
    np.testing.assert_allclose(local, letkf(x, hx, y, variance), atol=1e-10)


def test_each_point_is_the_update_with_its_own_weights() -> None:
    """One point by hand: R divided by the weights, observations without weight left out."""
    x, h, hx, y, variance = problem()
    places = Places(np.array([0.0, 1, 2, 0, 2]), np.array([0.0, 90, 180, 270, 45]))
    local = list(nearby(GRID, places, 1.9))
    ours = letkf(x, hx, y, variance, local)
    (piece,) = local
    for point in (0, 5, 10):
        weight = np.zeros(N)
        np.maximum.at(weight, piece.numbers[point], piece.weight[point])
        used = weight > 0
        w = torch.as_tensor(weight[used])
        mean, covariance = dense(x, h[torch.as_tensor(used)], y[used], variance[used] / w)
        rows = [point, 12 + point]  # of both channels
        np.testing.assert_allclose(ours.flatten(1).mean(dim=0)[rows], mean[rows], atol=1e-10)
        np.testing.assert_allclose(torch.cov(ours.flatten(1).T)[rows][:, rows], covariance[rows][:, rows], atol=1e-10)


def test_an_observation_beyond_the_radius_changes_nothing() -> None:
    x, _, hx, y, variance = problem()
    places = Places(np.zeros(N), np.zeros(N))  # all at the first point
    ours = letkf(x, hx, y, variance, nearby(GRID, places, 1.5))
    distance = np.hypot(np.arange(3)[:, None], np.minimum(np.arange(4), 4 - np.arange(4)))
    changed = (ours - x).abs().amax(dim=(0, 1)).numpy()
    # Beyond it the weights are those of no observation: roots of 1 and products with 0, to rounding.
    assert (changed[distance >= 1.5] < 1e-12).all()
    assert (changed[distance < 1.5] > 1e-3).all()


def test_the_order_of_the_members_means_nothing() -> None:
    x, _, hx, y, variance = problem()
    places = Places(np.array([0.0, 1, 2, 0, 2]), np.array([0.0, 90, 180, 270, 45]))
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    options = {"inflation": 1.1, "rtps": 0.4, "rtpp": 0.2}
    one = letkf(x, hx, y, variance, nearby(GRID, places, 2.5), **options)
    other = letkf(x[order], hx[order], y, variance, nearby(GRID, places, 2.5), **options)
    np.testing.assert_allclose(other, one[order], atol=1e-11)


def test_many_members_approach_the_kalman_filter() -> None:
    """A scalar: prior variance 4, R = 1, y = 3: mean 2.4, variance 0.8."""
    members = 800
    x = 2 * torch.randn(members, 1, 1, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours = letkf(x, x.flatten(1), torch.tensor([3.0]), torch.tensor([1.0]))
    # The mean has R/(P + R) = 0.2 of the prior mean's error 2 / sqrt(M), and dK/dP (y - m) = 3/25 of that of the sample
    # variance, 4 sqrt(2 / M): in all 0.028; the variance has (R/(P + R))^2 = 0.04 of the latter, 0.008. Four of them.
    assert abs(float(ours.mean()) - 2.4) < 4 * 0.028
    assert abs(float(ours.var()) - 0.8) < 4 * 0.008


def test_a_nonlinear_operator_acts_on_the_members() -> None:
    """The increment is along cov(x, H(x)), as for a linear H with the same values at the members."""
    x, _, _, _, _ = problem()
    hx = torch.arctan(x[:, 0, 0, :2])
    y, variance = torch.tensor([0.4, -0.2]), torch.tensor([0.1, 0.2])
    d, dh = x - x.mean(dim=0), hx - hx.mean(dim=0)
    cross = torch.einsum("mchw,mn->nchw", d, dh) / (M - 1)
    inner = dh.T @ dh / (M - 1) + torch.diag(variance)
    step = torch.einsum("n,nchw->chw", torch.linalg.solve(inner, y - hx.mean(dim=0)), cross)
    np.testing.assert_allclose(letkf(x, hx, y, variance).mean(dim=0), x.mean(dim=0) + step, atol=1e-10)


def test_relaxation() -> None:
    x, _, hx, y, variance = problem()
    plain, prior = letkf(x, hx, y, variance), x - x.mean(dim=0)
    perturbation = plain - plain.mean(dim=0)
    spread = plain.std(dim=0)
    for share in (0.3, 1.0):
        rtps = letkf(x, hx, y, variance, rtps=share)
        np.testing.assert_allclose(rtps.mean(dim=0), plain.mean(dim=0), atol=1e-12)
        np.testing.assert_allclose(rtps.std(dim=0), (1 - share) * spread + share * x.std(dim=0), atol=1e-12)
    rtpp = letkf(x, hx, y, variance, rtpp=0.25)
    np.testing.assert_allclose(rtpp - rtpp.mean(dim=0), 0.75 * perturbation + 0.25 * prior, atol=1e-12)
    assert bool((relax_spread(torch.zeros_like(prior), prior, 0.5) == 0).all())
