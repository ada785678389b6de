"""Tiles: which tokens of a grid look at which others, when each looks only at its neighbourhood.

An axis of n tokens is cut into tiles. The queries of a tile look at the keys of a window: the tile with a halo on both
sides. On an axis that wraps, windows go around; at an edge they are moved inwards, so that every query sees equally
many keys. On two axes a tile is a product of two, and the pairs that look at each other number N x window, linear in N.

Seams between tiles vanish over depth: `layer_tiles` moves the cuts from layer to layer, by 0, 1/2, 1/4, 3/4 of a tile.
With dilation d an axis falls into d combs of every d-th token, each cut as an axis of its own: tiles reach d times
farther for the same cost (after DiNAT, Hassani and Shi 2022, https://arxiv.org/abs/2209.15001).

In a window of frames a tile sees its neighbourhood in its own frame and in those beside it, three frames at once (two
where there are no more), so that the cost is linear in the number of frames too.

Beyond a pole lies the other side: the row -1 - i of a window is the row i, half of the columns away.
"""

__all__ = ["Run", "Tiles", "cut_axis", "layer_tiles"]

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from stormda.layout import Ends

_SHIFTS = (0.0, 0.5, 0.25, 0.75)  # of a tile, in consecutive layers


@dataclass(frozen=True, eq=False)
class Run:
    """Tiles of one axis with equally many queries and keys: places [T, Q] and [T, K] on the axis.

    Keys beyond a pole are counted on, from -1 downwards and from n upwards.
    """

    queries_TQ: Tensor
    keys_TK: Tensor


def cut_axis(
    n: int,
    size: int,
    halo: int,
    *,
    wraps: bool,
    shift: float = 0.0,
    dilation: int = 1,
    open_ends: tuple[bool, bool] = (False, False),
) -> list[Run]:
    """Cut an axis of n tokens into tiles of at most `size`.

    Args:
        n: tokens.
        size: of a tile; longer than the axis: one tile.
        halo: keys on each side of a full tile.
        wraps: whether the axis is periodic.
        shift: how far the cuts are moved, in tiles.
        dilation: number of combs.
        open_ends: whether windows go on beyond the first and the last token (poles), instead of moving inwards.

    Returns:
        Tiles by their shape; every token is a query once.
    """
    tiles: dict[tuple[int, int], list[tuple[list[int], list[int]]]] = {}
    for comb in range(min(dilation, n)):
        count = math.ceil((n - comb) / dilation)
        window = min(count, min(size, count) + 2 * halo)
        for first, last in _cuts(count, size, wraps, shift):
            start = first - (window - (last - first)) // 2
            if not wraps:
                low = -halo if open_ends[0] else 0
                high = count - window + (halo if open_ends[1] else 0)
                start = min(max(start, low), high)
            queries = [comb + dilation * (i % count) for i in range(first, last)]
            keys = [comb + dilation * (i % count if wraps else i) for i in range(start, start + window)]
            tiles.setdefault((len(queries), window), []).append((queries, keys))
    # On the processor, also where a model is built on another device.
    return [Run(*(torch.tensor(places, device="cpu") for places in zip(*run, strict=True))) for run in tiles.values()]


def _cuts(n: int, size: int, wraps: bool, shift: float) -> list[tuple[int, int]]:
    """First and last + 1 of each tile. Where the axis wraps they are nearly equal, and counted on beyond n."""
    offset = int(shift * size) if n > size else 0
    if wraps:
        count = math.ceil(n / size)
        edges = [offset + i * n // count for i in range(count + 1)]
    else:
        edges = sorted({0, *range(offset, n, size), n})
    return list(zip(edges[:-1], edges[1:], strict=True))


@dataclass(frozen=True, eq=False)
class Tiles:
    """A cut of a grid, or of several frames of it, one after another.

    Args:
        shape: rows and columns, in tokens.
        rows, columns: the cuts of both axes.
        frames: and of time.
        ends: what windows find beyond the edges.
        window: rows and columns of the grid in which keys are numbered, where it is not that of the queries.
    """

    shape: tuple[int, int]
    rows: list[Run]
    columns: list[Run]
    frames: list[Run] = field(default_factory=lambda: cut_axis(1, 1, 0, wraps=False))
    ends: Ends = Ends((False, False))
    window: tuple[int, int] | None = None

    def over(self, frames: int) -> "Tiles":
        """The same cut of every frame, each seen together with the ones beside it."""
        return replace(self, frames=cut_axis(frames, 1, 1, wraps=False))

    @property
    def pairs(self) -> int:
        """How many pairs of a query and a key look at each other."""
        axes = (self.frames, self.rows, self.columns)
        return math.prod(sum(r.queries_TQ.numel() * r.keys_TK.shape[1] for r in axis) for axis in axes)

    def batches(self, tokens: int, device: torch.device | str = "cpu") -> Iterator[tuple[Tensor, Tensor]]:
        """Tokens of queries [T, Q] and of their keys [T, K], for tiles with at most `tokens` queries (or one tile)."""
        for runs in itertools.product(self.frames, self.rows, self.columns):
            count = [len(run.queries_TQ) for run in runs]
            at_once = max(1, tokens // math.prod(run.queries_TQ.shape[1] for run in runs))
            for first in range(0, math.prod(count), at_once):
                i = torch.arange(first, min(first + at_once, math.prod(count)), device="cpu")
                f, r, c = i // (count[1] * count[2]), i // count[2] % count[1], i % count[2]
                queries = _flat(self.shape, *(run.queries_TQ[j] for run, j in zip(runs, (f, r, c), strict=True)))
                window = self.window or self.shape
                keys = _flat(window, *(run.keys_TK[j] for run, j in zip(runs, (f, r, c), strict=True)))
                yield queries.to(device), keys.to(device)


def _flat(shape: tuple[int, int], frame_TF: Tensor, row_TR: Tensor, column_TC: Tensor) -> Tensor:
    """Token numbers [T, F R C]; a row beyond a pole is a row of the other side."""
    (h, w), row, column = shape, row_TR[:, :, None], column_TC[:, None, :]
    beyond = (row < 0) | (row >= h)
    row = torch.where(row < 0, -1 - row, torch.where(row >= h, 2 * h - 1 - row, row))
    place_TRC = row * w + (column + beyond * (w // 2)) % w
    return (frame_TF[:, :, None, None] * (h * w) + place_TRC[:, None]).flatten(1)


def layer_tiles(
    layer: int,
    shape: tuple[int, int],
    periodic: tuple[bool, bool],
    size: int,
    halo: int,
    *,
    dilation: int = 1,
    poles: tuple[bool, bool] = (False, False),
) -> Tiles:
    """The tiles of a layer: shifted from those of its neighbours, dilated in every second one.

    Args:
        layer: its number, from 0.
        shape: rows and columns, in tokens.
        periodic: which axes wrap.
        size: tokens of a tile along an axis.
        halo: tokens around it.
        dilation: of layers 1, 3, 5, ...
        poles: whether a pole lies beyond the first and the last row; only where columns wrap, in layers that are not
            dilated and where a window is at most half a circle wide, so that no key is there twice.
    """
    shift, step = _SHIFTS[layer % len(_SHIFTS)], dilation if layer % 2 else 1
    across = periodic[1] and step == 1 and 2 * (size + 2 * halo) <= shape[1] and size + 2 * halo <= shape[0]
    ends = (poles[0] and across, poles[1] and across)
    rows = cut_axis(shape[0], size, halo, wraps=periodic[0], shift=shift, dilation=step, open_ends=ends)
    columns = cut_axis(shape[1], size, halo, wraps=periodic[1], shift=shift, dilation=step)
    return Tiles(shape, rows, columns, ends=Ends(periodic, ends))
