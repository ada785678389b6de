"""`stormda plot` on the command line: what it draws, lists and refuses, with the exit code of each."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stormda.grid import Grid
from stormda.store.analysis import write_analysis
from stormda.time import parse_time
from stormda.variables import Channel


@pytest.fixture
def ensemble(tmp_path: Path) -> Path:
    """The file of an ensemble of two members."""
    grid = Grid.regular(np.array([50.0, 40.0]), np.array([0.0, 10.0, 20.0]))
    members = 280.0 + np.arange(12.0).reshape(2, 1, 2, 3)
    what = {"count": 2, "channels": (Channel("t2m"),), "grid": grid, "time": parse_time("2020-01-01T00Z")}
    write_analysis(tmp_path / "analysis.nc", members, attributes={}, **what)  # type: ignore[arg-type]
    return tmp_path / "analysis.nc"


def test_a_picture_and_the_list(stormda: Callable[..., Any], ensemble: Path, tmp_path: Path) -> None:
    ended = stormda("plot", ensemble, "spread", "t2m", "-o", tmp_path / "spread.png", "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out) | {"size": 0} == {
        "file": str(tmp_path / "spread.png"), "picture": "spread", "of": "t2m", "size": 0
    }  # fmt: skip
    assert (tmp_path / "spread.png").read_bytes().startswith(b"\x89PNG")
    listed = stormda("plot", ensemble, "--list")
    assert listed.code == 0 and [line.split()[0] for line in listed.out.splitlines()[-3:]] == [
        "analysis", "spread", "member"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "which picture? - key=PICTURE; hint: stormda plot"),
        (("spread",), 2, "where to? - key=--output; hint: -o spread.png"),
        (("spred", "-o", "a.png"), 2, "did you mean 'spread'?"),
        (("spread", "t3m", "-o", "a.png"), 2, "did you mean 't2m'?"),
        (("spread", "-o", "a.txt"), 2, "end it in .png, .svg or .pdf"),
        (("ranks", "-o", "a.png"), 3, "what can: analysis, spread, member"),
    ],
)
def test_what_is_refused(
    stormda: Callable[..., Any], ensemble: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int,
    said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(ensemble.parent)
    ended = stormda("plot", ensemble, *words)
    assert ended.code == code and said in ended.err.replace("\n", " "), ended.err


def test_a_folder_that_is_no_run(stormda: Callable[..., Any], tmp_path: Path) -> None:
    ended = stormda("plot", tmp_path, "--list")
    assert ended.code == 1 and "neither a run nor an analysis" in ended.err
    ended = stormda("plot", tmp_path / "gone", "--list")
    assert ended.code == 3 and "there is no such file" in ended.err
