"""`stormda ingest`."""

__all__ = ["ingest"]

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .console import Console


def ingest(
    overrides: options.Overrides = None,
    config: options.ConfigFile = Path("config.yaml"),
    source: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="NAME", help="Only this source; may be repeated.", show_default=False),
    ] = None,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    log_format: options.LogFormat = "text",
) -> None:
    """Read the gridded archive and the observations into the stores of the run, through the static quality checks.

    It may be repeated: the same files give the same stores.

    Example: stormda ingest -c config.yaml --source synop
    """
    console = Console(as_json, verbose, quiet, log_format)
    settings = options.load_config(config, overrides)
    from stormda.pipeline.ingest import ingest as stage

    with console.progress() as progress:
        result = stage(settings, source or None, dry_run=dry_run, progress=progress)
    console.result(result)
