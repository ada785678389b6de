"""`stormda plot`."""

__all__ = ["plot"]

from pathlib import Path
from typing import Annotated

import typer

from .command import command
from .console import Console


@command
def plot(
    *,
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A run folder, the folder of an analysis, or a file of one.")
    ],
    picture: Annotated[
        str | None,
        typer.Argument(
            metavar="PICTURE",
            help="analysis, background, forecast, increment, spread, member, observations, departures, ranks, "
            "spectrum, station or profile.",
            show_default=False,
        ),
    ] = None,
    of: Annotated[
        str | None,
        typer.Argument(metavar="OF", help="Which channel, variable or source; see --list.", show_default=False),
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Say what can be drawn from PATH.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The picture: .png, .svg or .pdf.", show_default=False),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", metavar="NAME", help="Of a run folder with several methods.", show_default=False),
    ] = None,
    cycle: Annotated[
        str | None,
        typer.Option("--cycle", metavar="TIME", help="Of a run folder: not the newest analysis.", show_default=False),
    ] = None,
    member: Annotated[int, typer.Option("--member", metavar="N", help="Of `member`, from 0.")] = 0,
    station: Annotated[
        str | None,
        typer.Option("--station", metavar="NAME", help="Of `station` and `profile`.", show_default=False),
    ] = None,
    console: Console,
) -> None:
    """Draw one picture of what stormda wrote.

    Example: stormda plot runs/europe --list

    Example: stormda plot runs/europe increment t850 -o increment.png

    Example: stormda plot runs/europe station t2m --station 06260 -o de-bilt.svg
    """
    from stormda.errors import ConfigError
    from stormda.pipeline.plot import Wanted, pictures
    from stormda.pipeline.plot import plot as stage
    from stormda.pipeline.plot_source import open_source
    from stormda.time import parse_time

    source = open_source(path, method=method, cycle=None if cycle is None else parse_time(cycle))
    if listed:
        console.result(pictures(source))
        return
    if picture is None:
        raise ConfigError("which picture?", key="PICTURE", hint=f"stormda plot {path} --list")
    if output is None:
        raise ConfigError("where to?", key="--output", hint=f"-o {picture}.png, .svg or .pdf")
    console.result(stage(source, picture, Wanted(of or "", member, station or ""), output))
