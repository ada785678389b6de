"""Stage `bench attention`: does the cost of attention grow as it should?

Every row is measured in a process of its own (`stormda.nn.measure`). Softmax over everything is measured up to a number
of tokens that one is willing to wait for. Beyond it, from the largest one measured, its time is extrapolated by n^2 and
its memory by n (the fused kernel keeps no matrix of scores), and the row says so.
"""

__all__ = ["BenchResult", "Row", "attention"]

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from stormda.config.presets import PRESETS
from stormda.errors import ConfigError
from stormda.nn.measure import Cost, Direction, Kind, Probe, measure
from stormda.pipeline.alone import alone, check_device
from stormda.types import Progress, silent

_KINDS: tuple[Kind, ...] = ("storm", "softmax")
_DIRECTIONS: tuple[Direction, ...] = ("forward", "backward")


@dataclass(frozen=True)
class Row:
    """One measurement; seconds and peak_mib are empty where nothing was run."""

    kind: Kind
    tokens: int
    seconds: float | None
    peak_mib: float | None
    direction: Direction
    extrapolated: bool


@dataclass(frozen=True)
class BenchResult:
    """What was measured, on what, and the rows."""

    layer: str
    preset: str
    width: int
    heads: int
    latents: int
    tile: int
    halo: int
    device: str
    dtype: str
    threads: int
    repeats: int
    rows: tuple[Row, ...]

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people: with the cost of a token, and how many times faster than softmax."""
        title = (
            f"{self.layer}, {self.preset}: width {self.width}, {self.heads} heads; storm: {self.latents} latents, "
            f"tiles of {self.tile} x {self.tile}, halo {self.halo}; {self.device}, {self.dtype}, {self.threads} threads"
        )
        columns = ["direction", "kind", "tokens", "s", "us/token", "MiB", "KiB/token", "softmax/storm", ""]
        softmax = {(r.direction, r.tokens): r.seconds for r in self.rows if r.kind == "softmax"}
        lines = []
        for r in self.rows:
            cells = ["", "", "", "", ""]
            if r.seconds is not None and r.peak_mib is not None:
                other = softmax.get((r.direction, r.tokens)) if r.kind == "storm" else None
                cells = [
                    f"{r.seconds:.3f}",
                    f"{1e6 * r.seconds / r.tokens:.1f}",
                    f"{r.peak_mib:.0f}",
                    f"{1024 * r.peak_mib / r.tokens:.1f}",
                    f"{other / r.seconds:.1f}" if other else "",
                ]
            lines.append([r.direction, r.kind, str(r.tokens), *cells, "extrapolated" if r.extrapolated else ""])
        return title, columns, lines


def attention(
    preset: str,
    tokens: Sequence[int],
    *,
    tile: int | None = None,
    halo: int | None = None,
    latents: int | None = None,
    softmax_up_to: int = 16384,
    repeats: int = 3,
    device: str = "cpu",
    dtype: str = "float32",
    dry_run: bool = False,
    progress: Progress = silent,
) -> BenchResult:
    """Time and peak memory of one self-attention layer of a preset, beside softmax over everything.

    Args:
        preset: a name of `PRESETS`.
        tokens: numbers of tokens.
        tile, halo, latents: instead of the preset's.
        softmax_up_to: tokens up to which softmax is measured.
        repeats: the fastest counts.
        device, dtype: of torch.
        dry_run: only the list of rows.
        progress: told about each row.

    Raises:
        ConfigError: a preset, number, device or precision that is none.
        StormdaError: a measurement failed, as where memory runs out.
    """
    chosen = {"tile": tile, "halo": halo, "latents": latents}
    base = _probe(preset, {k: v for k, v in chosen.items() if v is not None}, device, dtype, repeats)
    counts = sorted(set(tokens))
    if not counts or counts[0] < 1 or softmax_up_to < 1:
        raise ConfigError("numbers of tokens are positive", hint="--tokens 4096 16384")
    probes = [
        replace(base, kind=kind, direction=direction, tokens=n)
        for direction in _DIRECTIONS
        for kind in _KINDS
        for n in counts
    ]
    largest = max((n for n in counts if n <= softmax_up_to), default=softmax_up_to)
    costs: dict[Probe, Cost] = {}
    rows = []
    for done, probe in enumerate(probes):
        beyond = probe.kind == "softmax" and probe.tokens > softmax_up_to
        source = replace(probe, tokens=largest) if beyond else probe
        if not dry_run and source not in costs:
            progress(f"{probe.direction} {probe.kind}", done, len(probes))
            costs[source] = _alone(source)
        rows.append(_row(probe, costs.get(source), source.tokens))
    if not dry_run:
        progress("bench attention", len(probes), len(probes))
    own = (base.width, base.heads, base.latents, base.tile, base.halo)
    return BenchResult(
        "one self-attention layer", preset, *own, device, dtype, torch.get_num_threads(), repeats, tuple(rows)
    )


def _probe(preset: str, chosen: dict[str, int], device: str, dtype: str, repeats: int) -> Probe:
    if preset not in PRESETS:
        raise ConfigError(f"there is no preset {preset}", key="--preset", hint=f"one of {', '.join(PRESETS)}")
    if wrong := [k for k, v in chosen.items() if v < (1 if k == "tile" else 0)]:
        raise ConfigError(f"{wrong[0]} is too small", key=f"--{wrong[0]}")
    if repeats < 1:
        raise ConfigError("at least one measurement is needed", key="--repeats")
    check_device(device, dtype)
    size = {k: v for k, v in PRESETS[preset].arguments().items() if k != "blocks"} | chosen
    return Probe("storm", "forward", 1, **size, device=device, dtype=dtype, repeats=repeats)


def _alone(probe: Probe) -> Cost:
    return alone(measure, probe, f"{probe.kind} {probe.direction} of {probe.tokens} tokens", "fewer --tokens")


def _row(probe: Probe, cost: Cost | None, measured: int) -> Row:
    factor = probe.tokens / measured
    seconds, peak = (None, None) if cost is None else (cost.seconds * factor**2, cost.peak_mib * factor)
    return Row(probe.kind, probe.tokens, seconds, peak, probe.direction, measured != probe.tokens)
