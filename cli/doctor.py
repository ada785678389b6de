"""`stormda doctor`."""

__all__ = ["doctor"]

from pathlib import Path
from typing import Annotated

import typer

from . import failure
from .command import command
from .console import Console


@command
def doctor(
    *,
    file: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", help="Look at its run folder, too.", show_default=False),
    ] = None,
    console: Console,
) -> None:
    """Look at the installation: packages that work together, machine, accelerators, ranks, disk, permissions, clock.

    Example: stormda doctor

    Example: stormda doctor -c config.yaml
    """
    from stormda.config import load

    folder = None if file is None else load(file).run
    from stormda.pipeline.doctor import doctor as stage

    result = stage(folder)
    console.result(result)
    failure.stop_if_wrong(result)
