"""Options that describe a network on a grid, and where it runs: of `stormda bench` and `stormda plan`."""

__all__ = ["Blocks", "Channels", "Device", "Dtype", "Frames", "More", "Patch", "Preset", "Shape"]

from typing import Annotated

import typer

Preset = Annotated[str, typer.Option("--preset", metavar="NAME", help="nano, 10M, 200M or 10B.")]
Shape = Annotated[str, typer.Option("--shape", metavar="HxW", help="Rows x columns of points.")]
Channels = Annotated[int, typer.Option("--channels", metavar="N", help="Channels of the state.")]
Frames = Annotated[int, typer.Option("--frames", metavar="N", help="History frames.")]
Patch = Annotated[int, typer.Option("--patch", metavar="N", help="Points of a token along an axis.")]
Blocks = Annotated[
    int | None, typer.Option("--blocks", metavar="N", help="Blocks of the network.", show_default="preset's")
]
More = Annotated[list[int] | None, typer.Argument(metavar="N", help="More of them.", show_default=False)]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="cpu or cuda.")]
Dtype = Annotated[str, typer.Option("--dtype", metavar="NAME", help="float32, or bfloat16 on cuda.")]
