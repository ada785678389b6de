"""`stormda demo`."""

__all__ = ["demo"]

from pathlib import Path
from typing import Annotated

import typer

from .command import command
from .console import Console


@command
def demo(
    *,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to put everything.")] = Path("demo"),
    console: Console,
) -> None:
    """Go the whole way on the embedded world: nature run, files, ingest, assimilate, verify, report.

    Example: stormda demo demo
    """
    console.run = folder
    from stormda.pipeline.demo import demo as stage

    with console.progress() as progress:
        result = stage(folder, progress=progress)
    console.result(result)
    for name, seconds in result.seconds.items():
        console.say(f"{name}: {seconds:g} s", stage=name, seconds=seconds)
    console.say(f"peak memory: {result.peak_mib} MiB", peak_mib=result.peak_mib)
    console.say(f"report: {result.report}", report=result.report)
