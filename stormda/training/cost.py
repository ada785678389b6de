"""What a step of training costs, in this process: loss, gradients, clipping, AdamW, running average of the weights.

The network is `Storm` with drawn weights and fields (`stormda.nn.frame`), its objective a mean square. In bfloat16 the
weights stay in float32 and products run in bfloat16 (autocast), on an accelerator. Two steps come before those that are
timed; the median of these counts. Its rate is set beside that of plain matrix products of the same precision.
"""

__all__ = ["Step", "StepCost", "measure_step"]

from contextlib import nullcontext
from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import Tensor, nn

from stormda.nn.frame import Frame, draw, matrix_rate, untrained
from stormda.nn.measure import forget_peak, resident_peak, timed

_WARM_UP = 2
_MIB = 1 << 20


@dataclass(frozen=True)
class Step:
    """What is to be measured: a network and its fields, samples of a batch, steps that are timed."""

    frame: Frame
    batch: int = 1
    steps: int = 5


@dataclass(frozen=True)
class StepCost:
    """Median wall time of a step in s, peak memory in MiB, and the rate of matrix products in FLOP/s."""

    seconds: float
    peak_mib: float
    matrix_rate: float


def measure_step(step: Step) -> StepCost:
    """Measure; honest only in a process that has done nothing else."""
    frame = step.frame
    device, dtype = torch.device(frame.device), getattr(torch, frame.dtype)
    torch.manual_seed(0)
    network = untrained(frame).to(device)
    x = draw(replace(frame, dtype="float32"), step.batch)
    target = torch.randn(step.batch, frame.channels, *frame.shape, device=device)
    optimiser = torch.optim.AdamW(network.parameters())
    average = [p.detach().clone() for p in network.parameters()]
    rate = matrix_rate(device, dtype)
    forget_peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)

    def one() -> None:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=dtype) if dtype != torch.float32 else nullcontext():
            y: Tensor = network(*x)
        (y.float() - target).square().mean().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, list(network.parameters()), 1e-3)

    seconds = [timed(one, device) for _ in range(_WARM_UP + step.steps)][_WARM_UP:]
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else resident_peak()
    return StepCost(median(seconds), peak / _MIB, max(rate, matrix_rate(device, dtype)))
