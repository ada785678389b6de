"""`stormda`: the one entry point."""

__all__ = ["app", "main"]

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from stormda import __version__

from . import config, failure
from .ingest import ingest
from .inspect import inspect

app = typer.Typer(
    name="stormda",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Observations in, a calibrated analysis ensemble out.",
)

PREPARE, WORK, LOOK = "Prepare", "Work", "Look"

app.add_typer(config.app, name="config", rich_help_panel=PREPARE)
app.command(rich_help_panel=WORK)(ingest)
app.command(rich_help_panel=LOOK)(inspect)


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
