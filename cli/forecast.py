"""`stormda forecast`."""

__all__ = ["forecast"]

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .console import Console


def forecast(
    cycle: options.OneCycle,
    overrides: options.Overrides = None,
    config: options.ConfigFile = Path("config.yaml"),
    lead: Annotated[str, typer.Option("--lead", metavar="SPAN", help="How far, such as 72h.")] = "24h",
    split: Annotated[
        int | None,
        typer.Option(
            "--split", metavar="SEED", help="The split of stations; the first one if empty.", show_default=False
        ),
    ] = None,
    method: options.Method = None,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    log_format: options.LogFormat = "text",
) -> None:
    """Roll the prior out from an analysis ensemble, one step after another.

    Example: stormda forecast -c config.yaml --cycle 2014-07-14T18Z --lead 72h
    """
    console = Console(as_json, verbose, quiet, log_format)
    settings = options.load_config(config, overrides, options.given("assimilate.method", method))
    from stormda.time import parse_duration, parse_time

    start, span = parse_time(cycle), parse_duration(lead)
    from stormda.pipeline.forecast import forecast as stage

    with console.progress() as progress:
        result = stage(settings, start, lead=span, split=split, dry_run=dry_run, progress=progress)
    console.result(result)
