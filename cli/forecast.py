"""`stormda forecast`."""

__all__ = ["forecast"]

from typing import Annotated

import typer

from . import options
from .command import Setup, command
from .console import Console


@command
def forecast(
    *,
    cycle: options.OneCycle,
    setup: Setup,
    lead: Annotated[str, typer.Option("--lead", metavar="SPAN", help="How far, such as 72h.")] = "24h",
    split: Annotated[
        int | None,
        typer.Option(
            "--split", metavar="SEED", help="The split of stations; the first one if empty.", show_default=False
        ),
    ] = None,
    method: options.Method = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="own or linear: forecast.model.", show_default=False),
    ] = None,
    dry_run: options.DryRun = False,
    console: Console,
) -> None:
    """Roll the prior, or the linear model of the archive, out from an analysis ensemble, one step after another.

    Example: stormda forecast -c config.yaml --cycle 2014-07-14T18Z --lead 72h

    Example: stormda forecast --cycle 2014-07-14T18Z --lead 72h --method letkf --model linear
    """
    from stormda.pipeline.ranks import announced, together
    from stormda.time import parse_duration, parse_time

    with announced():
        config = setup.load({"assimilate.method": method, "forecast.model": model}, several=True)
        start, span = parse_time(cycle), parse_duration(lead)

    with together(config) as world, console.progress() as progress:
        from stormda.pipeline.forecast import forecast as stage

        result = stage(config, start, lead=span, split=split, dry_run=dry_run, progress=progress, world=world)
    console.result(result)
