"""Stage `bench frame`: one state of the whole globe through the network, and how much of the machine that uses."""

__all__ = ["COLUMNS", "FrameResult", "asked_frame", "cost_row", "frame", "points_of"]

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from stormda.config.presets import PRESETS
from stormda.errors import ConfigError
from stormda.nn.flops import forward_flops
from stormda.nn.frame import Frame, FrameCost, measure_frame, untrained
from stormda.nn.measure import Direction
from stormda.pipeline.alone import alone, check_device
from stormda.types import Progress, silent

COLUMNS = ("peak MiB", "tokens/s", "model TFLOP", "GFLOP/s", "of matrix products", "share")
_DIRECTIONS: dict[str, Direction] = {"forward": "forward", "backward": "backward"}


@dataclass(frozen=True)
class FrameResult:
    """What was measured; seconds and all after them are empty where nothing was run.

    Args:
        tokens: noisy tokens that enter the blocks.
        parameters: of the network.
        tflop: model FLOPs, in 10^12.
        peak_mib: memory of the whole process, or what torch has allocated on an accelerator.
        gflops: model FLOPs in a second, in 10^9.
        matrix_gflops: those of a product of two large matrices, in the same run.
        share: of the two.
    """

    preset: str
    shape: tuple[int, int]
    channels: int
    frames: int
    patch: int
    blocks: int
    direction: Direction
    device: str
    dtype: str
    threads: int
    tokens: int
    parameters: int
    tflop: float
    seconds: float | None = None
    peak_mib: float | None = None
    tokens_per_second: float | None = None
    gflops: float | None = None
    matrix_gflops: float | None = None
    share: float | None = None

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people."""
        title = (
            f"{self.preset}, {self.blocks} blocks, {self.parameters:,} parameters; {self.shape[0]} x {self.shape[1]}, "
            f"{self.channels} channels, {self.frames} frames, patch {self.patch}: {self.tokens:,} tokens; "
            f"{self.direction}, {self.device}, {self.dtype}, {self.threads} threads"
        )
        seconds = "" if self.seconds is None else f"{self.seconds:.1f}"
        rates = self.peak_mib, self.tokens_per_second, self.gflops, self.matrix_gflops
        return title, ["s", *COLUMNS], [[seconds, *cost_row(self.tflop, rates, self.share)]]


def frame(
    preset: str,
    shape: str = "721x1440",
    *,
    channels: int = 6,
    frames: int = 2,
    patch: int = 2,
    blocks: int | None = None,
    direction: str = "forward",
    device: str = "cpu",
    dtype: str = "float32",
    dry_run: bool = False,
    progress: Progress = silent,
) -> FrameResult:
    """Time, memory and FLOPs of one frame through an untrained network, in pieces.

    Args:
        preset: a name of `PRESETS`.
        shape: rows x columns of points.
        channels, frames: of the state, and history frames.
        patch: points of a token along an axis.
        blocks: instead of the preset's; time grows in proportion, memory does not (forward).
        direction: `forward`, or `backward` for a forward pass and all gradients.
        device, dtype: of torch.
        dry_run: only numbers of tokens, parameters and FLOPs.
        progress: told that it runs.

    Raises:
        ConfigError: an argument that is none.
        StormdaError: the measurement failed, as where memory runs out.
    """
    asked = asked_frame(preset, shape, channels, frames, patch, blocks, direction, device, dtype)
    with torch.device("meta"):
        network = untrained(asked)
    flops = forward_flops(network) * (3 if asked.direction == "backward" else 1)
    rows, columns = network.patches.count
    tokens, parameters = rows * columns, sum(p.numel() for p in network.parameters())
    size = (asked.shape, channels, frames, patch, asked.blocks, asked.direction, device, dtype)
    facts = (preset, *size, torch.get_num_threads(), tokens, parameters, flops / 1e12)
    if dry_run:
        return FrameResult(*facts)
    progress("bench frame", 0, 1)
    cost: FrameCost = alone(measure_frame, asked, f"a frame of {tokens} tokens", "a larger --patch")
    progress("bench frame", 1, 1)
    rate = flops / cost.seconds
    measured = (cost.seconds, cost.peak_mib, tokens / cost.seconds, rate / 1e9, cost.matrix_rate / 1e9)
    return FrameResult(*facts, *measured, rate / cost.matrix_rate)


def cost_row(tflop: float, rates: Sequence[float | None], share: float | None) -> list[str]:
    """Cells below `COLUMNS`; `rates`: peak memory, tokens a second, GFLOP a second, those of matrix products."""
    cells = ["" if value is None else f"{value:,.0f}" for value in rates]
    return [*cells[:2], f"{tflop:.2f}", *cells[2:], "" if share is None else f"{share:.0%}"]


def points_of(shape: str) -> tuple[int, int]:
    """Rows and columns of `721x1440`; raises ConfigError."""
    points = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", shape)
    if points is None:
        raise ConfigError(f"'{shape}' is no shape", key="--shape", hint="rows x columns: --shape 721x1440")
    return int(points[1]), int(points[2])


def asked_frame(
    preset: str,
    shape: str,
    channels: int,
    frames: int,
    patch: int,
    blocks: int | None,
    direction: str,
    device: str,
    dtype: str,
) -> Frame:
    """What is to be measured; raises ConfigError for an argument that is none."""
    if preset not in PRESETS:
        raise ConfigError(f"there is no preset {preset}", key="--preset", hint=f"one of {', '.join(PRESETS)}")
    size = PRESETS[preset].arguments() | ({} if blocks is None else {"blocks": blocks})
    grid = points_of(shape)
    counts = {"channels": channels, "frames": frames, "patch": patch, "blocks": size["blocks"]}
    if wrong := [name for name, value in counts.items() if value < 1]:
        raise ConfigError(f"{wrong[0]} must be at least 1", key=f"--{wrong[0]}")
    if direction not in _DIRECTIONS:
        raise ConfigError(f"'{direction}' is no direction", key="--direction", hint="forward or backward")
    check_device(device, dtype)
    return Frame(grid, channels, frames, patch, **size, direction=_DIRECTIONS[direction], device=device, dtype=dtype)
