"""`stormda plan`."""

__all__ = ["plan"]

from pathlib import Path
from typing import Annotated

import typer

from .command import command
from .console import Console
from .sizes import Channels, Frames, More, Patch, Preset, Shape


def _number(name: str, what: str) -> object:
    return typer.Option(name, metavar="N", help=what)


@command
def plan(
    *,
    preset: Preset = "10M",
    shape: Shape = "721x1440",
    channels: Channels = 6,
    frames: Frames = 2,
    window: Annotated[int, _number("--window", "Noisy frames at once.")] = 1,
    patch: Patch = 2,
    members: Annotated[int, _number("--ensemble", "Members.")] = 32,
    observations: Annotated[int, _number("--observations", "Of an analysis.")] = 100_000,
    steps: Annotated[int, _number("--steps", "Calls of the network for a draw.")] = 16,
    products: Annotated[int, _number("--products", "With its derivative, a call with guidance; 0: jfps.")] = 4,
    training: Annotated[bool, typer.Option("--training", help="A step of training, not an analysis.")] = False,
    batch: Annotated[int, _number("--batch", "Members at a time; samples of a step of training.")] = 1,
    machine: Annotated[
        str, typer.Option("--machine", metavar="NAME|FILE", help="laptop, h200-node, h200-cluster, or YAML.")
    ] = "laptop",
    ranks: Annotated[
        list[int] | None, typer.Option("--ranks", metavar="N", help="How many; several may follow.", show_default="1")
    ] = None,
    more: More = None,
    fit: Annotated[
        list[Path] | None,
        typer.Option(
            "--fit",
            metavar="FILE",
            help="What bench attention, frame or train --json printed there; may be repeated.",
            show_default=False,
        ),
    ] = None,
    console: Console,
) -> None:
    """Predict memory, time and communication of a job on a number of ranks, and name what is in its way.

    Every assumption is printed; rates are those of `--fit`, or assumed shares of the machine's peaks.

    Example: stormda plan --machine h200-cluster --ensemble 32768 --ranks 4096 32768

    Example: stormda plan --shape 181x360 --ensemble 8 --fit frame.json --fit attention.json
    """
    from stormda.pipeline.bench_frame import points_of
    from stormda.pipeline.plan import described
    from stormda.pipeline.plan import plan as stage
    from stormda.pipeline.plan_cost import Asked

    asked = Asked(
        preset,
        points_of(shape),
        channels,
        frames,
        window,
        patch,
        members,
        observations,
        steps,
        products,
        batch,
        "training" if training else "analysis",
    )
    with console.progress() as progress:
        result = stage(
            asked, described(machine), [*(ranks or ()), *(more or ())] or [1], fit=fit or (), progress=progress
        )
    console.result(result)
