"""Stage `bench scaling`: the same job on one rank and on N, turn by turn.

N processes of this machine are started once and meet through Gloo. A job is

    ensemble   M members of an untrained network, `steps` calls each, divided in micro-batches of one, and their mean
    tile       one member, `steps` calls, its tokens in N parts (`stormda.distributed.tiled`)
    guided     the same, each call with a product with its derivative
    training   a step on M samples, gradients averaged (`stormda.distributed.parallelize`)

In every round the first process does all of it alone, while the others wait without working, and all of them together,
in turns the one or the other first; the time is that of the slowest. What other work on the machine does to both of a
pair is alike, so the ratio

    T(1 rank) / T(N ranks)

is taken of each pair, and its median and quartiles are told. Where N ranks share the cores that one has to itself, a
ratio of 1 is the best that can be. The second ratio is of processor seconds, of one rank and of all: it does not depend
on how many other processes want the same core. Of parts of a member it is told besides what the rank that sends most
sends in a call, by kind, and the longest that one waits; the memory that the first call takes; and the most of 10,000
observations that a part owns, over the mean, where these are even and where they lie as dense around four places as
people live.
"""

__all__ = ["KINDS", "ScalingResult", "Scaling", "scaling"]

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, process_time
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import FileStore

from stormda.distributed.mesh import Shape, device_mesh
from stormda.distributed.parallelize import Spread
from stormda.distributed.tiled import Tiled
from stormda.errors import ConfigError, StormdaError
from stormda.layout import WHOLE
from stormda.nn.frame import Frame, draw, untrained
from stormda.nn.measure import forget_peak, resident_peak
from stormda.pipeline.bench_frame import asked_frame
from stormda.types import Progress, silent

KINDS = ("ensemble", "tile", "guided", "training")
_TILES = ("tile", "guided")
_WAIT = timedelta(minutes=30)


@dataclass(frozen=True)
class Scaling:
    """A job for so many ranks; see the module."""

    kind: str
    frame: Frame
    ranks: int
    members: int
    steps: int
    rounds: int


@dataclass(frozen=True)
class Row:
    """A number of ranks.

    Args:
        ranks: how many.
        alone, together: seconds on one and on all, medians.
        ratio, lower, upper: of the two, median and quartiles.
        processor: ratio of processor seconds, median.
        difference: of the answers, relative.
        parts: of a member, rows x columns.
        sent: messages, bytes and seconds of waiting in a call, by kind, of the rank that has most.
        peak_mib: memory that the first call takes on the last rank, beside weights and fields.
        load: the most observations that a part owns, over the mean, even and clustered ones.
    """

    ranks: int
    alone: float
    together: float
    ratio: float
    lower: float
    upper: float
    processor: float
    difference: float
    parts: tuple[int, int] | None = None
    sent: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    peak_mib: float = 0.0
    load: dict[str, float] = field(default_factory=dict)

    @property
    def traffic(self) -> list[str]:
        """Cells about parts of a member."""
        sent = [f"{kind} {n:g} x {size / n / 1e3:.3g} kB, {s:.2g} s" for kind, (n, size, s) in self.sent.items()]
        load = [f"{name} {share:.2f}" for name, share in self.load.items()]
        return ["x".join(map(str, self.parts or ())), "; ".join(sent), f"{self.peak_mib:.0f}", ", ".join(load)]


@dataclass(frozen=True)
class ScalingResult:
    """All rows; none where nothing was run."""

    kind: str
    preset: str
    shape: tuple[int, int]
    members: int
    steps: int
    rounds: int
    threads: int
    cores: int
    rows: tuple[Row, ...]

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people."""
        title = (
            f"{self.kind}, {self.preset}, {self.shape[0]} x {self.shape[1]}: {self.members} members, "
            f"{self.steps} steps; {self.rounds} pairs, {self.threads} threads a rank, {self.cores} cores"
        )
        columns = ["ranks", "s on one", "s on all", "ratio", "quartiles", "processor", "answers differ by"]
        lines = [
            [str(r.ranks), f"{r.alone:.3f}", f"{r.together:.3f}", f"{r.ratio:.3f}", f"{r.lower:.3f}..{r.upper:.3f}",
             f"{r.processor:.3f}", f"{r.difference:.1e}"]
            for r in self.rows
        ]  # fmt: skip
        if self.kind in _TILES:
            columns += ["parts", "a rank sends in a call", "MiB", "observations of the fullest part"]
            lines = [[*line, *r.traffic] for line, r in zip(lines, self.rows, strict=True)]
        return title, columns, lines


def scaling(
    preset: str = "nano",
    shape: str = "64x64",
    *,
    kind: str = "ensemble",
    ranks: Sequence[int] = (2,),
    members: int = 8,
    steps: int = 4,
    rounds: int = 20,
    patch: int = 2,
    blocks: int | None = None,
    dry_run: bool = False,
    progress: Progress = silent,
) -> ScalingResult:
    """Measure every number of ranks beside one.

    Args:
        preset, shape, patch, blocks: of the network and its fields; blocks: instead of the preset's.
        kind: of `KINDS`.
        ranks: how many.
        members: of the ensemble, or samples of a step; there is one where it is cut.
        steps: calls a member, or steps of training in a turn.
        rounds: pairs.
        dry_run: start nothing.
        progress: told about each number of ranks.

    Raises:
        ConfigError: an argument that is none.
        StormdaError: a rank failed.
    """
    frame = asked_frame(preset, shape, 2, 1, patch, blocks, "forward", "cpu", "float32")
    if kind not in KINDS:
        raise ConfigError(f"unknown kind '{kind}'", key="--kind", hint=f"one of {', '.join(KINDS)}")
    members = 1 if kind in _TILES else members
    if not ranks or min(ranks) < 2:
        raise ConfigError("two ranks or more are compared with one", key="--ranks")
    if kind not in _TILES and max(ranks) > members:
        raise ConfigError("each rank needs a member", key="--ranks", hint=f"2 to {members}, or more with --ensemble")
    if steps < 1 or rounds < 2:
        raise ConfigError("at least one step and two rounds are needed", key="--steps" if steps < 1 else "--rounds")
    rows = []
    for number, count in enumerate(() if dry_run else ranks):
        progress(f"{count} ranks", number, len(ranks))
        rows.append(_row(Scaling(kind, frame, count, members, steps, rounds)))
    progress("bench scaling", len(ranks), len(ranks))
    facts = (members, steps, rounds, torch.get_num_threads(), os.cpu_count() or 1)
    return ScalingResult(kind, preset, frame.shape, *facts, tuple(rows))


def _row(asked: Scaling) -> Row:
    found = _started(asked)
    lower, middle, upper = quantiles((a[0] / b[0] for a, b in found.pairs), n=4, method="inclusive")
    alone, together = (median(clock for clock, _ in side) for side in zip(*found.pairs, strict=True))
    processor = median(a[1] / b[1] for a, b in found.pairs)
    facts = found.difference, found.parts, found.sent, found.peak_mib, found.load
    return Row(asked.ranks, alone, together, middle, lower, upper, processor, *facts)


Cost: TypeAlias = tuple[float, float]
"""Seconds of the clock, and of all processors."""


@dataclass
class _Found:
    """What the ranks have measured: pairs on one and on all, and see `Row`."""

    pairs: list[tuple[Cost, Cost]]
    difference: float = 0.0
    parts: tuple[int, int] | None = None
    sent: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    peak_mib: float = 0.0
    load: dict[str, float] = field(default_factory=dict)


def _started(asked: Scaling) -> _Found:
    """What the ranks say, which are processes of their own."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="stormda-ranks-") as folder:
        ends = [context.Pipe(duplex=False) for _ in range(asked.ranks)]
        processes = [
            context.Process(target=_rank, args=(asked, rank, str(Path(folder) / "meeting"), end), daemon=True)
            for rank, (_, end) in enumerate(ends)
        ]
        for process, (_, end) in zip(processes, ends, strict=True):
            process.start()
            end.close()
        answers: list[Any] = []
        try:
            for receiver, _ in ends:
                answers.append(receiver.recv())
        except EOFError:
            answers.append("a rank was killed")
        finally:
            for process in processes:
                process.kill()
                process.join()
    if trouble := [answer for answer in answers if isinstance(answer, str)]:
        raise StormdaError(f"{asked.ranks} ranks failed: {trouble[0]}", hint="where memory was short: fewer --ranks")
    found: _Found = answers[0]
    return found


def _rank(asked: Scaling, rank: int, meeting: str, answer: Connection) -> None:
    """A process: takes part, and tells."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    try:
        store = FileStore(meeting, asked.ranks)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=asked.ranks, timeout=_WAIT)
        answer.send(_pairs(asked, rank))
        dist.barrier()
        dist.destroy_process_group()
    except Exception as error:  # Whatever it is, the parent tells it.
        answer.send(" ".join(str(error).split()))


def _pairs(asked: Scaling, rank: int) -> _Found:
    """Seconds of each pair, and how far apart the answers are, relatively."""
    torch.manual_seed(0)
    network = untrained(asked.frame)
    nn.init.normal_(network.head.weight, std=1e-3)
    x = draw(asked.frame, asked.members)
    work: Callable[[nn.Module, int, int], Tensor]
    alone: nn.Module = network
    called: nn.Module = network
    layout: Tiled | None = None
    if asked.kind in _TILES:
        layout = Tiled(asked.frame.shape, (asked.frame.patch, asked.frame.patch))
        work = partial(_cut, x, asked.steps, asked.kind == "guided", layout)
        network.requires_grad_(False)
    elif asked.kind == "ensemble":
        work = partial(_drawn, x, asked.steps)
    else:
        alone, called = deepcopy(network), Spread(device_mesh(Shape(asked.ranks), "cpu")).spread(network)
        work = partial(_trained, x, asked.steps)
    peak, pairs, answers = 0, [], {1: torch.zeros(()), asked.ranks: torch.zeros(())}
    for turn in range(asked.rounds + 1):
        if layout is not None and turn == 1:
            layout.traffic.clear()
        costs = {}
        for count in (1, asked.ranks)[:: -1 if turn % 2 else 1]:
            dist.barrier()
            first = turn == 0 and count > 1
            before = _resident() if first else 0
            begin, used = perf_counter(), process_time()
            if count > 1 or rank == 0:
                answers[count] = work(called if count > 1 else alone, rank, count)
            own = process_time() - used if count > 1 or rank == 0 else 0.0
            dist.barrier()
            seconds = perf_counter() - begin
            every = torch.tensor(own, dtype=torch.float64)
            dist.all_reduce(every)
            costs[count] = seconds, float(every)
            if first:
                peak = resident_peak() - before
        if turn:  # the first warms up
            pairs.append((costs[1], costs[asked.ranks]))
    found = _Found(pairs)
    one, all_of_it = answers.values()
    if layout is not None:
        calls = asked.rounds * asked.steps
        tallies = {kind: t for kind, t in layout.traffic.items() if kind != "plans"}
        for kind, t in tallies.items():
            most = torch.tensor([t.messages, t.bytes, t.seconds], dtype=torch.float64) / calls
            dist.all_reduce(most, dist.ReduceOp.MAX)
            messages, size, waited = most.tolist()
            found.sent[kind] = messages, size, waited
        last = torch.tensor(float(peak) if rank == asked.ranks - 1 else 0.0)
        dist.all_reduce(last)
        found.peak_mib = float(last) / (1 << 20)
        found.parts, found.load = layout.parts, _loads(layout)
        all_of_it = layout.gather(all_of_it, asked.frame.shape)
    found.difference = float((one - all_of_it).norm() / one.norm()) if rank == 0 else 0.0
    return found


def _cut(
    x: list[Tensor], steps: int, guided: bool, tiled: Tiled, network: nn.Module, number: int, count: int
) -> Tensor:
    """The answer to one member, or this rank's part of it; `guided`: the product of the derivative with ones."""
    layout = tiled if count > 1 else WHOLE
    rows, columns = layout.part(tiled.grid)
    fields = [t[..., rows, columns].clone() if t.ndim > 3 else t for t in x]
    state, *told = fields
    state.requires_grad_(guided)
    for _ in range(steps):
        with torch.set_grad_enabled(guided):
            y: Tensor = network(state, *told, layout=layout)
        if guided:
            (y,) = torch.autograd.grad(y, state, torch.ones_like(y))
    return y.detach()


def _resident() -> int:
    """Memory of this process now, from which on the peak is counted."""
    forget_peak()
    return resident_peak()


def _loads(layout: Tiled) -> dict[str, float]:
    """The most observations that a part owns, over the mean."""
    g, (h, w) = np.random.default_rng(0), layout.grid
    even = g.uniform(size=(10_000, 2)) * (h, w)
    centres = g.uniform(size=(4, 2)) * (h, w)
    dense = (centres[g.integers(4, size=10_000)] + 0.05 * w * g.standard_normal((10_000, 2))) % (h, w)
    found = {}
    for name, places in (("even", even), ("four clusters", dense)):
        row, column = places.astype(int).T
        own = torch.tensor(float(layout.owns(row, column, layout.grid).sum()))
        found[name] = float(layout.max(own) * layout.size / layout.sum(own))
    return found


def _drawn(x: list[Tensor], steps: int, network: nn.Module, number: int, count: int) -> Tensor:
    """The mean of the members, of which a rank draws every n-th."""
    state, *told = x
    total = torch.zeros_like(state[0, 0])
    with torch.no_grad():
        for member in range(number, len(state), count):
            one = slice(member, member + 1)
            planes = state[one].clone()
            for _ in range(steps):
                planes[:, 0] += network(planes, *(t[one] for t in told))
            total += planes[0, 0]
    if count > 1:
        dist.all_reduce(total)
    return total / len(state)


def _trained(x: list[Tensor], steps: int, network: nn.Module, number: int, count: int) -> Tensor:
    """A gradient of the batch, of which a rank has every n-th sample; weights stay as they are."""
    state, *told = x
    mine = slice(number, None, count)
    for _ in range(steps):
        network.zero_grad(set_to_none=True)
        y = network(state[mine], *(t[mine] for t in told))
        ((y - state[mine, 1]).square().sum() * count / len(state)).backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    return torch.cat([gradient.flatten() for gradient in gradients])
