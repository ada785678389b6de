"""Grid points observed as they are or through an arctangent: values, and both derivatives in closed form."""

import pytest
import torch

from stormda.operators.base import jvp, vjp
from stormda.operators.gridpoint import GridPoints

INDEX = torch.tensor([0, 7, 7, 22])  # a point that is observed twice counts twice in the adjoint


@pytest.mark.parametrize("function", ["identity", "arctan"])
def test_values_and_derivatives(function: str) -> None:
    g = torch.Generator().manual_seed(0)
    x, v = 3 * torch.randn(2, 3, 2, 3, 4, generator=g, dtype=torch.float64)
    w = torch.randn(3, 4, generator=g, dtype=torch.float64)
    seen = x.flatten(1)[:, INDEX]
    slope = 1 / (1 + seen**2) if function == "arctan" else torch.ones_like(seen)
    operator = GridPoints(INDEX, function)
    torch.testing.assert_close(operator(x), torch.arctan(seen) if function == "arctan" else seen)
    torch.testing.assert_close(jvp(operator, x, v), slope * v.flatten(1)[:, INDEX])
    adjoint = torch.zeros(3, 24, dtype=torch.float64).index_add(1, INDEX, slope * w)
    torch.testing.assert_close(vjp(operator, x, w).flatten(1), adjoint)
    # <w, H' v> = <H'^T w, v>: sums of 12 and 72 products in float64
    assert float((w * jvp(operator, x, v)).sum()) == pytest.approx(float((vjp(operator, x, w) * v).sum()), rel=1e-12)
