"""`stormda train`."""

__all__ = ["train"]

from pathlib import Path

from . import failure, options
from .console import Console


def train(
    overrides: options.Overrides = None,
    config: options.ConfigFile = Path("config.yaml"),
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    log_format: options.LogFormat = "text",
) -> None:
    """Train the STORM prior on the archive of the run.

    It may be stopped at any moment and goes on from its last checkpoint when it is started again.

    Example: stormda train -c config.yaml train.minutes=10
    """
    console = Console(as_json, verbose, quiet, log_format)
    settings = options.load_config(config, overrides)
    from stormda.pipeline.train import train as stage

    with failure.patient() as stop:
        with console.progress() as progress:
            result = stage(settings, dry_run=dry_run, progress=progress, stop=stop)
        console.result(result)
