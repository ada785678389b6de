"""What one attention layer costs: time and memory of self-attention over n tokens, in this process.

The layer is `Attention` as a block uses it: projections, normalisation, rotation, and

    storm     tiles and latents, gated: linear in n
    softmax   everything with everything, by the fused kernel of torch, which keeps no scores: time n^2, memory n

on a nearly square grid that wraps along its rows, with weights and tokens that are drawn. `forward` is the layer
without gradients, as sampling uses it. `backward` is the time of the gradients of all tokens and weights after a
forward pass; its memory is the peak of both passes.
"""

__all__ = ["Cost", "Direction", "Kind", "Probe", "forget_peak", "measure", "resident_peak", "timed"]

import math
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from stormda.nn.attention import Attention, rotary
from stormda.nn.tiles import layer_tiles

Kind: TypeAlias = Literal["storm", "softmax"]
Direction: TypeAlias = Literal["forward", "backward"]

_WARM_UP = 1024  # tokens: kernels are loaded, pools of threads and of memory are there
_MIB = 1 << 20


@dataclass(frozen=True)
class Probe:
    """What is to be measured.

    Args:
        kind, direction: see above.
        tokens: n.
        width, heads, latents, tile, halo: of the layer; softmax has neither latents nor tiles.
        device: of torch.
        dtype: `float32` or `bfloat16`.
        repeats: the fastest counts.
    """

    kind: Kind
    direction: Direction
    tokens: int
    width: int
    heads: int
    latents: int
    tile: int
    halo: int
    device: str = "cpu"
    dtype: str = "float32"
    repeats: int = 3


@dataclass(frozen=True)
class Cost:
    """Of one pass: fastest wall time in s, and peak memory in MiB above that of the idle layer; tokens included."""

    seconds: float
    peak_mib: float


def measure(probe: Probe) -> Cost:
    """Measure; honest only in a process that has done nothing else, since memory once used may be used again."""
    torch.manual_seed(0)
    _times(probe, min(_WARM_UP, probe.tokens), 1)
    peak = _peak_of(torch.device(probe.device))
    seconds = min(_times(probe, probe.tokens, probe.repeats))
    return Cost(seconds, peak() / _MIB)


def _times(probe: Probe, tokens: int, repeats: int) -> list[float]:
    device, dtype = torch.device(probe.device), getattr(torch, probe.dtype)
    rows = max(d for d in range(1, math.isqrt(tokens) + 1) if tokens % d == 0)
    shape = rows, tokens // rows
    tiles = layer_tiles(1, shape, (False, True), probe.tile, probe.halo) if probe.kind == "storm" else None
    layer = Attention(probe.width, probe.heads, probe.latents if tiles else 0, tiles).to(device, dtype)
    places = torch.cartesian_prod(*(torch.arange(n) for n in shape))
    turns = rotary(places, (None, float(shape[1])), probe.width // probe.heads).to(device, dtype)
    angles = turns.cos(), turns.sin()
    x = torch.randn(1, tokens, probe.width, device=device, dtype=dtype)
    run = _forward if probe.direction == "forward" else _backward
    return [run(layer, x, angles, device) for _ in range(repeats)]


def _forward(layer: Attention, x: Tensor, angles: tuple[Tensor, Tensor], device: torch.device) -> float:
    with torch.no_grad():
        return timed(lambda: layer(x, x, angles, angles), device)


def _backward(layer: Attention, x: Tensor, angles: tuple[Tensor, Tensor], device: torch.device) -> float:
    x = x.requires_grad_()
    y = layer(x, x, angles, angles)
    sources, cotangent = [x, *layer.parameters()], torch.ones_like(y)
    return timed(lambda: torch.autograd.grad(y, sources, cotangent), device)


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of some work, in s."""
    _wait(device)
    start = perf_counter()
    work()
    _wait(device)
    return perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_of(device: torch.device) -> Callable[[], int]:
    """From now on: how far memory rises, in bytes."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        allocated = torch.cuda.memory_allocated(device)
        return lambda: torch.cuda.max_memory_allocated(device) - allocated
    forget_peak()
    before = resident_peak()
    return lambda: resident_peak() - before


def forget_peak() -> None:
    """Linux counts a new peak from now on, where it is allowed to."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def resident_peak() -> int:
    """Largest resident memory of this process, in bytes.

    Not ru_maxrss where there is a better source: Linux hands the parent's on to a child.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
