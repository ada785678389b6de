"""`stormda assimilate`."""

__all__ = ["assimilate"]

from typing import Annotated

import typer

from stormda.errors import ConfigError

from . import options
from .command import Setup, Times, command
from .console import Console


@command
def assimilate(
    *,
    setup: Setup,
    times: Times,
    ensemble: options.Ensemble = None,
    method: options.Method = None,
    prior: Annotated[
        str | None,
        typer.Option(
            "--prior",
            metavar="ensemble:PATH",
            help="letkf, ensf: members of any model, NetCDF or GRIB, for the prior: assimilate.prior.",
            show_default=False,
        ),
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(
            "--background",
            metavar="FILE",
            help="storm, gaussian, kf, oi: a centre's own state, used beside the prior: assimilate.background.",
            show_default=False,
        ),
    ] = None,
    instead: Annotated[
        str | None,
        typer.Option(
            "--instead",
            metavar="REASON",
            help="Publish the background in the place of the analysis, labelled with this reason.",
            show_default=False,
        ),
    ] = None,
    dry_run: options.DryRun = False,
    console: Console,
) -> None:
    """Draw the analysis ensemble of each cycle from the posterior, given history and observations.

    Cycles are worked through in order; each finds the one before as its history.

    Example: stormda assimilate -c config.yaml --ensemble 32 --cycle 2019-02-17T12Z

    Example: stormda assimilate --from 2014-07-10T00Z --to 2014-07-14T18Z --method kf

    Example: stormda assimilate --cycle 2019-02-17T12Z --method letkf --prior 'ensemble:nwp/%Y%m%d%H_*.grib'

    Example: stormda assimilate --cycle 2019-02-17T12Z --background 'nwp/fc_%Y%m%d%H.nc'
    """
    chosen = {
        "assimilate.ensemble": ensemble,
        "assimilate.method": method,
        "assimilate.prior": prior,
        "assimilate.background": background,
    }
    from stormda.pipeline.ranks import announced, together

    with announced():
        config = setup.load(chosen, several=True)
        cycles = times.every(config.assimilate.step)
        if not cycles:
            hint = "--cycle 2019-02-17T12Z, or --from and --to"
            raise ConfigError("no analysis time is given", key="--cycle", hint=hint)

    with together(config) as world, console.progress() as progress:
        from stormda.pipeline.assimilate import assimilate as stage

        result = stage(config, cycles, instead=instead, dry_run=dry_run, progress=progress, world=world)
    console.result(result)
