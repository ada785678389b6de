"""`stormda`: the one entry point."""

__all__ = ["app", "main"]

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from stormda import __version__

from . import bench, config, cycle, failure
from .assimilate import assimilate
from .bias import bias
from .check import check
from .demo import demo
from .doctor import doctor
from .export import export
from .forecast import forecast
from .ingest import ingest
from .init import init
from .inspect import inspect
from .plan import plan
from .plot import plot
from .train import train
from .twin import twin
from .verify import verify

app = typer.Typer(
    name="stormda",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Observations in, a calibrated analysis ensemble out.",
)

# In the order of the work, which is the order of the help.
app.command(rich_help_panel="Begin")(demo)
app.command(rich_help_panel="Begin")(init)
app.add_typer(config.app, name="config", rich_help_panel="Begin")
app.command(rich_help_panel="Begin")(check)
app.command(rich_help_panel="Work")(ingest)
app.command(rich_help_panel="Work")(train)
app.command(rich_help_panel="Work")(bias)
app.command(rich_help_panel="Work")(assimilate)
app.command(rich_help_panel="Work")(forecast)
app.command(rich_help_panel="Work")(verify)
app.add_typer(cycle.app, name="cycle", rich_help_panel="Work")
app.command(rich_help_panel="Work")(twin)
app.command(rich_help_panel="Look")(inspect)
app.command(rich_help_panel="Look")(plot)
app.command(rich_help_panel="Look")(export)
app.command(rich_help_panel="Look")(doctor)
app.command(rich_help_panel="Look")(plan)
app.add_typer(bench.app, name="bench", rich_help_panel="Look")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"stormda {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Observations in, a calibrated analysis ensemble out."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; ends the process with its exit code."""
    with failure.guard():
        code = app(args=arguments, prog_name="stormda", standalone_mode=False)
    sys.exit(code if isinstance(code, int) else 0)
