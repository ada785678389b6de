"""`stormda bench train`, `io` and `scaling`: what a machine makes of a training, of files and of several processes."""

__all__ = ["io", "scaling", "train"]

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .command import command
from .console import Console
from .sizes import Blocks, Channels, Device, Dtype, Frames, More, Patch, Preset, Shape


@command
def train(
    *,
    preset: Preset = "10M",
    shape: Shape = "64x64",
    channels: Channels = 2,
    frames: Frames = 1,
    patch: Patch = 2,
    blocks: Blocks = None,
    batch: Annotated[int, typer.Option("--batch", metavar="N", help="Samples of a step.")] = 4,
    steps: Annotated[int, typer.Option("--steps", metavar="N", help="That are timed; the median counts.")] = 5,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    dry_run: options.DryRun = False,
    console: Console,
) -> None:
    """Seconds, memory, tokens and FLOPs of a step of training, beside the rate of matrix products.

    Example: stormda bench train --preset 10M --shape 64x64 --batch 4 --json
    """
    from stormda.pipeline.bench_train import train as stage

    with console.progress() as progress:
        result = stage(
            preset,
            shape,
            channels=channels,
            frames=frames,
            patch=patch,
            blocks=blocks,
            batch=batch,
            steps=steps,
            device=device,
            dtype=dtype,
            dry_run=dry_run,
            progress=progress,
        )
    console.result(result)


@command
def io(
    *,
    shape: Shape = "181x360",
    channels: Annotated[int, typer.Option("--channels", metavar="N", help="Of a field, at most 10.")] = 6,
    members: Annotated[int, typer.Option("--ensemble", metavar="N", help="Members.")] = 16,
    observations: Annotated[int, typer.Option("--observations", metavar="N", help="Of a day.")] = 1_000_000,
    times: Annotated[int, typer.Option("--times", metavar="N", help="Of the archive.")] = 64,
    folder: Annotated[
        Path | None,
        typer.Option("--folder", metavar="FOLDER", help="On the disk that is asked about.", show_default="temporary"),
    ] = None,
    dry_run: options.DryRun = False,
    console: Console,
) -> None:
    """How fast members are written and read, observations found, and fields of an archive read.

    Example: stormda bench io --shape 721x1440 --ensemble 8 --folder /scratch --json
    """
    from stormda.pipeline.bench_io import io as stage

    with console.progress() as progress:
        result = stage(
            shape,
            channels=channels,
            members=members,
            observations=observations,
            times=times,
            folder=folder,
            dry_run=dry_run,
            progress=progress,
        )
    console.result(result)


@command
def scaling(
    *,
    kind: Annotated[
        str, typer.Option("--kind", metavar="NAME", help="ensemble, tile, guided or training.")
    ] = "ensemble",
    preset: Preset = "nano",
    shape: Shape = "64x64",
    ranks: Annotated[
        list[int] | None, typer.Option("--ranks", metavar="N", help="How many; several may follow.", show_default="2")
    ] = None,
    more: More = None,
    members: Annotated[int, typer.Option("--ensemble", metavar="N", help="Members, or samples of a step.")] = 8,
    steps: Annotated[int, typer.Option("--steps", metavar="N", help="Calls a member, or steps in a turn.")] = 4,
    rounds: Annotated[int, typer.Option("--rounds", metavar="N", help="Pairs.")] = 20,
    patch: Patch = 2,
    blocks: Blocks = None,
    dry_run: options.DryRun = False,
    console: Console,
) -> None:
    """The same job on one process and on several, turn by turn: what being several costs, or gains.

    Example: stormda bench scaling --kind ensemble --ranks 2 4 8 --json

    Example: stormda bench scaling --kind tile --preset 10M --shape 512x512 --patch 1 --blocks 2 --rounds 10
    """
    from stormda.pipeline.bench_scaling import scaling as stage

    with console.progress() as progress:
        result = stage(
            preset,
            shape,
            kind=kind,
            ranks=[*(ranks or ()), *(more or ())] or [2],
            members=members,
            steps=steps,
            rounds=rounds,
            patch=patch,
            blocks=blocks,
            dry_run=dry_run,
            progress=progress,
        )
    console.result(result)
