"""`stormda train`."""

__all__ = ["train"]

from . import failure, options
from .command import Setup, command
from .console import Console


@command
def train(*, setup: Setup, dry_run: options.DryRun = False, console: Console) -> None:
    """Train the STORM prior on the archive of the run.

    It may be stopped at any moment and goes on from its last checkpoint when it is started again.

    Example: stormda train -c config.yaml train.minutes=10
    """
    config = setup.load()
    from stormda.pipeline.train import train as stage

    with failure.patient() as stop:
        with console.progress() as progress:
            result = stage(config, dry_run=dry_run, progress=progress, stop=stop)
        console.result(result)
