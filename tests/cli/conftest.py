"""Run the command line in this process, as a terminal of 100 columns without colours would see it."""

import logging
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer.rich_utils
import yaml

from stormda.cli.console import Console
from stormda.cli.main import main


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test inherits the width, the loggers or the signal handlers of another."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(typer.rich_utils, "MAX_WIDTH", 100)
    monkeypatch.setattr(typer.rich_utils, "FORCE_TERMINAL", None)
    root, ours = logging.getLogger(), logging.getLogger("stormda")
    handlers, levels = list(root.handlers), (root.level, ours.level)
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    yield
    root.handlers = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    logging.captureWarnings(False)
    Console._current = None
    assert {number: signal.getsignal(number) for number in signals} == signals


@pytest.fixture
def stormda(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """`stormda("config", "show")` runs the command."""

    def run(*arguments: object) -> Ended:
        texts = [str(a) for a in arguments]
        monkeypatch.setattr(sys, "argv", ["stormda", *texts])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(texts)
        said = capsys.readouterr()
        return Ended(int(end.value.code or 0), said.out, said.err)

    return run


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """`write(channels=["msl"])` makes `config.yaml` in an empty folder, which becomes the current one."""
    monkeypatch.chdir(tmp_path)

    def configure(**tree: Any) -> Path:
        (tmp_path / "config.yaml").write_text(yaml.safe_dump({"channels": ["msl"]} | tree))
        return Path("config.yaml")

    return configure
