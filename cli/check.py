"""`stormda check`."""

__all__ = ["check"]

from pathlib import Path

from . import options
from .console import Console


def check(
    overrides: options.Overrides = None,
    config: options.ConfigFile = Path("config.yaml"),
    cycle: options.Cycle = None,
    first: options.From = None,
    last: options.To = None,
    method: options.Method = None,
    as_json: options.AsJson = False,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    log_format: options.LogFormat = "text",
) -> None:
    """Look before the work: input files, archive, weights, observations of a window, room on the disk.

    Without a cycle it asks what can be ingested; with one, whether that analysis can be drawn now. It ends with exit
    code 3 if something that is required is missing.

    Example: stormda check -c config.yaml --cycle 2019-02-17T12Z
    """
    console = Console(as_json, verbose, quiet, log_format)
    settings = options.load_config(config, overrides, options.given("assimilate.method", method))
    cycles = options.cycles_of(cycle, first, last, settings.assimilate.step)
    from stormda.pipeline.check import check as stage

    result = stage(settings, cycles)
    console.result(result)
    options.stop_if_wrong(result)
