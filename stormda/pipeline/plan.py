"""Stage `plan`: memory, time and traffic of a job that nobody has run yet, from a laptop to a machine room.

A job is an analysis of M members (a background without guidance and a posterior with it, `steps` calls each) or one
step of training; what it costs: `stormda.pipeline.plan_cost`. Efficiency is G0 t(G0) / (G t(G)), with G0 the fewest
ranks that hold the job. Everything that a plan rests on is printed with it.
"""

__all__ = ["PlanResult", "assumed", "described", "plan"]

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import ValidationError

from stormda.config.machines import MACHINES, Machine
from stormda.config.presets import PRESETS
from stormda.errors import ConfigError, InputMissing
from stormda.nn.storm import Storm
from stormda.pipeline.fit import Fit, read_measurements
from stormda.pipeline.fit import fit as least_squares
from stormda.pipeline.plan_cost import Asked, Costs, Row, Task
from stormda.pipeline.room import COPIES, HELD
from stormda.pipeline.work import Work, network_work
from stormda.types import Progress, silent

_STATIC = 5  # fields of `stormda.nn.embedding.static_fields`
_LONG = 8  # frames of a window, from which on another one costs as much as the one before
_OF_PAPER = 0.63  # strong scaling that STORM reports at 32,768 GPUs


@dataclass(frozen=True)
class PlanResult:
    """All rows, and all that they rest on."""

    machine: str
    preset: str
    task: Task
    parameters: int
    tokens: int
    tflop: float
    rows: tuple[Row, ...]
    assumptions: tuple[str, ...]

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people; assumptions above."""
        what = f"{self.preset} ({self.parameters:,} parameters), {self.tokens:,} noisy tokens a member, {self.task}"
        title = "\n".join([f"{what}, {self.tflop:,.3g} TFLOP a call; {self.machine}", *self.assumptions])
        columns = [
            "ranks",
            "ens x tile x shard",
            "GiB",
            "s",
            "compute",
            "talk",
            "storage",
            "efficiency",
            "tokens/s",
            "",
        ]
        lines = [
            [f"{r.ranks:,}", f"{r.ensemble} x {r.tile} x {r.shard}", f"{r.memory_gib:.3g}", f"{r.seconds:.3g}",
             f"{r.compute:.3g}", f"{r.communication:.2g}", f"{r.storage:.2g}", f"{r.efficiency:.0%}",
             f"{r.tokens_per_second:.3g}", r.bottleneck]
            for r in self.rows
        ]  # fmt: skip
        return title, columns, lines


def described(name: str) -> Machine:
    """A machine of `MACHINES`, or the one that a YAML file describes.

    Raises:
        ConfigError: there is none, or the file does not describe one.
        InputMissing: no such file.
    """
    if name in MACHINES:
        return MACHINES[name]
    path = Path(name)
    if not path.is_file():
        hint = f"one of {', '.join(MACHINES)}, or a file as docs/plan.md says"
        if path.suffix:
            raise InputMissing("the file of a machine is not there", file=path, key="--machine", hint=hint)
        raise ConfigError(f"there is no machine {name}", key="--machine", hint=hint)
    try:
        return Machine.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (ValidationError, yaml.YAMLError, UnicodeDecodeError) as error:
        where, what = "", "no YAML"
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False)[0]
            where, what = ".".join(str(part) for part in first["loc"]), first["msg"].lower()
        raise ConfigError(
            f"the file does not describe a machine: {what}",
            file=path,
            key=where or "--machine",
            hint="see docs/plan.md",
        ) from error


def plan(
    asked: Asked,
    machine: Machine,
    ranks: Sequence[int],
    *,
    fit: Sequence[Path] = (),
    progress: Progress = silent,
) -> PlanResult:
    """Every number of ranks.

    Args:
        asked: the job.
        machine: where.
        ranks: how many; each at most what the machine has.
        fit: files of measurements on this machine, for its rates; none: its peaks times the shares that it assumes.
        progress: told about rows.

    Raises:
        ConfigError: a number that is none, or a job that the ranks cannot hold.
        InputError: measurements that are none, or too few.
    """
    _check(asked, machine, ranks)
    fitted = least_squares(read_measurements(fit)) if fit else None
    facts = Costs.of(asked, *_counted(asked), machine, fitted or assumed(machine))
    rows = []
    least = facts.least()
    base = facts.row(least)
    for number, count in enumerate(ranks):
        progress("plan", number, len(ranks))
        if count < least:
            what = f"{count} ranks of {machine.memory_gib:g} GiB do not hold this job, which takes {least}"
            raise ConfigError(what, key="--ranks", hint="more ranks, a larger --patch or a smaller --preset")
        row = facts.row(count)
        rows.append(replace(row, efficiency=base.seconds * base.ranks / (row.seconds * count)))
    progress("plan", len(ranks), len(ranks))
    tokens = facts.tokens
    flop = facts.call.flops / 1e12
    told = _assumptions(asked, machine, facts, least, fitted, any(row.tile > 1 for row in rows))
    return PlanResult(machine.name, asked.preset, asked.task, facts.parameters, tokens, flop, tuple(rows), told)


def assumed(machine: Machine) -> Fit:
    """Rates of a machine on which nothing was measured: its peaks, and the shares of them that it assumes."""
    peak, size = machine.matrix_tflops * 1e12, machine.bytes_per_number
    inverse = (
        1 / (peak * machine.matrix_share),
        1 / (peak * machine.attention_share),
        size / (machine.memory_gbps * 1e9 * machine.memory_share),
        size / (machine.memory_gbps * 1e9 * machine.memory_share),
        machine.call_us * 1e-6,
    )
    return Fit(inverse, 0, (math.nan, math.nan), peak)


def _check(asked: Asked, machine: Machine, ranks: Sequence[int]) -> None:
    if asked.preset not in PRESETS:
        raise ConfigError(f"there is no preset {asked.preset}", key="--preset", hint=f"one of {', '.join(PRESETS)}")
    counts = ("channels", "frames", "window", "patch", "members", "steps", "batch")
    if wrong := [name for name in counts if getattr(asked, name) < 1]:
        option = {"members": "--ensemble"}.get(wrong[0], f"--{wrong[0]}")
        raise ConfigError(f"{wrong[0]} must be at least 1", key=option)
    if asked.patch > min(asked.shape):
        raise ConfigError(f"patches of {asked.patch} points on {asked.shape[0]} x {asked.shape[1]}", key="--patch")
    if not ranks or min(ranks) < 1 or max(ranks) > machine.ranks:
        what = f"{machine.name} has 1 to {machine.ranks} ranks"
        raise ConfigError(what, key="--ranks", hint="another --machine, or a description of yours")


def _counted(asked: Asked) -> tuple[Storm, Work]:
    """The network, without storage, and the work of a call; of a long window from two short ones."""
    most = min(asked.window, _LONG + 1)
    with torch.device("meta"):
        network = _network(replace(asked, window=most))
        work = network_work(network)
        if asked.window > most:  # every frame more is as much work: each sees the ones beside it
            more = work + network_work(_network(replace(asked, window=_LONG))) * -1.0
            work += more * float(asked.window - most)
    return network, work


def _network(asked: Asked) -> Storm:
    size: dict[str, Any] = PRESETS[asked.preset].arguments() | (
        {} if asked.blocks is None else {"blocks": asked.blocks}
    )
    static = torch.ones(_STATIC + asked.channels, *asked.shape)
    return Storm(asked.channels, asked.shape, static, periodic=(False, True), frames=asked.frames, patch=asked.patch,
                 window=asked.window, **size)  # fmt: skip


def _assumptions(
    asked: Asked, machine: Machine, facts: Costs, least: int, fitted: Fit | None, cut: bool
) -> tuple[str, ...]:
    """Every one, a line each."""
    a, b, c, d, e = facts.fit.inverse
    if fitted:
        middle, most = fitted.error
        source = f"fitted to {fitted.rows} measurements, off by {middle:.0%} (median) and {most:.0%} (most)"
    else:
        source = (
            f"assumed, not measured: {machine.matrix_share:.0%}, {machine.attention_share:.0%} and "
            f"{machine.memory_share:.0%} of peaks of {machine.matrix_tflops:g} TFLOP/s and {machine.memory_gbps:g} GB/s"
        )
    rates = (
        f"products {_rate(a, 1e-12)} TFLOP/s, attention {_rate(b, 1e-12)} TFLOP/s, tokens {_rate(c, 1e-9)} and weights "
        f"{_rate(d, 1e-9)} Gnumbers/s, {1e6 * e:.3g} us a call of a stream"
    )
    told = [
        f"rates of a rank, {source}: {rates}",
        f"links: {machine.node_gbps:g} GB/s and {machine.node_latency_us:g} us within {machine.ranks_per_node} ranks, "
        f"{machine.network_gbps:g} GB/s and {machine.network_latency_us:g} us beyond, without contention; storage "
        f"{machine.storage_gbps:g} GB/s; nothing is hidden behind work; no rank waits for a slower one",
        f"memory {machine.memory_gib:g} GiB a rank, {machine.bytes_per_number} bytes a number of a token; "
        f"{COPIES:g} copies of the tokens, {HELD:g} a block where a graph is kept",
        f"efficiency against {least} ranks, the fewest that hold the job; STORM reports {_OF_PAPER:.0%} of strong "
        "scaling at 32,768 GPUs, from a number of them that is not known here",
    ]
    if asked.task == "analysis":
        told.append(
            f"{asked.members:,} members, {asked.batch} at a time; {asked.steps} calls without guidance (background), "
            f"{asked.steps} with {asked.products} products of the derivative each; {asked.observations:,} observations"
        )
    else:
        told.append(f"one step of training, batch {asked.batch}; a step is four forward passes")
        if cut:
            told.append("a sample is cut over ranks, which training cannot do yet")
    if asked.window > 1:
        told.append(
            f"windows of {asked.window:,} frames are cut over ranks in time as well, which the program cannot do yet"
        )
    return tuple(told)


def _rate(inverse: float, unit: float) -> str:
    return f"{unit / inverse:.3g}" if inverse > 0 else "free"
