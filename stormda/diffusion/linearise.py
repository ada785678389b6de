"""A map near a state: its value and the products with its derivative A = dH/dx, without forming A.

    A^T w   one reverse sweep through H
    A v     <A^T u, v> is linear in u, and A v its gradient: a reverse sweep through the reverse sweep

so H is evaluated once however many products follow, and any H written in differentiable tensor operations will do.
"""

__all__ = ["Linear", "linearise", "row_squares", "rows"]

from dataclasses import dataclass

import torch
from torch import Tensor

from stormda.layout import WHOLE, Layout
from stormda.types import Mapping2

_PROBES = 32  # random sign fields


@dataclass(frozen=True, eq=False)
class Linear:
    """H near x_BCHW: H(x + v) = value + A v.

    Args:
        value: H(x) [B, N].
        graph: x, H(x), u and A^T u, with the operations between them.
    """

    value: Tensor
    graph: tuple[Tensor, Tensor, Tensor, Tensor]

    def transpose(self, w_BN: Tensor) -> Tensor:
        """A^T w, [B, C, H, W]."""
        x, y, _, _ = self.graph
        return torch.autograd.grad(y, x, w_BN, retain_graph=True)[0]

    def forward(self, v_BCHW: Tensor) -> Tensor:
        """A v, [B, N]."""
        _, _, u, pulled = self.graph
        return torch.autograd.grad(pulled, u, v_BCHW, retain_graph=True)[0]


def linearise(operator: Mapping2, x_BCHW: Tensor) -> Linear:
    """Evaluate H at x and remember how."""
    with torch.enable_grad():
        x = x_BCHW.detach().requires_grad_()
        y = operator(x)
        u = torch.zeros_like(y, requires_grad=True)
        (pulled,) = torch.autograd.grad(y, x, u, create_graph=True)
    return Linear(y.detach(), (x, y, u, pulled))


def row_squares(operator: Mapping2, x_CHW: Tensor, layout: Layout = WHOLE) -> Tensor:
    """About the squared length of each row of A at x, [N], in float64, at a cost that does not grow with N.

    The mean of (A z)^2 over random signs z (Hutchinson 1990, https://doi.org/10.1080/03610919008812866): relative
    standard error sqrt(2 / 32) = 25 % at most, none where a row has one element. Of a part of a field, z is the part.
    """
    g, shape = torch.Generator().manual_seed(0), layout.whole((x_CHW.shape[-2], x_CHW.shape[-1]))
    rows, columns = layout.part(shape)
    draws = (torch.randint(0, 2, (len(x_CHW), *shape), generator=g)[:, rows, columns] for _ in range(_PROBES))
    signs = torch.stack([draw.double() * 2 - 1 for draw in draws])
    x = x_CHW.double().expand_as(signs)
    return linearise(operator, x).forward(signs.to(x)).double().square().mean(dim=0)


def rows(operator: Mapping2, x_CHW: Tensor, at_once: int = 256, layout: Layout = WHOLE) -> tuple[Tensor, Tensor]:
    """H(x) [N] and A itself, [N, C, H, W], `at_once` rows at a time.

    Of a field and observations in parts: the rows of all observations, and the part of their columns.
    """
    value, own = layout.concat(operator(x_CHW[None])[0].detach())
    units = torch.eye(len(value), dtype=value.dtype, device=value.device)[:, own]
    parts = []
    for first in range(0, len(units), at_once):
        unit = units[first : first + at_once]
        with torch.enable_grad():
            x = x_CHW.detach().expand(len(unit), *x_CHW.shape).clone().requires_grad_()
            parts.append(torch.autograd.grad(operator(x), x, unit)[0])
    return value, torch.cat(parts)
