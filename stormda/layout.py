"""Where a tensor's parts live: collectives are an argument, never an import.

Attention, observation operators, linear solvers and losses must talk to their neighbours when a field is cut into parts
over processes. They take a `Layout` and never learn how many processes there are. `Whole`, the default, is one process
that holds everything. A grid of H x W points has a coarser one of tokens; parts of the one are parts of the other, so a
field is described by its global shape.

**Gradients are part of the contract.** What the processes hold together is one long vector, every operation a linear
(or smooth) map of such vectors, and its backward the adjoint of that map, <v, A u> = <A^T v, u> with dot products over
all processes:

    halo, cells, gather     copy values of other parts        adjoint: add what arrives at copies to the owner
    sum, concat             every part gets all               adjoint: the sum of what arrives at every part
    merge                   made of sums

So backward starts, on each process, from the gradient of *its own* share of a scalar: a cotangent of its part of a
field, a loss of its part. A loss that was summed before, and that every process then differentiates, counts as often as
there are processes. Gradients of parameters, which every process holds, are shares too: their sum is the gradient. All
operations but `max` and `owns` may be differentiated any number of times, and every process calls all of them in the
same order, backward too.
"""

__all__ = ["WHOLE", "Ends", "Layout", "Whole"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from stormda.types import Array


@dataclass(frozen=True)
class Ends:
    """What lies beyond the edges of a grid.

    Args:
        periodic: which axes wrap.
        poles: whether a pole lies beyond the first and the last row: there is the other side of the world, half of the
            columns away. Only where columns wrap.
        pole_rows: whether that row is the pole itself.
    """

    periodic: tuple[bool, bool]
    poles: tuple[bool, bool] = (False, False)
    pole_rows: tuple[bool, bool] = (False, False)


class Layout(Protocol):
    """How a field of shape [..., H, W] is cut into parts, one a process."""

    def edges(self, shape: tuple[int, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Where the rows and the columns of a global H x W field are cut: 0, ..., H and 0, ..., W."""

    def part(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """The rows and columns of a global H x W field that this process holds."""

    def whole(self, part: tuple[int, int]) -> tuple[int, int]:
        """H x W of the grid of points of which this process's part has h x w."""

    def halo(self, x: Tensor, width: tuple[int, int], shape: tuple[int, int], ends: Ends, axis: int = -2) -> Tensor:
        """Pad the part of an H x W field by `width` rows and columns of its neighbours on each side.

        Axes `axis` and `axis + 1` are rows and columns. Zeros lie beyond an edge that nothing is beyond.
        """

    def cells(self, index: Tensor, shape: tuple[int, int]) -> Callable[[Tensor], Tensor]:
        """A map of the part [..., h, w] of an H x W field to its values at K points of the whole grid, [..., K].

        `index` [K], into the flattened grid, may differ between processes, and so may K.
        """

    def gather(self, x: Tensor, shape: tuple[int, int]) -> Tensor:
        """The whole field [..., H, W], on every process, from its part [..., h, w]."""

    def merge(self, out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
        """Merge partial softmax attention over all parts: out [..., N, D] and its log-sum-exp [..., N]."""

    def sum(self, x: Tensor) -> Tensor:
        """The sum of `x` over all parts."""

    def max(self, x: Tensor) -> Tensor:
        """The largest of `x` over all parts, element by element; no gradient."""

    def concat(self, x: Tensor) -> tuple[Tensor, slice]:
        """The rows [N, ...] of all parts, one part after another, and which of them are of this part."""

    def owns(self, row: Array, column: Array, shape: tuple[int, int]) -> Array:
        """Which observations, given by the row and the column of H x W they fall in, are of this part: bool [N]."""


class Whole:
    """One process that holds the whole field."""

    def edges(self, shape: tuple[int, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """No cut."""
        return (0, shape[0]), (0, shape[1])

    def part(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """All of it."""
        return slice(0, shape[0]), slice(0, shape[1])

    def whole(self, part: tuple[int, int]) -> tuple[int, int]:
        """The same."""
        return part

    def halo(self, x: Tensor, width: tuple[int, int], shape: tuple[int, int], ends: Ends, axis: int = -2) -> Tensor:
        """Its own other side where it wraps or beyond a pole, zeros elsewhere."""
        axis %= x.ndim
        if any(ends.poles):
            first, last = (self._beyond(x, width[0], ends, end, axis) for end in (0, 1))
            x = torch.cat([first, x, last], dim=axis)
        else:
            x = _pad(x, width[0], ends.periodic[0], axis)
        return _pad(x, width[1], ends.periodic[1], axis + 1)

    def cells(self, index: Tensor, shape: tuple[int, int]) -> Callable[[Tensor], Tensor]:
        """Its own values."""
        return lambda x: x.flatten(-2).index_select(-1, index.to(x.device))

    def gather(self, x: Tensor, shape: tuple[int, int]) -> Tensor:
        """What it has."""
        return x

    def merge(self, out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
        """There is nothing to merge."""
        return out, lse

    def sum(self, x: Tensor) -> Tensor:
        """The sum over one part."""
        return x

    def max(self, x: Tensor) -> Tensor:
        """The largest of one part."""
        return x

    def concat(self, x: Tensor) -> tuple[Tensor, slice]:
        """Its own."""
        return x, slice(0, len(x))

    def owns(self, row: Array, column: Array, shape: tuple[int, int]) -> Array:
        """All of them."""
        return np.ones(len(row), dtype=bool)

    def _beyond(self, x: Tensor, width: int, ends: Ends, end: int, axis: int) -> Tensor:
        """Rows beyond the first (`end` 0) or the last (1) one."""
        n = x.shape[axis]
        if not ends.poles[end]:
            return x.new_zeros(_with(x, axis, width))
        start = int(ends.pole_rows[0]) if end == 0 else n - width - int(ends.pole_rows[1])
        return x.narrow(axis, start, width).flip(axis).roll(x.shape[axis + 1] // 2, dims=axis + 1)


def _pad(x: Tensor, width: int, wraps: bool, axis: int) -> Tensor:
    """`width` more on both sides of an axis; an index handles a halo wider than the field."""
    n = x.shape[axis]
    if width == 0:
        return x
    if wraps:
        return x.index_select(axis, torch.arange(-width, n + width, device=x.device) % n)
    edge = x.new_zeros(_with(x, axis, width))
    return torch.cat([edge, x, edge], dim=axis)


def _with(x: Tensor, axis: int, length: int) -> list[int]:
    """The shape of x with another length of an axis."""
    return [length if i == axis else n for i, n in enumerate(x.shape)]


WHOLE = Whole()
