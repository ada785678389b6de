"""Stage `bench scaling`: the same job on one rank and on N, turn by turn.

N processes of this machine are started once and meet through Gloo. A job is

    ensemble   M members of an untrained network, `steps` calls each, divided in micro-batches of one, and their mean
    training   a step on M samples, gradients averaged (`stormda.distributed.parallelize`)

In every round the first process does all of it alone, while the others wait without working, then all of them together;
the time is that of the slowest. What other work on the machine does to both of a pair is alike, so the ratio

    T(1 rank) / T(N ranks)

is taken of each pair, and its median and quartiles are told. Where N ranks share the cores that one has to itself, a
ratio of 1 is the best that can be.
"""

__all__ = ["KINDS", "ScalingResult", "Scaling", "scaling"]

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import FileStore

from stormda.distributed.mesh import Shape, device_mesh
from stormda.distributed.parallelize import Spread
from stormda.errors import ConfigError, StormdaError
from stormda.nn.frame import Frame, draw, untrained
from stormda.pipeline.bench_frame import asked_frame
from stormda.types import Progress, silent

KINDS = ("ensemble", "training")
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
    """A number of ranks: seconds on one and on all (medians), their ratio (quartiles), how far the answers differ."""

    ranks: int
    alone: float
    together: float
    ratio: float
    lower: float
    upper: float
    difference: float


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
        columns = ["ranks", "s on one", "s on all", "ratio", "quartiles", "answers differ by"]
        lines = [
            [str(r.ranks), f"{r.alone:.3f}", f"{r.together:.3f}", f"{r.ratio:.3f}", f"{r.lower:.3f}..{r.upper:.3f}",
             f"{r.difference:.1e}"]
            for r in self.rows
        ]  # fmt: skip
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
    dry_run: bool = False,
    progress: Progress = silent,
) -> ScalingResult:
    """Measure every number of ranks beside one.

    Args:
        preset, shape: of the network and its fields.
        kind: of `KINDS`.
        ranks: how many.
        members: of the ensemble, or samples of a step.
        steps: calls a member, or steps of training in a turn.
        rounds: pairs.
        dry_run: start nothing.
        progress: told about each number of ranks.

    Raises:
        ConfigError: an argument that is none.
        StormdaError: a rank failed.
    """
    frame = asked_frame(preset, shape, 2, 1, 2, None, "forward", "cpu", "float32")
    if kind not in KINDS:
        raise ConfigError(f"unknown kind '{kind}'", key="--kind", hint=f"one of {', '.join(KINDS)}")
    if not ranks or min(ranks) < 2 or max(ranks) > members:
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
    pairs, difference = _started(asked)
    ratios = [alone / together for alone, together in pairs]
    lower, middle, upper = quantiles(ratios, n=4, method="inclusive")
    alone, together = (median(column) for column in zip(*pairs, strict=True))
    return Row(asked.ranks, alone, together, middle, lower, upper, difference)


def _started(asked: Scaling) -> tuple[list[tuple[float, float]], float]:
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
    pairs: list[tuple[float, float]]
    pairs, difference = answers[0]
    return pairs, difference


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


def _pairs(asked: Scaling, rank: int) -> tuple[list[tuple[float, float]], float]:
    """Seconds of each pair, and how far apart the answers are, relatively."""
    torch.manual_seed(0)
    network = untrained(asked.frame)
    nn.init.normal_(network.head.weight, std=1e-3)
    x = draw(asked.frame, asked.members)
    work: Callable[[nn.Module, int, int], Tensor]
    alone: nn.Module = network
    called: nn.Module = network
    if asked.kind == "ensemble":
        work = partial(_drawn, x, asked.steps)
    else:
        alone, called = deepcopy(network), Spread(device_mesh(Shape(asked.ranks), "cpu")).spread(network)
        work = partial(_trained, x, asked.steps)
    pairs, answers = [], [torch.zeros(()), torch.zeros(())]
    for turn in range(asked.rounds + 1):
        seconds = []
        for which, count in enumerate((1, asked.ranks)):
            dist.barrier()
            begin = perf_counter()
            if count > 1 or rank == 0:
                answers[which] = work(called if count > 1 else alone, rank, count)
            dist.barrier()
            seconds.append(perf_counter() - begin)
        if turn:  # the first warms up
            pairs.append((seconds[0], seconds[1]))
    one, all_of_it = answers
    return pairs, float((one - all_of_it).norm() / one.norm()) if rank == 0 else 0.0


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
