"""`stormda ingest`."""

__all__ = ["ingest"]

from typing import Annotated

import typer

from . import options
from .command import Setup, command
from .console import Console


@command
def ingest(
    *,
    setup: Setup,
    source: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="NAME", help="Only this source; may be repeated.", show_default=False),
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(
            "--dask",
            metavar="ADDRESS",
            help="A Dask scheduler for gridded fields, or local:N: ingest.dask.",
            show_default=False,
        ),
    ] = None,
    dry_run: options.DryRun = False,
    console: Console,
) -> None:
    """Read the gridded archive and the observations into the stores of the run, through the static quality checks.

    It may be repeated: the same files give the same stores.

    Example: stormda ingest -c config.yaml --source synop
    """
    config = setup.load({"ingest.dask": dask})
    from stormda.pipeline.ingest import ingest as stage

    with console.progress() as progress:
        result = stage(config, source or None, dry_run=dry_run, progress=progress)
    console.result(result)
