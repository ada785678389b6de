"""Stage `bench train`: what a step of training costs, and how much of the machine it uses."""

__all__ = ["TrainCost", "train"]

from dataclasses import dataclass

import torch

from stormda.errors import ConfigError
from stormda.nn.flops import forward_flops
from stormda.nn.frame import untrained
from stormda.pipeline.alone import alone
from stormda.pipeline.bench_frame import COLUMNS, asked_frame, cost_row
from stormda.training.cost import Step, StepCost, measure_step
from stormda.types import Progress, silent


@dataclass(frozen=True)
class TrainCost:
    """What was measured; seconds and all after them are empty where nothing was run.

    Args:
        tokens: noisy tokens of a sample.
        tflop: model FLOPs of a step, three times a forward pass for every sample, in 10^12.
        peak_mib: memory of the whole process, or what torch has allocated on an accelerator.
        tokens_per_second: of all samples.
        share: model FLOPs a second beside those of a product of two large matrices in the same run.
    """

    preset: str
    shape: tuple[int, int]
    channels: int
    frames: int
    patch: int
    blocks: int
    batch: int
    steps: int
    device: str
    dtype: str
    threads: int
    tokens: int
    parameters: int
    tflop: float
    seconds_a_step: float | None = None
    peak_mib: float | None = None
    tokens_per_second: float | None = None
    gflops: float | None = None
    matrix_gflops: float | None = None
    share: float | None = None

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people."""
        title = (
            f"{self.preset}, {self.blocks} blocks, {self.parameters:,} parameters; {self.shape[0]} x {self.shape[1]}, "
            f"{self.channels} channels, {self.frames} frames, patch {self.patch}: {self.tokens:,} tokens; batch "
            f"{self.batch}, median of {self.steps} steps, {self.device}, {self.dtype}, {self.threads} threads"
        )
        seconds = "" if self.seconds_a_step is None else f"{self.seconds_a_step:.2f}"
        rates = self.peak_mib, self.tokens_per_second, self.gflops, self.matrix_gflops
        return title, ["s a step", *COLUMNS], [[seconds, *cost_row(self.tflop, rates, self.share)]]


def train(
    preset: str,
    shape: str = "64x64",
    *,
    channels: int = 2,
    frames: int = 1,
    patch: int = 2,
    blocks: int | None = None,
    batch: int = 4,
    steps: int = 5,
    device: str = "cpu",
    dtype: str = "float32",
    dry_run: bool = False,
    progress: Progress = silent,
) -> TrainCost:
    """Seconds, memory and FLOPs of a step on drawn fields.

    Args:
        preset, shape, channels, frames, patch, blocks, device, dtype: see `stormda.pipeline.bench_frame.frame`.
        batch: samples of a step.
        steps: that are timed, after two that are not.
        dry_run: only numbers of tokens, parameters and FLOPs.
        progress: told that it runs.

    Raises:
        ConfigError: an argument that is none.
        StormdaError: the measurement failed, as where memory runs out.
    """
    frame = asked_frame(preset, shape, channels, frames, patch, blocks, "backward", device, dtype)
    if wrong := [name for name, value in (("batch", batch), ("steps", steps)) if value < 1]:
        raise ConfigError(f"{wrong[0]} must be at least 1", key=f"--{wrong[0]}")
    with torch.device("meta"):
        network = untrained(frame)
    flops = 3 * batch * forward_flops(network)
    rows, columns = network.patches.count
    tokens, parameters = rows * columns, sum(p.numel() for p in network.parameters())
    size = (frame.shape, channels, frames, patch, frame.blocks, batch, steps, device, dtype)
    facts = (preset, *size, torch.get_num_threads(), tokens, parameters, flops / 1e12)
    if dry_run:
        return TrainCost(*facts)
    progress("bench train", 0, 1)
    cost: StepCost = alone(measure_step, Step(frame, batch, steps), f"a step of {batch} samples", "a smaller --batch")
    progress("bench train", 1, 1)
    rate = flops / cost.seconds
    measured = (cost.seconds, cost.peak_mib, batch * tokens / cost.seconds, rate / 1e9, cost.matrix_rate / 1e9)
    return TrainCost(*facts, *measured, rate / cost.matrix_rate)
