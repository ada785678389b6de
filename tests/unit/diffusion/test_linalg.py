"""GMRES against numpy.linalg.solve, and the independence of the systems of a batch."""

import numpy as np
import pytest
import torch
from torch import Tensor

from stormda.diffusion.linalg import gmres

N = 12


def systems(count: int, symmetric: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """I + B as in guidance: B positive, of few large and many small directions, or not symmetric as a learned one."""
    generator = np.random.default_rng(5)
    b = generator.normal(size=(count, N, N)) * np.logspace(1, -3, N)
    m = np.eye(N) + b @ b.transpose(0, 2, 1)
    if not symmetric:
        m += 0.3 * generator.normal(size=m.shape)
    return torch.as_tensor(m), torch.as_tensor(generator.normal(size=(count, N)))


@pytest.mark.parametrize("symmetric", [True, False])
def test_solution_is_numpy_s(symmetric: bool) -> None:
    m, b = systems(4, symmetric)
    x, iterations = gmres(lambda v: torch.einsum("bij,bj->bi", m, v), b, tolerance=1e-13, max_iterations=N)
    # A Krylov space of dimension N holds the solution. Condition numbers are below 1e4: rounding 1e-16 becomes 1e-12.
    expected = np.linalg.solve(m.numpy(), b.numpy()[..., None])[..., 0]
    np.testing.assert_allclose(x.numpy(), expected, atol=1e-10)
    assert iterations <= N


@pytest.mark.parametrize("tolerance", [1e-1, 1e-2, 1e-6])
def test_stops_at_its_tolerance_and_no_earlier_than_needed(tolerance: float) -> None:
    m, b = systems(3, True)
    x, iterations = gmres(lambda v: torch.einsum("bij,bj->bi", m, v), b, tolerance=tolerance, max_iterations=N)
    share = (torch.einsum("bij,bj->bi", m, x) - b).norm(dim=1) / b.norm(dim=1)
    assert bool((share <= tolerance * (1 + 1e-9)).all())  # the residual of the recurrence is the true one to rounding
    shorter, _ = gmres(
        lambda v: torch.einsum("bij,bj->bi", m, v), b, tolerance=tolerance, max_iterations=iterations - 1
    )
    share = (torch.einsum("bij,bj->bi", m, shorter) - b).norm(dim=1) / b.norm(dim=1)
    assert bool((share > tolerance).any())


def test_a_system_does_not_depend_on_what_else_is_in_the_batch() -> None:
    m, b = systems(4, True)
    m[1] = torch.eye(N)  # converges after one product
    alone = torch.stack([m[1]] * 4), torch.stack([b[1]] * 4)
    x, _ = gmres(lambda v: torch.einsum("bij,bj->bi", m, v), b, tolerance=1e-2)
    y, iterations = gmres(lambda v: torch.einsum("bij,bj->bi", alone[0], v), alone[1], tolerance=1e-2)
    assert iterations == 1
    assert torch.equal(x[1], y[1])


def test_a_warm_start_at_the_solution_costs_no_iteration() -> None:
    m, b = systems(2, False)
    exact = torch.linalg.solve(m, b)
    x, iterations = gmres(lambda v: torch.einsum("bij,bj->bi", m, v), b, exact, tolerance=1e-8)
    assert iterations == 0
    assert torch.equal(x, exact)


def test_zero_right_hand_side_and_exhausted_krylov_space() -> None:
    eye = torch.eye(N, dtype=torch.float64)
    b = torch.stack([torch.zeros(N, dtype=torch.float64), eye[0]])
    x, iterations = gmres(lambda v: 2 * v, b, tolerance=1e-30, max_iterations=5)
    assert torch.equal(x, b / 2)
    assert iterations == 1  # the space ends exactly: its rest is zero, and so is the residual


def test_float32_reaches_float32() -> None:
    m, b = systems(4, True)
    x, _ = gmres(lambda v: torch.einsum("bij,bj->bi", m.float(), v), b.float(), tolerance=1e-5, max_iterations=N)
    share = (torch.einsum("bij,bj->bi", m, x.double()) - b).norm(dim=1) / b.norm(dim=1)
    # The solution is at most |b|; rounding in a product is 6e-8 |M| |x| sqrt(N) with |M| < 2e3: below 5e-4.
    assert bool((share < 5e-4).all())


def test_a_product_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(FloatingPointError):
        gmres(lambda v: v * float("nan"), torch.ones(2, 3))


def test_a_process_without_rows_has_its_share() -> None:
    """Its vectors are empty; dot products are those of the others: here always 1, which never converges."""
    products: list[Tensor] = []

    def matvec(x_BN: Tensor) -> Tensor:
        products.append(x_BN)
        return x_BN

    x, count = gmres(matvec, torch.zeros(2, 0), max_iterations=3, dot=lambda a, b: torch.ones((a * b).shape[:-1]))
    assert x.shape == (2, 0) and len(products) == count == 3
