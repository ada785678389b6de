"""Several operators as one: every row of the observation table, in the table's order."""

__all__ = ["Stack"]

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from stormda.operators.base import Operator
from stormda.types import Array


@dataclass(frozen=True, eq=False)
class Stack:
    """Operators side by side.

    Args:
        parts: operators, each with the numbers of its rows, int64 arrays; together they number 0..N-1.
        extra_variance: float64 [N], to be added to the variance of the observation error: what H itself does not know,
            such as the error of the previous frame in time interpolation.
    """

    parts: tuple[tuple[Operator, Array], ...]
    extra_variance: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """x [..., C, H, W] in physical units -> y [..., N]."""
        y = torch.cat([operator(x) for operator, _ in self.parts], dim=-1)
        return y if self._order is None else y.index_select(-1, self._order.to(x.device))

    def __len__(self) -> int:
        return len(self.extra_variance)

    def subset(self, keep: Array) -> "Stack":
        """The operator of the rows where `keep`, bool [N], is true."""
        keep = np.asarray(keep, dtype=bool)
        number = np.cumsum(keep) - 1
        parts = tuple((operator.subset(keep[rows]), number[rows[keep[rows]]]) for operator, rows in self.parts)
        return Stack(parts, self.extra_variance[torch.as_tensor(keep)])

    def beside(self, other: "Stack") -> "Stack":
        """The rows of both, those of `other` last."""
        moved = tuple((operator, rows + len(self)) for operator, rows in other.parts)
        return Stack((*self.parts, *moved), torch.cat([self.extra_variance, other.extra_variance]))

    @cached_property
    def _order(self) -> Tensor | None:
        order = np.argsort(np.concatenate([rows for _, rows in self.parts]))
        return None if np.array_equal(order, np.arange(len(order))) else torch.as_tensor(order)
