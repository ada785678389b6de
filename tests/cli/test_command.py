"""A command is a function: what it shares with others is unfolded for typer and put together again for it."""

import typer
from typer.testing import CliRunner

from stormda.cli import options
from stormda.cli.command import Setup, Times, command
from stormda.cli.console import Console

WORDS = ["--method", "oi", "a.b=1", "--cycle", "2019-02-17", "c=[1, 2]", "--json", "-q", "-c", "other.yaml"]


def test_words_in_any_order_reach_the_parameter_that_stands_for_them() -> None:
    seen: list[object] = []

    @command
    def work(*, setup: Setup, times: Times, method: options.Method = None, console: Console) -> None:
        """Do it."""
        seen.extend([setup.overrides, str(setup.file), times.cycle, times.first, method])
        seen.extend([console.as_json, console.quiet, console.verbose, console.log_format])

    app = typer.Typer()
    app.command()(work)
    done = CliRunner().invoke(app, WORDS)
    assert done.exit_code == 0, done.output
    assert seen == [["a.b=1", "c=[1, 2]"], "other.yaml", ["2019-02-17"], None, "oi", True, True, False, "text"]


def test_the_help_has_the_words_in_the_order_of_the_parameters() -> None:
    @command
    def work(*, times: Times, dry_run: options.DryRun = False, setup: Setup) -> None:
        """Do it."""

    app = typer.Typer(add_completion=False)
    app.command()(work)
    text = CliRunner().invoke(app, ["--help"]).output
    places = [text.index(f" {word} ") for word in ("--cycle", "--from", "--to", "--dry-run", "--config")]
    assert places == sorted(places)
    assert "Do it." in text and "console" not in text
