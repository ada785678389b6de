"""Where a tensor's parts live: collectives are an argument, never an import.

Attention, observation operators, linear solvers and losses must talk to their neighbours when a field is cut into parts
over processes. They take a `Layout` and never learn how many processes there are. `Whole`, the default, is one process
that holds everything. Gradients are part of the contract: the adjoint of `halo` adds the halo back to its owner, and
`sum` passes the gradient through unchanged to every part.
"""

__all__ = ["WHOLE", "Layout", "Whole"]

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from stormda.types import Array


class Layout(Protocol):
    """How a field of shape [..., H, W] is cut into parts, one a process."""

    def part(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """The rows and columns of a global H x W field that this process holds."""

    def halo(self, x: Tensor, width: int, periodic: tuple[bool, bool]) -> Tensor:
        """Pad [..., h, w] on all sides by `width` points of its neighbours; zeros beyond an edge."""

    def merge(self, out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
        """Merge partial softmax attention over all parts: out [..., N, D] and its log-sum-exp [..., N]."""

    def sum(self, x: Tensor) -> Tensor:
        """The sum of `x` over all parts."""

    def owns(self, latitude_index: Array, longitude_index: Array, shape: tuple[int, int]) -> Array:
        """Which observations, given by the grid row and column they fall in, belong to this part: bool [N]."""


class Whole:
    """One process that holds the whole field."""

    def part(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """All of it."""
        return slice(0, shape[0]), slice(0, shape[1])

    def halo(self, x: Tensor, width: int, periodic: tuple[bool, bool]) -> Tensor:
        """Its own other side where it wraps, zeros elsewhere."""
        for axis, wraps in ((-2, periodic[0]), (-1, periodic[1])):
            n = x.shape[axis]
            if wraps:  # An index handles a halo wider than the field.
                index = torch.arange(-width, n + width, device=x.device) % n
                x = x.index_select(axis, index)
            else:
                edge = list(x.shape)
                edge[axis] = width
                x = torch.cat([x.new_zeros(edge), x, x.new_zeros(edge)], dim=axis)
        return x

    def merge(self, out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
        """There is nothing to merge."""
        return out, lse

    def sum(self, x: Tensor) -> Tensor:
        """The sum over one part."""
        return x

    def owns(self, latitude_index: Array, longitude_index: Array, shape: tuple[int, int]) -> Array:
        """All of them."""
        return np.ones(len(latitude_index), dtype=bool)


WHOLE = Whole()
