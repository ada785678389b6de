"""`stormda verify`."""

__all__ = ["verify"]

from pathlib import Path

from . import options
from .console import Console


def verify(
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
    """Score analyses against a gridded truth and withheld observations.

    Example: stormda verify -c config.yaml --method storm
    """
    console = Console(as_json, verbose, quiet, log_format)
    settings = options.load_config(config, overrides, options.given("assimilate.method", method))
    cycles = options.cycles_of(cycle, first, last, settings.assimilate.step)
    from stormda.pipeline.verify import verify as stage

    with console.progress() as progress:
        result = stage(settings, cycles or None, progress=progress)
    console.result(result)
