"""`stormda doctor`."""

__all__ = ["doctor"]

from . import failure
from .command import command
from .console import Console


@command
def doctor(*, console: Console) -> None:
    """Look at the installation: Python, packages that work together, processors, memory, accelerators, MPI.

    Example: stormda doctor
    """
    from stormda.pipeline.doctor import doctor as stage

    result = stage()
    console.result(result)
    failure.stop_if_wrong(result)
