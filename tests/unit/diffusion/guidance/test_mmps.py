"""MMPS against its dense formula, for a denoiser whose Jacobian is not symmetric and an operator that is not linear."""

import numpy as np
import pytest
import torch
from torch import Tensor

from stormda.assimilation.ensemble import draw
from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.guidance.mmps import mmps
from stormda.diffusion.noise import karras
from stormda.diffusion.sample.dpm2m import dpm2m
from stormda.errors import AnalysisRejected

N, SHAPE = 10, (1, 2, 5)
GENERATOR = np.random.default_rng(7)
MIX = torch.as_tensor(0.3 * np.eye(N) + 0.1 * GENERATOR.normal(size=(N, N)))  # not symmetric
Y = torch.as_tensor(GENERATOR.normal(size=4))
VARIANCE = torch.tensor([0.1, 0.5, 0.02, 1.0], dtype=torch.float64)


def denoise(x: Tensor, sigma: Tensor) -> Tensor:
    """As a network would: nonlinear, with a Jacobian that is not symmetric."""
    return torch.tanh(x.flatten(1) @ MIX.to(x).T / (1 + sigma**2)).reshape(x.shape)


def operator(x: Tensor) -> Tensor:
    flat = x.flatten(-3)
    return torch.stack([flat[..., 0], torch.arctan(flat[..., 3]), flat[..., 3] * flat[..., 4], flat[..., 8]], dim=-1)


@pytest.mark.parametrize("y", [Y, torch.stack([Y, 2 * Y, -Y])], ids=["one y", "one y a member"])
def test_is_the_dense_formula(y: Tensor) -> None:
    x = torch.as_tensor(np.random.default_rng(8).normal(size=(3, *SHAPE)))
    for level in (0.1, 1.0, 5.0):
        sigma = torch.tensor(level, dtype=torch.float64)
        ours = mmps(denoise, operator, y, VARIANCE, tolerance=1e-13, max_iterations=8)(x, sigma)
        for i in range(3):
            d = denoise(x[i : i + 1], sigma)[0]
            j = torch.autograd.functional.jacobian(lambda z, s=sigma: denoise(z[None], s)[0], x[i]).reshape(N, N)
            a = torch.autograd.functional.jacobian(operator, d).reshape(4, N)
            v = sigma**2 * j.T
            innovation = (y if y.ndim == 1 else y[i]) - operator(d)
            weights = torch.linalg.solve(torch.diag(VARIANCE) + a @ v @ a.T, innovation)
            # Double precision; condition numbers are below 1e4.
            np.testing.assert_allclose(ours[i].flatten(), d.flatten() + v @ a.T @ weights, atol=1e-10)


def test_a_preconditioner_changes_the_cost_not_the_answer() -> None:
    g = torch.Generator().manual_seed(3)
    modes = torch.linalg.qr(torch.randn(N, N, generator=g, dtype=torch.float64))[0][:6]
    gaussian = Gaussian(torch.zeros(SHAPE, dtype=torch.float64), modes, torch.diag(torch.linspace(4.0, 0.5, 6)), 0.1)
    x = torch.randn(3, *SHAPE, generator=g, dtype=torch.float64)
    for level in (0.1, 1.0, 5.0):
        sigma = torch.tensor(level, dtype=torch.float64)
        plain, preconditioned = (
            mmps(denoise, operator, Y, VARIANCE, gaussian=guess, tolerance=1e-13, max_iterations=8)(x, sigma)
            for guess in (None, gaussian)
        )
        torch.testing.assert_close(preconditioned, plain, atol=1e-10, rtol=0)  # as above


def test_the_right_gaussian_leaves_the_solver_little_to_do() -> None:
    """300 observations of 100 points, each seen thrice, errors of 1 % to 100 % of the standard deviation."""
    g, n, shape = torch.Generator().manual_seed(4), 100, (1, 10, 10)
    modes = torch.linalg.qr(torch.randn(n, n, generator=g, dtype=torch.float64))[0][:40]
    gaussian = Gaussian(torch.zeros(shape, dtype=torch.float64), modes, torch.diag(torch.logspace(2, -2, 40)), 1e-3)
    points = torch.arange(300) % n
    variance = torch.logspace(-4, 0, 300, dtype=torch.float64)
    y = torch.randn(300, generator=g, dtype=torch.float64)
    products = 0

    def counted(x: Tensor, sigma: Tensor) -> Tensor:
        d = gaussian.denoise(x, sigma)
        if d.requires_grad:
            d.register_hook(count)
        return d

    def count(grad: Tensor) -> None:
        nonlocal products
        products += 1

    found = {}
    for guess in (None, gaussian):
        products = 0
        posterior = mmps(counted, lambda x: x.flatten(1)[:, points], y, variance, gaussian=guess, max_iterations=60)
        posterior(torch.zeros(1, *shape, dtype=torch.float64), torch.tensor(3.0, dtype=torch.float64))
        found[guess is None] = products
    # Beyond the modes the preconditioner errs by the random estimate of a diagonal only, on eigenvalues near 1.
    assert found[False] <= 8 < 20 < found[True]


def test_observations_of_no_weight_change_nothing() -> None:
    x = torch.ones(2, *SHAPE, dtype=torch.float64)
    sigma = torch.tensor(0.5, dtype=torch.float64)
    guided = mmps(denoise, operator, Y, torch.full_like(VARIANCE, 1e12))(x, sigma)
    np.testing.assert_allclose(guided, denoise(x, sigma), atol=1e-10)  # a gain of at most sigma^2 |J| / 1e12


def test_members_do_not_depend_on_how_many_are_drawn() -> None:
    # The solver's tolerance is loose, so that a member that went on iterating with its neighbours would be seen.
    def members(count: int) -> Tensor:
        def posterior() -> object:
            return mmps(denoise, operator, Y, VARIANCE, tolerance=0.2)

        return draw(dpm2m, posterior, SHAPE, karras(0.05, 20.0, 8), range(count), seed=1, stream=2, batch=4)  # type: ignore[arg-type]

    many = members(11)
    for count in (4, 5, 6, 8):
        assert torch.equal(members(count), many[:count])
    # Below one full batch the matrix products have another size: float32 rounding, a hundred times over.
    np.testing.assert_allclose(members(3), many[:3], atol=1e-5)


def test_a_state_that_is_not_finite_is_rejected_by_name_of_the_level() -> None:
    with pytest.raises(AnalysisRejected, match=r"the state is not finite at noise level 0\.5"):
        mmps(lambda x, sigma: x * float("inf"), operator, Y, VARIANCE)(torch.ones(1, *SHAPE), torch.tensor(0.5))


def test_a_derivative_that_is_not_finite_is_rejected() -> None:
    def kink(x: Tensor, sigma: Tensor) -> Tensor:
        return x + torch.sqrt((x - x.detach()).abs())  # value x, infinite derivative

    with pytest.raises(AnalysisRejected, match="derivative"):
        mmps(kink, operator, Y, VARIANCE)(torch.ones(1, *SHAPE), torch.tensor(0.5))
