"""Observations spread over processes: each belongs to the process that holds its place, with all of its operator.

An observation belongs where the first grid point lies that it is interpolated from; those whose errors are correlated
(`stormda.operators.correlate`) belong together, where the first of them does. The other points may be a neighbour's, so
a process asks for just the grid points that its observations need, in one exchange (`Layout.cells`), and its operators
find them in a field of that many points. Value and both derivatives are those of one process: the adjoint hands what
it has for a neighbour's points to the neighbour.
"""

__all__ = ["PartOperator", "owned", "part_operator"]

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stormda.layout import Layout
from stormda.operators.gridpoint import GridPoints
from stormda.operators.interpolate import Affine
from stormda.operators.stack import Stack
from stormda.types import Array


@dataclass(frozen=True, eq=False)
class PartOperator:
    """H of the observations of a part.

    Args:
        operator: of fields [..., C, 1, K] of the K points that it needs.
        points: finds them, [..., h, w] -> [..., K].
    """

    operator: Stack
    points: Callable[[Tensor], Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        """x [..., C, h, w], the part of a physical state -> y [..., N]."""
        return self.operator(self.points(x)[..., None, :])

    def __len__(self) -> int:
        return len(self.operator)


def owned(operator: Stack, layout: Layout, shape: tuple[int, int], together: Sequence[Tensor] = ()) -> Array:
    """Which rows belong to this process, bool [N].

    Args:
        operator: of a whole field of `shape` points.
        layout: how fields are spread over processes.
        shape: H x W.
        together: numbers of rows [..., m], m of which belong together.
    """
    first = np.zeros(len(operator), dtype=np.int64)
    for part, rows in operator.parts:
        first[rows] = next(_indices(part)).numpy() % (shape[0] * shape[1])
    for group in together:
        at = group.numpy().reshape(-1, group.shape[-1])
        first[at] = first[at[:, :1]]
    return layout.owns(first // shape[1], first % shape[1], shape)


def part_operator(operator: Stack, layout: Layout, shape: tuple[int, int]) -> PartOperator:
    """H of a whole field as one of this process's part; every process calls it, with its own rows."""
    points = shape[0] * shape[1]
    indices = [index.flatten() % points for part, _ in operator.parts for index in _indices(part, whole=True)]
    needed = torch.cat([torch.zeros(0, dtype=torch.int64), *indices]).unique()  # type: ignore[no-untyped-call]

    def move(index: Tensor) -> Tensor:
        return index // points * len(needed) + torch.searchsorted(needed, index % points)

    moved = tuple((_moved(part, move), rows) for part, rows in operator.parts)
    return PartOperator(replace(operator, parts=moved), layout.cells(needed, shape))


def _indices(operator: Any, whole: bool = False) -> Iterator[Tensor]:
    """Of each interpolation in an operator: its first points [N], or the `whole` index."""
    if isinstance(operator, (Affine, GridPoints)):
        yield operator.index if whole or operator.index.ndim == 1 else operator.index[:, 0]
    elif is_dataclass(operator):
        for field in fields(operator):
            yield from _indices(getattr(operator, field.name), whole)


def _moved(operator: Any, move: Callable[[Tensor], Tensor]) -> Any:
    """The operator with other indices."""
    if isinstance(operator, (Affine, GridPoints)):
        return replace(operator, index=move(operator.index))
    inside = {f.name: getattr(operator, f.name) for f in fields(operator)}
    return replace(operator, **{name: _moved(part, move) for name, part in inside.items() if is_dataclass(part)})
