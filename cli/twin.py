"""`stormda twin`."""

__all__ = ["twin"]

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .console import Console


def twin(
    overrides: options.Overrides = None,
    config: options.ConfigFile = Path("config.yaml"),
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
            "--method", metavar="NAME", help="storm, gaussian, kf or oi; may be repeated.", show_default=False
        ),
    ] = None,
    ensemble: options.Ensemble = None,
    cycles: Annotated[
        int | None, typer.Option("--cycles", metavar="N", help="Analyses: twin.cycles.", show_default=False)
    ] = None,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    log_format: options.LogFormat = "text",
) -> None:
    """Cycle several methods on one simulated truth and the same observations, and score them.

    Example: stormda twin --world lorenz96 --method kf --method oi --ensemble 20

    Example: stormda twin -c config.yaml twin.network.count=130
    """
    console = Console(as_json, verbose, quiet, log_format)
    chosen = [
        options.given("twin.world", None if world is None else f"{{kind: {world}}}"),
        options.given("twin.methods", None if not method else f"[{', '.join(method)}]"),
        options.given("twin.cycles", cycles),
        options.given("assimilate.ensemble", ensemble),
    ]
    alone = world in ("lorenz96", "sqg") and not config.exists()
    base = {"name": f"twin-{world}", "run_dir": f"runs/twin-{world}", "channels": ["x0"]} if alone else None
    settings = options.load_config(None if alone else config, overrides, *chosen, base=base)
    from stormda.pipeline.twin import twin as stage

    with console.progress() as progress:
        result = stage(settings, dry_run=dry_run, progress=progress)
    console.result(result)
