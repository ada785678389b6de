"""`stormda verify`."""

__all__ = ["verify"]

from typing import Annotated

import typer

from . import options
from .command import Setup, Times, command
from .console import Console


@command
def verify(
    *,
    setup: Setup,
    times: Times,
    method: options.Method = None,
    deny: Annotated[
        str | None,
        typer.Option(
            "--deny",
            metavar="SOURCE",
            help="Make the analyses again without this source, and say how the scores change.",
            show_default=False,
        ),
    ] = None,
    console: Console,
) -> None:
    """Score analyses, backgrounds and forecasts against a gridded truth and observations.

    Each analysis time is scored once; the scores of a period are those of its times added up.

    Example: stormda verify -c config.yaml --method storm

    Example: stormda verify --from 2014-07-10T00Z --to 2014-07-14T18Z --deny aircraft
    """
    config = setup.load({"assimilate.method": method})
    cycles = times.every(config.assimilate.step)
    from stormda.pipeline.deny import deny as without
    from stormda.pipeline.verify import verify as stage

    with console.progress() as progress:
        if deny is None:
            result: object = stage(config, cycles or None, progress=progress)
        else:
            result = without(config, deny, cycles or None, progress=progress)
    console.result(result)
