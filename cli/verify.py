"""`stormda verify`."""

__all__ = ["verify"]

from . import options
from .command import Setup, Times, command
from .console import Console


@command
def verify(*, setup: Setup, times: Times, method: options.Method = None, console: Console) -> None:
    """Score analyses against a gridded truth and withheld observations.

    Example: stormda verify -c config.yaml --method storm
    """
    config = setup.load({"assimilate.method": method})
    cycles = times.every(config.assimilate.step)
    from stormda.pipeline.verify import verify as stage

    with console.progress() as progress:
        result = stage(config, cycles or None, progress=progress)
    console.result(result)
