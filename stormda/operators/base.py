"""What an observation operator is, and its two derivatives.

An operator H maps the model state to what instruments would report, y = H(x). Assimilation needs it in three forms:

    value   y = H(x)                    what the state looks like to the observations
    JVP     v -> H'(x) v                how a change of the state changes the observations (forward mode)
    VJP     w -> H'(x)^T w              how a misfit of the observations points back at the state (reverse mode)

Every operator is written in differentiable tensor operations, so both derivatives come from `torch.func` and are
consistent to rounding: <w, H' v> = <H'^T w, v>, the *adjoint dot-product test* that each operator must pass (Errico
1997, "What is an adjoint model?", https://doi.org/10.1175/1520-0477(1997)078<2577:WIAAM>2.0.CO;2).
"""

__all__ = ["Operator", "jvp", "vjp"]

from typing import Protocol, Self

import torch
from torch import Tensor

from stormda.types import Array, Mapping2


class Operator(Protocol):
    """A differentiable map of a batch of physical states to N observed values, one row a value."""

    def __call__(self, x: Tensor) -> Tensor:
        """x [..., C, H, W] in physical units -> y [..., N], in the precision and on the device of x."""

    def __len__(self) -> int:
        """N."""

    def subset(self, keep: Array) -> Self:
        """The operator of the rows where `keep`, bool [N], is true."""


def jvp(operator: Mapping2, x: Tensor, v: Tensor) -> Tensor:
    """The directional derivative H'(x) v: x, v of one shape [..., C, H, W] -> [..., N]."""
    derivative: Tensor = torch.func.jvp(operator, (x,), (v,))[1]
    return derivative


def vjp(operator: Mapping2, x: Tensor, w: Tensor) -> Tensor:
    """The adjoint derivative H'(x)^T w: x [..., C, H, W], w [..., N] -> the shape of x."""
    pull_back = torch.func.vjp(operator, x)[1]
    gradient: Tensor = pull_back(w)[0]
    return gradient
