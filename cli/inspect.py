"""`stormda inspect`."""

__all__ = ["inspect"]

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .console import Console


def inspect(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A file or folder that stormda wrote.")],
    as_json: options.AsJson = False,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    log_format: options.LogFormat = "text",
) -> None:
    """Show what is in an artefact: an archive, observations, weights, an analysis, a feedback file or scores.

    Example: stormda inspect runs/europe/analyses/gaussian/20190217T1200Z/analysis.nc
    """
    console = Console(as_json, verbose, quiet, log_format)
    from stormda.pipeline.inspect import inspect as stage

    console.result(stage(path))
