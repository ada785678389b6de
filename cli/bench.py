"""`stormda bench`: what the parts of stormda cost on this machine."""

__all__ = ["app"]

from typing import Annotated

import typer

from . import options
from .command import command
from .console import Console

app = typer.Typer(no_args_is_help=True, help="Measure what parts of stormda cost on this machine.")


@app.callback()
def _several() -> None:
    """One command is still a group."""


@app.command()
@command
def attention(
    *,
    preset: Annotated[str, typer.Option("--preset", metavar="NAME", help="nano, 10M, 200M or 10B.")] = "10M",
    tokens: Annotated[
        list[int] | None,
        typer.Option("--tokens", metavar="N", help="How many tokens; several may follow.", show_default="4096 16384"),
    ] = None,
    more: Annotated[list[int] | None, typer.Argument(metavar="N", help="More of them.", show_default=False)] = None,
    tile: Annotated[
        int | None, typer.Option("--tile", metavar="N", help="Tokens of a tile along an axis.", show_default="preset's")
    ] = None,
    halo: Annotated[
        int | None, typer.Option("--halo", metavar="N", help="Tokens around a tile.", show_default="preset's")
    ] = None,
    latents: Annotated[
        int | None, typer.Option("--latents", metavar="N", help="Latent tokens.", show_default="preset's")
    ] = None,
    softmax_up_to: Annotated[
        int, typer.Option("--softmax-up-to", metavar="N", help="Beyond, softmax is extrapolated.")
    ] = 16384,
    repeats: Annotated[int, typer.Option("--repeats", metavar="N", help="The fastest of N counts.")] = 3,
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="cpu or cuda.")] = "cpu",
    dtype: Annotated[str, typer.Option("--dtype", metavar="NAME", help="float32, or bfloat16 on cuda.")] = "float32",
    dry_run: options.DryRun = False,
    console: Console,
) -> None:
    """Time and peak memory of one self-attention layer, tiles with latents beside softmax over everything.

    Example: stormda bench attention --preset 10M --tokens 4096 16384 65536 262144 --json
    """
    from stormda.pipeline.bench import attention as stage

    with console.progress() as progress:
        result = stage(
            preset,
            [*(tokens or ()), *(more or ())] or [4096, 16384],
            tile=tile,
            halo=halo,
            latents=latents,
            softmax_up_to=softmax_up_to,
            repeats=repeats,
            device=device,
            dtype=dtype,
            dry_run=dry_run,
            progress=progress,
        )
    console.result(result)
