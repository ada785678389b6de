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
    """Show what is in an artefact: an archive, observations, weights, an analysis, a feedback file or scores.

    Example: stormda inspect runs/europe/analyses/gaussian/20190217T1200Z/analysis.nc
    """
    from stormda.pipeline.inspect import inspect as stage

    console.result(stage(path))
