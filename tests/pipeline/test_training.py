"""`stormda train` on the tiny world: early stopping, the report, and the log."""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_world import Ended

Run = Callable[..., Ended]
SHORT = ("train.steps=6", "train.validate_every=3")


def test_report_shows_curves_scores_and_samples(run: Run, tmp_path: Path) -> None:
    ended = run("train", *SHORT)
    assert ended.code == 0, ended.err
    page = (tmp_path / "run" / "training" / "report.html").read_text(encoding="utf-8")
    for words in ("one-step mean", "a member", "spread of the members", "without history, member 3", "crps msl"):
        assert words in page, words
    assert page.count("data:image/png;base64,") == 1 + 2 * 8  # curves; truth, mean, member, spread, error, 3 without
    assert "linear-Gaussian" in page and "config_sha256" in page.replace(" ", "_")


def test_ensemble_scores_are_logged_and_told(run: Run, tmp_path: Path) -> None:
    ended = run("train", *SHORT, "--json")
    assert ended.code == 0, ended.err
    result = json.loads(ended.out)
    names = {f"{what} {channel}" for what in ("rmse", "crps", "spread/skill") for channel in ("msl", "t2m")}
    assert names < set(result["scores"]) and names < set(result["linear"])
    assert {"rmse msl", "crps t2m"} < set(result["persistence"])
    with (tmp_path / "run" / "training" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["3", "6"] and all(float(row["crps msl"]) > 0 for row in rows)


def test_it_ends_early_where_nothing_improves(run: Run) -> None:
    ended = run("train", "train.steps=40", "train.validate_every=2", "train.patience=2", "train.learning_rate=1e-12",
                "train.members=0", "--json")  # fmt: skip
    assert ended.code == 0, ended.err
    result = json.loads(ended.out)
    # Steps so small that rounding decides which validation is the best: it ends two after the last better one.
    assert result["finished"] and result["steps"] == result["scores"]["step"] + 4


def test_an_archive_beyond_the_memory_is_read_while_training(run: Run, tmp_path: Path) -> None:
    ended = run("train", *SHORT, "train.members=0", "train.memory=0.06", "--json")  # all fields: 0.14 MiB
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["finished"]
    again = run("train", *SHORT, "train.members=0")
    assert again.code != 0 and "data: " in again.err  # in memory it would be another curve


def test_memory_for_hardly_a_field_is_refused(run: Run) -> None:
    ended = run("train", *SHORT, "train.memory=0.001")
    assert ended.code == 2 and "train.memory" in ended.err and "Traceback" not in ended.err


def test_fine_tuning_on_own_analyses_is_logged(run: Run) -> None:
    ended = run("train", *SHORT, "train.members=0", "train.rollout.steps=2", "train.rollout.after=0.3", "--json")
    assert ended.code == 0, ended.err
    assert {"cycled rmse msl", "cycled rmse t2m"} < set(json.loads(ended.out)["scores"])


def test_event_files_need_their_package(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stormda.training.tensorboard.find_spec", lambda name: None)
    ended = run("train", *SHORT, "train.tensorboard=true")
    assert ended.code == 2 and "package tensorboard" in ended.err and "pip install tensorboard" in ended.err
    assert not (tmp_path / "run" / "training").exists()


def test_event_files_hold_the_rows_of_the_log(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for the writer of the package."""
    rows: dict[int, dict[str, float]] = {}

    class Writer:
        def __init__(self, folder: str, purge_step: int) -> None:
            assert Path(folder) == tmp_path / "run" / "training" / "events" and purge_step == 3

        def add_scalar(self, name: str, value: float, step: int) -> None:
            rows.setdefault(step, {})[name] = value

        def flush(self) -> None: ...

    monkeypatch.setattr("stormda.training.tensorboard.find_spec", lambda name: True)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    ended = run("train", *SHORT, "train.members=0", "train.tensorboard=true")
    assert ended.code == 0, ended.err
    with (tmp_path / "run" / "training" / "log.csv").open() as file:
        logged = {int(row["step"]): row for row in csv.DictReader(file)}
    assert list(rows) == [3, 6]
    for step, row in rows.items():
        assert {k: f"{v:.6g}" for k, v in row.items()} == {k: v for k, v in logged[step].items() if k != "step"}
