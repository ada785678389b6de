"""`stormda inspect`."""

__all__ = ["inspect"]

from pathlib import Path
from typing import Annotated

import typer

from .command import command
from .console import Console


@command
def inspect(
    *,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A file or folder that stormda wrote.")],
    console: Console,
) -> None:
    """Explain what stormda wrote: a run, an analysis, an archive, observations, weights, a NetCDF file or scores.

    Example: stormda inspect runs/europe

    Example: stormda inspect runs/europe/analyses/gaussian/20190217T1200Z
    """
    from stormda.pipeline.inspect import inspect as stage

    console.result(stage(path))
