"""`stormda doctor`."""

__all__ = ["doctor"]

from . import options
from .console import Console


def doctor(
    as_json: options.AsJson = False,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    log_format: options.LogFormat = "text",
) -> None:
    """Look at the installation: Python, packages that work together, processors, memory, accelerators, MPI.

    Example: stormda doctor
    """
    console = Console(as_json, verbose, quiet, log_format)
    from stormda.pipeline.doctor import doctor as stage

    result = stage()
    console.result(result)
    options.stop_if_wrong(result)
