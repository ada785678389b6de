"""`stormda cycle`: analyses by the clock."""

__all__ = ["app"]

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from stormda.errors import ConfigError

from . import options
from .command import Setup, command
from .console import Console

if TYPE_CHECKING:
    import numpy as np

    from stormda.pipeline.cycle import CycleReport

Now = Annotated[
    str | None, typer.Option("--now", metavar="TIME", help="Take this for the present time.", show_default=False)
]
_WAITING = 3  # exit code of a call that ended at a cycle which waits for data

app = typer.Typer(no_args_is_help=True, help="Analyses by the clock: what cron and Slurm call.")


def _time(text: str | None) -> "np.datetime64 | None":
    from stormda.time import parse_time

    return None if text is None else parse_time(text)


def _end(console: Console, report: "CycleReport") -> None:
    console.result(report)
    report.stop_if_failed()
    if report.waiting:
        sys.exit(_WAITING)


@app.command()
@command
def run(
    *,
    setup: Setup,
    cycle: Annotated[
        str | None,
        typer.Option(
            "--cycle", metavar="TIME", help="This one, again where it is over; else the oldest.", show_default=False
        ),
    ] = None,
    now: Now = None,
    submit: Annotated[
        bool, typer.Option("--submit", help="Let Slurm do it: sbatch cycle.slurm.script, a task a cycle.")
    ] = False,
    dry_run: options.DryRun = False,
    console: Console,
) -> None:
    """Work on the oldest cycle that is due and not over; end at once where there is none.

    It may be called at any time, on several machines: one works, the others end with exit code 4. What was killed is
    gone on with. A cycle that waits for data ends the call with exit code 3.

    Example: stormda cycle run -c config.yaml --log-format json

    Example: stormda cycle run -c config.yaml --submit
    """
    config = setup.load()
    if submit:
        if cycle is not None:
            raise ConfigError("a single cycle is not submitted", key="--submit", hint="--cycle alone works here")
        from stormda.pipeline.cycle_submit import submit as send

        console.result(send(config, setup.file, setup.overrides or (), now=_time(now), dry_run=dry_run))
        return
    from stormda.pipeline.cycle import run_cycle as stage

    with console.progress() as progress:
        report = stage(config, _time(cycle), now=_time(now), dry_run=dry_run, progress=progress)
    _end(console, report)


@app.command("catch-up")
@command
def catch_up(*, setup: Setup, now: Now = None, dry_run: options.DryRun = False, console: Console) -> None:
    """Work on every cycle that is due and not over, in order.

    Example: stormda cycle catch-up -c config.yaml cycle.start=2019-02-17T00Z --now 2019-02-20T00Z
    """
    config = setup.load()
    from stormda.pipeline.cycle import catch_up as stage

    with console.progress() as progress:
        report = stage(config, now=_time(now), dry_run=dry_run, progress=progress)
    _end(console, report)


@app.command()
@command
def status(*, setup: Setup, now: Now = None, console: Console) -> None:
    """How it stands: one sentence, what is wrong, the last cycles. It reads only and takes no lock.

    Example: stormda cycle status -c config.yaml
    """
    config = setup.load()
    from stormda.pipeline.cycle_status import status as stage

    console.result(stage(config, now=_time(now)))


@app.command()
@command
def unlock(
    *,
    setup: Setup,
    force: Annotated[bool, typer.Option("--force", help="Even where its owner is alive, which then ends.")] = False,
    console: Console,
) -> None:
    """Remove the lock of a process that is dead; end with exit code 4 where it is alive.

    The next call does the same by itself. On another host a process is dead if its lock shows no life for cycle.lease.

    Example: stormda cycle unlock -c config.yaml
    """
    config = setup.load()
    from stormda.pipeline.cycle_status import unlock as stage

    console.result(stage(config, force=force))


@app.command()
@command
def clean(*, setup: Setup, now: Now = None, dry_run: options.DryRun = False, console: Console) -> None:
    """Remove what is older than cycle.keep says; what the next cycle needs stays. Each cycle does that at its end.

    Example: stormda cycle clean -c config.yaml cycle.keep.analyses=30d --dry-run
    """
    config = setup.load()
    from stormda.pipeline.cycle import clean_up as stage

    console.result(stage(config, now=_time(now), dry_run=dry_run))
