"""`stormda export`."""

__all__ = ["export"]

from pathlib import Path
from typing import Annotated

import typer

from .command import Setup, command
from .console import Console


@command
def export(
    *,
    first: Annotated[
        str, typer.Option("--from", metavar="TIME", help="Observations after this time.", show_default=False)
    ],
    last: Annotated[
        str, typer.Option("--to", metavar="TIME", help="And up to this time, included.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file.", show_default=False)],
    source: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="NAME", help="Only this source; may be repeated.", show_default=False),
    ] = None,
    setup: Setup,
    console: Console,
) -> None:
    """Write stored observations as IODA v3 NetCDF, used or not: EffectiveQC says why.

    Example: stormda export -c config.yaml --from 2019-02-17T09Z --to 2019-02-17T15Z -o observations.nc4
    """
    config = setup.load()
    from stormda.time import parse_time

    start, end = parse_time(first), parse_time(last)
    from stormda.pipeline.export import export as stage

    console.result(stage(config, output, start, end, sources=source or None))
