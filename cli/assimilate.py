"""`stormda assimilate`."""

__all__ = ["assimilate"]

from pathlib import Path

from stormda.errors import ConfigError

from . import options
from .console import Console


def assimilate(
    overrides: options.Overrides = None,
    config: options.ConfigFile = Path("config.yaml"),
    cycle: options.Cycle = None,
    first: options.From = None,
    last: options.To = None,
    ensemble: options.Ensemble = None,
    method: options.Method = None,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    log_format: options.LogFormat = "text",
) -> None:
    """Draw the analysis ensemble of each cycle from the posterior, given history and observations.

    Cycles are worked through in order; each finds the one before as its history.

    Example: stormda assimilate -c config.yaml --ensemble 32 --cycle 2019-02-17T12Z

    Example: stormda assimilate --from 2014-07-10T00Z --to 2014-07-14T18Z --method kf
    """
    console = Console(as_json, verbose, quiet, log_format)
    chosen = options.given("assimilate.ensemble", ensemble), options.given("assimilate.method", method)
    settings = options.load_config(config, overrides, *chosen)
    cycles = options.cycles_of(cycle, first, last, settings.assimilate.step)
    if not cycles:
        raise ConfigError("no analysis time is given", key="--cycle", hint="--cycle 2019-02-17T12Z, or --from and --to")
    from stormda.pipeline.assimilate import assimilate as stage

    with console.progress() as progress:
        result = stage(settings, cycles, dry_run=dry_run, progress=progress)
    console.result(result)
