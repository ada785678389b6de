"""`stormda check`."""

__all__ = ["check"]

from pathlib import Path
from typing import Annotated

import typer

from . import failure, options
from .command import Setup, Times, command
from .console import Console


@command
def check(
    *,
    setup: Setup,
    times: Times,
    method: options.Method = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            metavar="FILE",
            help="Draw the observations of the cycle on a map and along time: .png, .svg or .pdf.",
            show_default=False,
        ),
    ] = None,
    console: Console,
) -> None:
    """Look before the work: input files, archive, weights, observations of a window, room on the disk.

    Without a cycle it asks what can be ingested; with one, whether that analysis can be drawn now, and what of its
    observations is missing, late or suspicious beside the days before. It ends with exit code 3 if something that is
    required is missing.

    Example: stormda check -c config.yaml --cycle 2019-02-17T12Z --picture observations.png
    """
    config = setup.load({"assimilate.method": method})
    cycles = times.every(config.assimilate.step)
    from stormda.pipeline.check import check as stage

    if picture is not None:
        if len(cycles) != 1:
            from stormda.errors import ConfigError

            raise ConfigError("a picture is of one cycle", key="--picture", hint="--cycle TIME")
        from stormda.pipeline.check_window import preflight

        preflight(config, cycles[0], picture)
    result = stage(config, cycles)
    console.result(result)
    failure.stop_if_wrong(result)
