"""`stormda check`."""

__all__ = ["check"]

from . import failure, options
from .command import Setup, Times, command
from .console import Console


@command
def check(*, setup: Setup, times: Times, method: options.Method = None, console: Console) -> None:
    """Look before the work: input files, archive, weights, observations of a window, room on the disk.

    Without a cycle it asks what can be ingested; with one, whether that analysis can be drawn now. It ends with exit
    code 3 if something that is required is missing.

    Example: stormda check -c config.yaml --cycle 2019-02-17T12Z
    """
    config = setup.load({"assimilate.method": method})
    cycles = times.every(config.assimilate.step)
    from stormda.pipeline.check import check as stage

    result = stage(config, cycles)
    console.result(result)
    failure.stop_if_wrong(result)
