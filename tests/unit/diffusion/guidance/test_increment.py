"""An H that bends: damped steps end where the cost is least, and change nothing where H is linear."""

import numpy as np
import pytest
import torch
from torch import Tensor

from stormda.assimilation.ensemble import draw
from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.guidance.increment import Increment
from stormda.diffusion.guidance.jfps import jfps
from stormda.diffusion.noise import karras
from stormda.diffusion.sample.dpm2m import dpm2m
from stormda.types import Denoise, Mapping2

ONE = Gaussian(torch.zeros(1, 1, 1).double(), torch.eye(1).double(), torch.eye(1).double())
FAR = torch.tensor(1e3, dtype=torch.float64)  # V = 1 there
R = torch.tensor([0.01], dtype=torch.float64)


def arctan(x: Tensor) -> Tensor:
    return torch.arctan(x.flatten(1))


def analysed(y: float, starts: list[float], linearisations: int, operator: Mapping2 = arctan) -> np.ndarray:
    """D plus its increment, for V = 1."""
    d = torch.tensor(starts, dtype=torch.float64).view(-1, 1, 1, 1)
    solve = Increment(
        operator, torch.tensor([y]).double(), R, ONE, tolerance=1e-10, linearisations=linearisations
    )  # fmt: skip
    return (d + solve(d, lambda v: ONE.spread(v, FAR), FAR)).flatten().numpy()


def cost(x: np.ndarray, d: float, y: float) -> np.ndarray:
    return (y - np.arctan(x)) ** 2 / 0.01 + (x - d) ** 2


@pytest.mark.parametrize(("start", "y"), [(4.0, -0.8), (4.0, 1.0), (-3.0, 0.5), (0.5, 0.6), (8.0, 1.2)])
def test_steps_end_where_the_cost_is_least(start: float, y: float) -> None:
    grid = np.linspace(-12, 12, 240001)
    j = cost(grid, start, y)
    ours = float(analysed(y, [start], 10)[0])
    # The minimum of a grid of 1e-4, curvature of at most 1 / R = 100; nine Newton steps have converged beyond it.
    assert abs(ours - grid[j.argmin()]) < 1e-3
    assert cost(np.array(ours), start, y) <= cost(analysed(y, [start], 3), start, y)[0] + 1e-9


def test_one_linearisation_overshoots_where_three_do_not() -> None:
    once, thrice = (float(analysed(-0.8, [4.0], n)[0]) for n in (1, 3))
    # By hand: A = 1 / 17, gain A / (R + A^2), innovation -0.8 - arctan 4.
    a = 1 / 17
    assert once == pytest.approx(4 + a / (0.01 + a**2) * (-0.8 - np.arctan(4)), rel=1e-5)  # V is 1 - 1e-6
    assert once < -5  # -1.03 was observed
    assert abs(thrice - np.tan(-0.8)) < 1.0


def test_members_bend_by_themselves() -> None:
    together = analysed(0.5, [4.0, 0.55, -3.0], 4)
    alone = [analysed(0.5, [x], 4)[0] for x in (4.0, 0.55, -3.0)]
    np.testing.assert_allclose(together, alone, atol=1e-12)  # products of another size


@pytest.mark.parametrize("linearisations", [2, 5])
def test_a_linear_operator_is_untouched(linearisations: int) -> None:
    def linear(x: Tensor) -> Tensor:
        return 3 * x.flatten(1) - 1

    starts = [4.0, -1.0, 0.0]
    np.testing.assert_array_equal(analysed(0.7, starts, linearisations, linear), analysed(0.7, starts, 1, linear))


def test_members_do_not_depend_on_how_many_are_drawn() -> None:
    prior = Gaussian(torch.zeros(1, 2, 3), torch.eye(6), torch.diag(torch.arange(1.0, 7.0)))

    def posterior() -> Denoise:
        y, variance = torch.tensor([1.2, -1.0]), torch.tensor([0.01, 0.01])
        return jfps(prior.denoise, lambda x: torch.arctan(x.flatten(1)[:, 2:4]), y, variance, prior, linearisations=3)

    def members(count: int) -> Tensor:
        return draw(dpm2m, posterior, (1, 2, 3), karras(0.02, 12.0, 8), range(count), seed=1, stream=2, batch=4)

    many = members(9)
    assert torch.isfinite(many).all()
    for count in (4, 6):
        assert torch.equal(members(count), many[:count])


def test_arctangents_under_a_poor_prior_come_near_the_exact_posterior() -> None:
    # 60 independent numbers of sd 3.6, arctan of each with an error of 0.05: flat for most. The posterior's means by
    # quadrature. Their distance from the mean of 60 members, as the root of the mean square, was 0.99 with one
    # linearisation and 0.38 with five (200 numbers, 100 members); sampling alone gives 0.8 / sqrt(60) = 0.1.
    n, sd, e = 60, 3.6, 0.05
    g = torch.Generator().manual_seed(0)
    x, noise = (torch.randn(n, generator=g, dtype=torch.float64) for _ in range(2))
    y = torch.arctan(sd * x) + e * noise
    eye = torch.eye(n, dtype=torch.float64)
    prior = Gaussian(torch.zeros(1, 1, n).double(), eye, sd**2 * eye)
    grid = np.linspace(-6 * sd, 6 * sd, 8001)
    log = -((grid / sd) ** 2) / 2 - ((y.numpy()[:, None] - np.arctan(grid)) / e) ** 2 / 2
    p = np.exp(log - log.max(axis=1, keepdims=True))
    exact = (p * grid).sum(axis=1) / p.sum(axis=1)

    def distance(linearisations: int) -> float:
        def posterior() -> Denoise:
            variance = torch.full((n,), e**2, dtype=torch.float64)
            return jfps(prior.denoise, arctan, y, variance, prior, linearisations=linearisations)

        sigmas = karras(0.01, 5 * sd, 16)
        members = draw(dpm2m, posterior, (1, 1, n), sigmas, range(60), seed=0, stream=1, batch=60).flatten(1)
        return float(np.sqrt(np.mean((members.double().mean(dim=0).numpy() - exact) ** 2)))

    assert distance(5) < 0.6 < 0.8 < distance(1)
