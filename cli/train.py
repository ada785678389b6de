"""`stormda train`."""

__all__ = ["train"]

from . import failure, options
from .command import Setup, command
from .console import Console


@command
def train(*, setup: Setup, dry_run: options.DryRun = False, console: Console) -> None:
    """Train the STORM prior on the archive of the run.

    It may be stopped at any moment and goes on from its last checkpoint when it is started again, by any number of
    processes.

    Example: stormda train -c config.yaml train.minutes=10

    Example: mpiexec -n 2 stormda train -c config.yaml
    """
    from stormda.pipeline.ranks import announced
    from stormda.pipeline.team import learners

    with announced():
        config = setup.load(several=True)

    with failure.patient() as stop:
        with learners(config) as (team, device), console.progress() as progress:
            from stormda.pipeline.train import train as stage

            result = stage(config, dry_run=dry_run, progress=progress, stop=stop, team=team, device=device)
        console.result(result)
