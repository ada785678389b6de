"""The products with a derivative agree with the matrix that autograd forms, and with each other (adjoint test)."""

import numpy as np
import torch

from stormda.diffusion.linearise import linearise, rows

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
