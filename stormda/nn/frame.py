"""What a whole frame costs: the network over all tokens of one state, in this process.

The network is `Storm` with drawn weights and fields; `forward` is one pass without gradients, `backward` a forward pass
and the gradients of state and weights. Its rate is set beside the rate of plain matrix products, measured in the same
run before and after: the share says how much of the machine the network uses. Memory is that of the whole process on a
processor, and what torch has allocated on an accelerator.
"""

__all__ = ["Frame", "FrameCost", "draw", "matrix_rate", "measure_frame", "untrained"]

from dataclasses import dataclass

import torch
from torch import Tensor

from stormda.nn.measure import Direction, forget_peak, resident_peak, timed
from stormda.nn.storm import Storm

_STATIC = 5  # fields of `stormda.nn.embedding.static_fields`
_STATE = 5  # planes
_MATRIX = {"cpu": 2048, "cuda": 8192}  # rows: some tenths of a second, some milliseconds
_MIB = 1 << 20


@dataclass(frozen=True)
class Frame:
    """What is to be measured.

    Args:
        shape: (H, W), on a globe: columns wrap.
        channels, frames: of the state, and history frames.
        patch, width, blocks, heads, latents, tile, halo: of the network.
        direction: see above.
        device: of torch.
        dtype: `float32` or `bfloat16`.
    """

    shape: tuple[int, int]
    channels: int
    frames: int
    patch: int
    width: int
    blocks: int
    heads: int
    latents: int
    tile: int
    halo: int
    direction: Direction = "forward"
    device: str = "cpu"
    dtype: str = "float32"


@dataclass(frozen=True)
class FrameCost:
    """Wall time in s, peak memory in MiB, and the rate of matrix products in FLOP/s."""

    seconds: float
    peak_mib: float
    matrix_rate: float


def untrained(frame: Frame) -> Storm:
    """The network of a frame, on the device that torch builds on."""
    size = {k: getattr(frame, k) for k in ("patch", "width", "blocks", "heads", "latents", "tile", "halo", "frames")}
    static = torch.ones(_STATIC + frame.channels, *frame.shape)
    return Storm(frame.channels, frame.shape, static, periodic=(False, True), **size)


def measure_frame(frame: Frame) -> FrameCost:
    """Measure once; honest only in a process that has done nothing else."""
    device, dtype = torch.device(frame.device), getattr(torch, frame.dtype)
    torch.manual_seed(0)
    network = untrained(frame).to(device, dtype)
    x = draw(frame)
    rate = matrix_rate(device, dtype)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    forget_peak()
    seconds = timed(lambda: _pass(network, x, frame.direction), device)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else resident_peak()
    return FrameCost(seconds, peak / _MIB, max(rate, matrix_rate(device, dtype)))


def draw(frame: Frame, batch: int = 1) -> list[Tensor]:
    """Arguments of the network, for so many samples."""
    device, dtype = torch.device(frame.device), getattr(torch, frame.dtype)
    c, k, shape = frame.channels, frame.frames, frame.shape
    mean, error = torch.randn(batch, k, c, *shape), torch.full((batch, k, c, *shape), 0.3)
    floats = [torch.randn(batch, _STATE, c, *shape), torch.zeros(batch), mean, error]
    season = torch.zeros(batch, 4)
    there = torch.ones(batch, k, dtype=torch.bool, device=device)
    return [*(f.to(device, dtype) for f in floats), there, season.to(device, dtype)]


def _pass(network: Storm, x: list[Tensor], direction: Direction) -> None:
    if direction == "forward":
        with torch.no_grad():
            network(*x)
        return
    state = x[0].requires_grad_()
    y = network(state, *x[1:])
    torch.autograd.grad(y, [state, *network.parameters()], torch.ones_like(y))


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the product of two square matrices; the fastest of a few."""
    n = _MATRIX.get(device.type, _MATRIX["cuda"])
    a = torch.randn(n, n, device=device, dtype=dtype)
    return 2 * n**3 / min(timed(lambda: a @ a, device) for _ in range(4))
