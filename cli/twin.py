"""`stormda twin`."""

__all__ = ["twin"]

from typing import Annotated

import typer

from . import options
from .command import Setup, command
from .console import Console


@command
def twin(
    *,
    setup: Setup,
    world: Annotated[
        str | None,
        typer.Option(
            "--world",
            metavar="NAME",
            help="lorenz96, sqg or archive: twin.world; no file is needed.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="NAME",
            help="storm, gaussian, kf, oi, letkf or ensf; may be repeated.",
            show_default=False,
        ),
    ] = None,
    ensemble: options.Ensemble = None,
    cycles: Annotated[
        int | None, typer.Option("--cycles", metavar="N", help="Analyses: twin.cycles.", show_default=False)
    ] = None,
    tune: Annotated[
        bool, typer.Option("--tune", help="Search the settings of letkf and ensf where they are not scored: twin.tune.")
    ] = False,
    dry_run: options.DryRun = False,
    console: Console,
) -> None:
    """Cycle several methods on one simulated truth and the same observations, and score them.

    Scores of a method and seed are kept as soon as they exist: an experiment that was interrupted goes on.

    Example: stormda twin --world lorenz96 --method kf --method oi --ensemble 20

    Example: stormda twin -c config.yaml twin.network.count=130

    Example: stormda twin --world lorenz96 --method letkf --ensemble 10 --tune

    Example: stormda twin --world lorenz96 --method kf --method oi twin.forecast.hours=72
    """
    chosen = {
        "twin.world": None if world is None else f"{{kind: {world}}}",
        "twin.methods": None if not method else f"[{', '.join(method)}]",
        "twin.cycles": cycles,
        "assimilate.ensemble": ensemble,
    }
    alone = world in ("lorenz96", "sqg") and not setup.file.exists()
    base = {"name": f"twin-{world}", "run_dir": f"runs/twin-{world}", "channels": ["x0"]} if alone else None
    config = setup.load(chosen, base)
    with console.progress() as progress:
        if tune:
            from stormda.pipeline.tune import tune as search

            console.result(search(config, dry_run=dry_run, progress=progress))
        else:
            from stormda.pipeline.twin import twin as stage

            console.result(stage(config, dry_run=dry_run, progress=progress))
