"""Data on stdout, talk on stderr: tables, JSON, progress, logs."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from stormda.cli import console
from stormda.cli.console import Console, jsonable


@dataclass(frozen=True)
class Result:
    path: Path
    score: float
    values: tuple[float, ...] = ()

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        return "a title", ["name", "value"], [["score", f"{self.score:g}"], ["[x]", "long " * 60]]


def test_json_holds_only_what_json_knows() -> None:
    value = {
        "path": Path("a/b"),
        "time": np.datetime64("2019-02-17T12:00:00", "s"),
        "span": np.timedelta64(90, "m"),
        "array": np.array([[1.0, np.nan], [np.inf, 2.0]]),
        "number": np.float32(0.5),
        "count": np.int64(3),
        "yes": np.bool_(True),
        "missing": float("nan"),
        "nested": Result(Path("x"), float("-inf"), (1.0,)),
        3: None,
    }
    assert jsonable(value) == {
        "path": "a/b",
        "time": "2019-02-17T12:00Z",
        "span": 5400.0,
        "array": [[1.0, None], [None, 2.0]],
        "number": 0.5,
        "count": 3,
        "yes": True,
        "missing": None,
        "nested": {"path": "x", "score": None, "values": [1.0]},
        "3": None,
    }


def test_a_result_is_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    Console(as_json=True).result(Result(Path("a"), float("nan")))
    said = capsys.readouterr()
    assert json.loads(said.out) == {"path": "a", "score": None, "values": []}
    assert said.err == ""


def test_a_table_in_a_file_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    Console().result(Result(Path("a"), 1.5))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "a title"
    assert lines[1].split() == ["name", "value"]
    assert lines[3].split() == ["score", "1.5"]
    assert lines[4] == f"[x]     {'long ' * 60}".rstrip()


def test_a_result_without_a_table_is_shown_as_keys_and_values(capsys: pytest.CaptureFixture[str]) -> None:
    Console().result({"valid": True, "channels": ["msl", "t850"], "name": "x"})
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert lines == [["valid", "true"], ["channels", '["msl", "t850"]'], ["name", "x"]]


def test_progress_in_a_log_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(float(second) for second in range(1000))
    monkeypatch.setattr(console, "monotonic", lambda: next(clock))
    with Console().progress() as progress:
        for done in range(101):
            progress("drawing", done, 100)
        progress("writing", 0, 2)
    said = capsys.readouterr()
    # One second a call: at the start, every 30 s (LINE_EVERY), at the end, and when the work changes.
    words = [line.split(" ", 1)[1] for line in said.err.splitlines()]
    assert words == [*(f"drawing {n}/100" for n in (0, 30, 60, 90, 100)), "writing 0/2"]
    assert said.out == ""


def test_quiet_is_without_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with Console(quiet=True).progress() as progress:
        progress("drawing", 0, 1)
    assert capsys.readouterr().err == ""


def test_talk_for_machines_is_an_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Console(log_format="json").progress() as progress:
        progress("drawing", 0, 4)
    logging.getLogger("stormda.x").warning("source '%s' has nothing", "synop")
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["message"], first["done"], first["total"]) == ("drawing 0/4", 0, 4)
    assert (second["level"], second["message"]) == ("warning", "source 'synop' has nothing")


def test_warnings_are_named_and_other_packages_are_silent_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    def talk() -> list[str]:
        logging.getLogger("stormda.store").warning("late\ndata")
        logging.getLogger("stormda.store").debug("detail")
        logging.getLogger("elsewhere").warning("hm")
        return [line.split(" ", 1)[1] for line in capsys.readouterr().err.splitlines()]

    Console()
    assert talk() == ["WARNING: late data"]
    Console(verbose=True)
    assert talk() == ["WARNING: late data", "detail", "WARNING: hm"]


def test_a_bar_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    talk = Console()
    talk.err = console.Rich(stderr=True, force_terminal=True, highlight=False, markup=False)
    with talk.progress() as progress:
        progress("drawing", 0, 2)
        progress("drawing", 2, 2)
        logging.getLogger("stormda").warning("beside the bar")
    assert "beside the bar" in capsys.readouterr().err
