"""`stormda bias`."""

__all__ = ["bias"]

from typing import Annotated, Literal

import typer

from . import options
from .command import Setup, command
from .console import Console


@command
def bias(
    *,
    setup: Setup,
    start: Annotated[str, typer.Option("--from", metavar="TIME", help="First time to learn from.")],
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="Last of them, included.")],
    against: Annotated[
        Literal["archive", "feedback"],
        typer.Option("--against", help="The archive, or the backgrounds that feedback files of analyses hold."),
    ] = "archive",
    dry_run: options.DryRun = False,
    console: Console,
) -> None:
    """Learn what each station says more than the archive, or than the backgrounds of earlier analyses.

    Analyses after that period subtract it from the variables of quality.bias.variables.

    Example: stormda bias -c config.yaml --from 2013-01-01T00Z --to 2014-07-09T18Z
    """
    config = setup.load()
    from stormda.pipeline.bias import bias as stage
    from stormda.time import parse_time

    with console.progress() as progress:
        result = stage(config, parse_time(start), parse_time(end), against=against, dry_run=dry_run, progress=progress)
    console.result(result)
