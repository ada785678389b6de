"""The products with a derivative agree with the matrix that autograd forms, and with each other (adjoint test)."""

import numpy as np
import torch

from stormda.diffusion.linearise import linearise, row_squares, rows

SHAPE = (2, 3, 4)


def operator(x: torch.Tensor) -> torch.Tensor:
    """Neither linear nor local: products of neighbours, an arctangent, a picked value."""
    flat = x.flatten(-3)
    return torch.cat([flat[..., 1:6] * flat[..., :5], torch.arctan(flat[..., 7:9]), flat[..., 20:21]], dim=-1)


def test_products_are_those_of_the_jacobian() -> None:
    generator = torch.Generator().manual_seed(0)
    x, v = (torch.randn(3, *SHAPE, dtype=torch.float64, generator=generator) for _ in range(2))
    w = torch.randn(3, 8, dtype=torch.float64, generator=generator)
    near = linearise(operator, x)
    jacobian = torch.stack([torch.autograd.functional.jacobian(lambda z: operator(z), xi).reshape(8, -1) for xi in x])
    assert torch.equal(near.value, operator(x))
    # Sums of at most 24 products of order one in double precision.
    np.testing.assert_allclose(near.forward(v), torch.einsum("bij,bj->bi", jacobian, v.flatten(1)), atol=1e-13)
    transposed = near.transpose(w).flatten(1)
    np.testing.assert_allclose(transposed, torch.einsum("bij,bi->bj", jacobian, w), atol=1e-13)
    left, right = (w * near.forward(v)).sum(), (near.transpose(w) * v).sum()
    np.testing.assert_allclose(left, right, rtol=1e-13)
    value, a = rows(operator, x[0], at_once=3)
    assert torch.equal(value, operator(x[0]))
    np.testing.assert_allclose(a.flatten(1), jacobian[0], atol=1e-15)


def test_lengths_of_rows_are_estimated() -> None:
    """One element a row: exact. Four, as in interpolation: within four standard errors of sqrt(2 / 32)."""
    g = torch.Generator().manual_seed(0)
    x = torch.zeros(1, 10, 10, dtype=torch.float64)
    single = row_squares(lambda z: 3 * z.flatten(1)[:, ::7], x)
    torch.testing.assert_close(single, torch.full_like(single, 9.0))
    weights = torch.rand(40, 4, generator=g, dtype=torch.float64)
    places = torch.stack([torch.randperm(100, generator=g)[:4] for _ in range(40)])
    four = row_squares(lambda z: (z.flatten(1)[:, places] * weights).sum(dim=-1), x)
    ratio = four / weights.square().sum(dim=1)
    assert float(ratio.min()) > 0.0 and float((ratio - 1).abs().max()) < 1.0
    assert abs(float(ratio.mean()) - 1) < 4 * 0.25 / 40**0.5
