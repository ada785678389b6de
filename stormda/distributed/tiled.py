"""One member over several processes: a `Layout` over a process group.

The token grid is cut into `parts` = rows x columns of rectangles, as equal as whole tokens allow, and the grid of
points along the same lines. Process r of the group holds rectangle (r // columns, r % columns).

Whatever a process needs of other parts is a list of grid points: the frame around its rectangle (`halo`; periodic, or
over a pole, or as wide as several neighbours), the points around its observations (`cells`), or all (`gather`). The
list is looked up once: each process tells every owner which of its points it wants, and both keep the indices. From
then on an exchange is one message to and one from each process that has something to give,

    out[to_p] = receive_p(x[from_p])        and backwards     d_x[from_p] += receive_p(d_out[to_p])

so a frame costs as much as it is long, whatever lies within, and corners come in the same round. Messages travel while
a process copies what it holds itself. All other operations are reductions, whose size does not depend on the field's.

`traffic` counts messages and bytes that this process sends, and seconds that it waits, by kind.
"""

__all__ = ["Tiled", "Traffic", "parts_of"]

import math
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from stormda.errors import ConfigError
from stormda.layout import Ends
from stormda.types import Array


@dataclass
class Traffic:
    """What one kind of exchange has cost so far: `messages` and `bytes` sent, `seconds` waited."""

    messages: int = 0
    bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class _Plan:
    """Which points go where: `count` results from a part of h x w points.

    Args:
        kind: for the traffic.
        sends, receives: by process, from which points and to which results.
        own: from which points of its own to which results.
        frame: of h' x w' results around the part, which lies inside by (rows, columns); None: no such part.
    """

    kind: str
    count: int
    part: tuple[int, int]
    sends: dict[int, Tensor]
    receives: dict[int, Tensor]
    own: tuple[Tensor, Tensor]
    frame: tuple[int, int] | None


def parts_of(count: int, tokens: tuple[int, int]) -> tuple[int, int]:
    """Rows x columns of `count` parts with the shortest borders, rows first where that is a draw.

    Raises:
        ConfigError: the token grid cannot be cut so.
    """
    fit = [
        (r, count // r) for r in range(1, count + 1) if count % r == 0 and r <= tokens[0] and count // r <= tokens[1]
    ]
    if not fit:
        what = f"a field of {tokens[0]} x {tokens[1]} tokens cannot be cut into {count} parts"
        raise ConfigError(what, key="parallel.tile", hint="fewer processes a member, or a smaller storm.patch")
    return min(fit, key=lambda f: (tokens[1] * (f[0] > 1) * f[0] + tokens[0] * (f[1] > 1) * f[1], -f[0]))


class Tiled:
    """A field over the processes of a group.

    Args:
        grid: H x W points.
        patch: points of a token along each axis.
        parts: rows x columns of parts, as many as processes; None: the shortest borders.
        group: the processes; None: all.

    Raises:
        ConfigError: the grid cannot be cut so.
    """

    def __init__(
        self,
        grid: tuple[int, int],
        patch: tuple[int, int],
        parts: tuple[int, int] | None = None,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        self.grid = grid[0], grid[1]
        self.group, self.rank, self.size = group, dist.get_rank(group), dist.get_world_size(group)
        self.peers = dist.get_process_group_ranks(group or dist.group.WORLD)
        tokens = math.ceil(grid[0] / patch[0]), math.ceil(grid[1] / patch[1])
        self.parts = parts or parts_of(self.size, tokens)
        if math.prod(self.parts) != self.size or any(p > n for p, n in zip(self.parts, tokens, strict=True)):
            what = f"{self.parts[0]} x {self.parts[1]} parts of {tokens[0]} x {tokens[1]} tokens, {self.size} processes"
            raise ConfigError(what, key="parallel.tile", hint="as many parts as processes, each of a token or more")
        cuts = [[k * n // p for k in range(p + 1)] for p, n in zip(self.parts, tokens, strict=True)]
        points = [[min(k * p, n) for k in c] for c, p, n in zip(cuts, patch, grid, strict=True)]
        self._edges = {tokens: (tuple(cuts[0]), tuple(cuts[1]))} | {grid: (tuple(points[0]), tuple(points[1]))}
        self._plans: dict[tuple[Any, ...], _Plan] = {}
        self.traffic: dict[str, Traffic] = {}

    def edges(self, shape: tuple[int, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of the grid's points or tokens; any other shape is a ValueError."""
        key = shape[0], shape[1]
        if key not in self._edges:
            raise ValueError(f"a field of {key} is neither of the points nor of the tokens {[*self._edges]}")
        return self._edges[key]

    def part(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """This process's rectangle."""
        rows, columns = self.edges(shape)
        i, j = divmod(self.rank, self.parts[1])
        return slice(rows[i], rows[i + 1]), slice(columns[j], columns[j + 1])

    def whole(self, part: tuple[int, int]) -> tuple[int, int]:
        """The grid, of this process's part of it; any other shape is a ValueError."""
        rows, columns = self.part(self.grid)
        if tuple(part) != (rows.stop - rows.start, columns.stop - columns.start):
            raise ValueError(f"a field of {tuple(part)} points is not the part {rows}, {columns} of {self.grid}")
        return self.grid

    def halo(self, x: Tensor, width: tuple[int, int], shape: tuple[int, int], ends: Ends, axis: int = -2) -> Tensor:
        """Of its neighbours, however many are that near."""
        key = ("halo", tuple(width), tuple(shape), ends)
        if key not in self._plans:
            frame = _frame(self.part(shape), width, shape, ends)
            self._plans[key] = self._plan("halo", frame.flatten(), shape, width)
        axis %= x.ndim
        h, w = x.shape[axis : axis + 2]
        out = self._exchange(x.flatten(axis, axis + 1), self._plans[key], axis)
        return out.view(*x.shape[:axis], h + 2 * width[0], w + 2 * width[1], *x.shape[axis + 2 :])

    def cells(self, index: Tensor, shape: tuple[int, int]) -> Callable[[Tensor], Tensor]:
        """Of whoever owns them; every process makes the map, and uses it, together."""
        plan = self._plan("cells", index, shape, None)
        return lambda x: self._exchange(x.flatten(-2), plan, x.ndim - 2)

    def gather(self, x: Tensor, shape: tuple[int, int]) -> Tensor:
        """All points of all processes."""
        key = ("gather", tuple(shape))
        if key not in self._plans:
            self._plans[key] = self._plan("gather", torch.arange(shape[0] * shape[1]), shape, None)
        return self._exchange(x.flatten(-2), self._plans[key], x.ndim - 2).view(*x.shape[:-2], *shape)

    def merge(self, out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
        """Each part weighed by its share of the sum of exponentials, relative to the largest one."""
        largest = self._reduce(lse.detach(), dist.ReduceOp.MAX, "merge")
        share = (lse - largest).exp()[..., None]
        total = _Sum.apply(torch.cat([share * out, share], dim=-1), self, "merge")  # type: ignore[no-untyped-call]
        return (total[..., :-1] / total[..., -1:]).to(out.dtype), largest + total[..., -1].log()

    def sum(self, x: Tensor) -> Tensor:
        """On every process; the gradient is the sum of all gradients."""
        total: Tensor = _Sum.apply(x, self, "sum")  # type: ignore[no-untyped-call]
        return total

    def max(self, x: Tensor) -> Tensor:
        """On every process."""
        return self._reduce(x.detach(), dist.ReduceOp.MAX, "max")

    def concat(self, x: Tensor) -> tuple[Tensor, slice]:
        """In the order of processes: a sum of tables that are zero but for the own rows."""
        counts = torch.zeros(self.size, dtype=torch.int64, device=x.device)
        counts[self.rank] = len(x)
        ends = self._reduce(counts, dist.ReduceOp.SUM, "concat").cumsum(0).tolist()
        own = slice(ends[self.rank] - len(x), ends[self.rank])
        table = torch.cat([x.new_zeros(own.start, *x.shape[1:]), x, x.new_zeros(ends[-1] - own.stop, *x.shape[1:])])
        return _Sum.apply(table, self, "concat"), own  # type: ignore[no-untyped-call]

    def owns(self, row: Array, column: Array, shape: tuple[int, int]) -> Array:
        """Those in its rectangle."""
        rows, columns = self.part(shape)
        inside = (row >= rows.start) & (row < rows.stop) & (column >= columns.start) & (column < columns.stop)
        return np.asarray(inside)

    def _reduce(self, x: Tensor, operation: Any, kind: str) -> Tensor:
        y = x.contiguous().clone()
        start = perf_counter()
        dist.all_reduce(y, operation, group=self.group)
        self._count(kind, 1, y.numel() * y.element_size(), perf_counter() - start)
        return y

    def _count(self, kind: str, messages: int, size: int, seconds: float) -> None:
        tally = self.traffic.setdefault(kind, Traffic())
        tally.messages += messages
        tally.bytes += size
        tally.seconds += seconds

    def _exchange(self, x: Tensor, plan: _Plan, axis: int) -> Tensor:
        """Points on `axis` to results on the same axis."""
        before, after = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
        y: Tensor = _Exchange.apply(x.reshape(before, -1, after), plan, self, False)  # type: ignore[no-untyped-call]
        return y.view(*x.shape[:axis], plan.count, *x.shape[axis + 1 :])

    def _move(self, x_ANB: Tensor, plan: _Plan, back: bool) -> Tensor:
        """Results from points, or, `back`, the adjoint."""
        takes, puts = (plan.receives, plan.sends) if back else (plan.sends, plan.receives)
        out = x_ANB.new_zeros(len(x_ANB), math.prod(plan.part) if back else plan.count, x_ANB.shape[2])
        boxes = {p: out.new_empty(len(out), len(to), out.shape[2]) for p, to in puts.items()}
        wait = self._post({p: x_ANB.index_select(1, i.to(x_ANB.device)) for p, i in takes.items()}, boxes, plan.kind)
        if plan.frame is not None:
            inner = [slice(w, w + n) for w, n in zip(plan.frame, plan.part, strict=True)]
            whole = tuple(n + 2 * w for w, n in zip(plan.frame, plan.part, strict=True))
            big, small = (x_ANB, out) if back else (out, x_ANB)
            inside = big.view(len(big), *whole, -1)[:, inner[0], inner[1]]
            part = small.view(len(small), *plan.part, -1)
            part.copy_(inside) if back else inside.copy_(part)
        source, target = plan.own[::-1] if back else plan.own
        out.index_add_(1, target.to(out.device), x_ANB.index_select(1, source.to(out.device)))
        wait()
        for p, to in puts.items():
            out.index_add_(1, to.to(out.device), boxes[p])
        return out

    def _post(self, sends: dict[int, Tensor], boxes: dict[int, Tensor], kind: str) -> Callable[[], None]:
        """Start to send and receive; what waits for both."""
        posts = [dist.P2POp(dist.irecv, box, self.peers[p], self.group) for p, box in boxes.items()]
        posts += [dist.P2POp(dist.isend, x, self.peers[p], self.group) for p, x in sends.items()]
        works = dist.batch_isend_irecv(posts) if posts else []

        def wait() -> None:
            start = perf_counter()
            for work in works:
                work.wait()
            size = sum(x.numel() * x.element_size() for x in sends.values())
            self._count(kind, len(sends), size, perf_counter() - start)

        return wait

    def _plan(self, kind: str, index_K: Tensor, shape: tuple[int, int], frame: tuple[int, int] | None) -> _Plan:
        """Look up who owns the points, -1 for none, and tell them. Those inside of a frame are copied as a whole."""
        rows, columns = (torch.tensor(e) for e in self.edges(shape))
        own = self.part(shape)
        part = own[0].stop - own[0].start, own[1].stop - own[1].start
        row, column = index_K // shape[1], index_K % shape[1]
        i, j = (torch.bucketize(k, e[1:], right=True) for k, e in ((row, rows), (column, columns)))
        owner = torch.where(index_K >= 0, i * self.parts[1] + j, -1)
        i, j = i.clamp_max(self.parts[0] - 1), j.clamp_max(self.parts[1] - 1)
        there = (row - rows[i]) * (columns[j + 1] - columns[j]) + column - columns[j]
        if frame is not None:
            inside = owner.view(part[0] + 2 * frame[0], part[1] + 2 * frame[1])
            inside[frame[0] : frame[0] + part[0], frame[1] : frame[1] + part[1]] = -1
        to = {p: torch.nonzero(owner == p)[:, 0] for p in sorted(set(owner.tolist())) if p >= 0}
        mine = to.pop(self.rank, torch.zeros(0, dtype=torch.int64))
        sends = self._tell({p: there[k] for p, k in to.items()})
        return _Plan(kind, len(index_K), part, sends, to, (there[mine], mine), frame)

    def _tell(self, wanted: dict[int, Tensor]) -> dict[int, Tensor]:
        """Tell owners what is wanted of them; what others want of this process."""
        counts = torch.zeros(self.size, self.size, dtype=torch.int64)
        for p, points in wanted.items():
            counts[self.rank, p] = len(points)
        device = _device(self.group)
        asked = self._reduce(counts.to(device), dist.ReduceOp.SUM, "plans")[:, self.rank].tolist()
        boxes = {p: torch.empty(n, dtype=torch.int64, device=device) for p, n in enumerate(asked) if n}
        self._post({p: points.to(device) for p, points in wanted.items()}, boxes, "plans")()
        return boxes


class _Exchange(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, plan: _Plan, layout: Tiled, back: bool) -> Tensor:
        ctx.plan, ctx.layout, ctx.back = plan, layout, back
        return layout._move(x, plan, back)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x = gradients[0].contiguous()
        return _Exchange.apply(x, ctx.plan, ctx.layout, not ctx.back), None, None, None  # type: ignore[no-untyped-call]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layout: Tiled, kind: str) -> Tensor:
        ctx.layout, ctx.kind = layout, kind
        return layout._reduce(x, dist.ReduceOp.SUM, kind)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return _Sum.apply(gradients[0], ctx.layout, ctx.kind), None, None  # type: ignore[no-untyped-call]


def _frame(part: tuple[slice, slice], width: tuple[int, int], shape: tuple[int, int], ends: Ends) -> Tensor:
    """Numbers of the points of a part with its halo, [h', w'], -1 beyond an edge."""
    (h, w), (row, column) = shape, (torch.arange(s.start - n, s.stop + n) for s, n in zip(part, width, strict=True))
    across = torch.zeros_like(row)
    if ends.periodic[0]:
        row = row % h
    if any(ends.poles):
        if width[0] + 1 > h:
            raise ValueError(f"a halo of {width[0]} rows reaches over both poles of {h} rows")
        north, south = (row < 0) & ends.poles[0], (row >= h) & ends.poles[1]
        row = torch.where(north, -1 - row + int(ends.pole_rows[0]), row)
        row = torch.where(south, 2 * h - 1 - row - int(ends.pole_rows[1]), row)
        across = (north | south) * (w // 2)
    place = column + across[:, None]
    beyond = (row < 0)[:, None] | (row >= h)[:, None]
    if ends.periodic[1]:
        place = place % w
    else:
        beyond = beyond | (place < 0) | (place >= w)
    return torch.where(beyond, -1, row[:, None] * w + place)


def _device(group: dist.ProcessGroup | None) -> torch.device:
    """Where the group's backend wants its tensors."""
    return (
        torch.device("cuda", torch.cuda.current_device()) if dist.get_backend(group) == "nccl" else torch.device("cpu")
    )
