"""`stormda init`."""

__all__ = ["init"]

from pathlib import Path
from typing import Annotated

import typer

from .command import command
from .console import Console


@command
def init(
    *,
    name: Annotated[Path, typer.Argument(metavar="NAME", help="The folder to make; its name is the name of the run.")],
    template: Annotated[
        str, typer.Option("--template", metavar="NAME", help="sqg-demo, weather-demo, europe or minimal.")
    ] = "minimal",
    console: Console,
) -> None:
    """Make a folder with a commented configuration; sqg-demo comes with the files of the embedded world,
    weather-demo with those of one that has rain and radars.

    Example: stormda init world --template sqg-demo
    """
    from stormda.pipeline.init import init as stage

    with console.progress() as progress:
        result = stage(name, template, progress=progress)
    console.result(result)
