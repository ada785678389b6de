"""Observe grid points as they are: y = x[c, i, j], or a nonlinear function of it.

For twin experiments, where the network is a set of grid points and the truth lives on the grid.
"""

__all__ = ["GridPoints"]

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"identity": lambda y: y, "arctan": torch.arctan}


@dataclass(frozen=True, eq=False)
class GridPoints:
    """The values of x_BCHW at points of the flattened C x H x W axes.

    Args:
        index: int64 [N].
        function: `identity` or `arctan`, applied to each value.
    """

    index: Tensor
    function: str = "identity"

    def __call__(self, x: Tensor) -> Tensor:
        """x_BCHW -> y_BN."""
        return FUNCTIONS[self.function](x.flatten(-3)[..., self.index])
