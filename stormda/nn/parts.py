"""The tiles of a part of a grid, where a member's tokens are spread over processes.

A process computes the queries that it holds, each with the keys of its tile, so a tile that a border cuts is computed
in two parts, and no query twice. Keys that lie beyond the border come from the neighbours: the widest distance by which
any part needs them, along each axis, is the halo. Where an axis is not cut, its keys are all there and there is none.
"""

__all__ = ["Part", "part_of", "part_rows"]

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from stormda.layout import Layout
from stormda.nn.tiles import Run, Tiles


@dataclass(frozen=True, eq=False)
class Part:
    """Tiles of a part.

    Args:
        tiles: their queries are numbered within the part, their keys within the part with its halo.
        halo: rows and columns around the part.
    """

    tiles: Tiles
    halo: tuple[int, int]

    def widen(self, x_BND: Tensor, whole: Tiles, layout: Layout) -> Tensor:
        """Tokens of a part, of one frame after another, with their halo."""
        if self.halo == (0, 0):
            return x_BND
        frames = x_BND.view(len(x_BND), -1, *self.tiles.shape, x_BND.shape[2])
        return layout.halo(frames, self.halo, whole.shape, whole.ends, axis=2).flatten(1, 3)


def part_of(tiles: Tiles, layout: Layout) -> Part:
    """The part that this process holds."""
    edges, own = layout.edges(tiles.shape), layout.part(tiles.shape)
    return _part(tiles, *edges, edges[0].index(own[0].start), edges[1].index(own[1].start))


def part_rows(x_ND: Tensor, shape: tuple[int, int], layout: Layout) -> Tensor:
    """The rows [n, D] of a table with one row a token of a grid that belong to the part."""
    rows, columns = layout.part(shape)
    return x_ND.view(*shape, -1)[rows, columns].flatten(0, 1)


@lru_cache(maxsize=256)  # Networks ask for the same parts at every call.
def _part(tiles: Tiles, rows: tuple[int, ...], columns: tuple[int, ...], i: int, j: int) -> Part:
    ends, (h, w) = tiles.ends, tiles.shape
    if len(rows) == len(columns) == 2:
        return Part(tiles, (0, 0))
    halo = (
        max(_need(tiles.rows, a, b, h, len(rows) > 2 and ends.periodic[0]) for a, b in _pairs(rows)),
        max(_need(tiles.columns, a, b, w, len(columns) > 2 and ends.periodic[1]) for a, b in _pairs(columns)),
    )
    shape = rows[i + 1] - rows[i], columns[j + 1] - columns[j]
    own = replace(
        tiles,
        shape=shape,
        window=(shape[0] + 2 * halo[0], shape[1] + 2 * halo[1]),
        rows=_within(tiles.rows, rows[i], rows[i + 1], h, len(rows) > 2 and ends.periodic[0], halo[0]),
        columns=_within(tiles.columns, columns[j], columns[j + 1], w, len(columns) > 2 and ends.periodic[1], halo[1]),
    )
    return Part(own, halo)


def _pairs(edges: tuple[int, ...]) -> list[tuple[int, int]]:
    return list(zip(edges[:-1], edges[1:], strict=True))


def _relative(keys: Tensor, first: int, last: int, n: int, wraps: bool) -> Tensor:
    """Places relative to `first`, on the nearer side where the axis wraps."""
    away = keys - first
    if not wraps:
        return away
    away = away % n
    return torch.where((away >= last - first) & (n - away < away - (last - first) + 1), away - n, away)


def _need(runs: list[Run], first: int, last: int, n: int, wraps: bool) -> int:
    """How far beyond a part the keys of its queries reach."""
    need = 0
    for run in runs:
        some = ((run.queries_TQ >= first) & (run.queries_TQ < last)).any(dim=1)
        if bool(some.any()):
            away = _relative(run.keys_TK[some], first, last, n, wraps)
            need = max(need, -int(away.min()), int(away.max()) - (last - first) + 1)
    return need


def _within(runs: list[Run], first: int, last: int, n: int, wraps: bool, halo: int) -> list[Run]:
    """Queries between two places, numbered from the first; keys numbered from the first of the halo."""
    parts = []
    for run in runs:
        inside = (run.queries_TQ >= first) & (run.queries_TQ < last)
        for count in sorted(set(inside.sum(dim=1).tolist())):
            if count:
                some = inside.sum(dim=1) == count
                queries = run.queries_TQ[some][inside[some]].view(-1, count) - first
                parts.append(Run(queries, _relative(run.keys_TK[some], first, last, n, wraps) + halo))
    return parts
