"""A training that is killed goes on to the same curve; a loss that explodes says what to do."""

import csv
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from stormda.errors import CheckpointError, StormdaError
from stormda.training.loop import Outcome, Settings, fit

SETTINGS = Settings(steps=60, learning_rate=1e-2, warm_up=5, average=0.9, validate_every=10, checkpoint_every=1e9)


def problem() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))


def objective(model: nn.Module, step: int) -> Tensor:
    x = torch.randn(16, 3, generator=torch.Generator().manual_seed(step))
    return (model(x) - x.prod(dim=1, keepdim=True)).square().mean()


def validate(model: nn.Module) -> dict[str, float]:
    return {"loss": float(objective(model, 10_000))}


def run(folder: Path, steps: int | None = None, settings: Settings = SETTINGS, job: str = "width: 8") -> Outcome:
    """Train for `steps` steps of this call."""
    left = [steps]

    def stop() -> bool:
        if left[0] is not None:
            left[0] -= 1
        return left[0] == 0

    return fit(problem(), objective, validate, settings, folder, job=job, stop=stop)


def rows(outcome: Outcome) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in outcome.curve]


def test_a_resumed_run_has_the_curve_of_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = run(tmp_path / "a")
    parts = [run(tmp_path / "b", n) for n in (7, 13, 1, None)]
    assert [p.finished for p in parts] == [False, False, False, True]
    assert rows(parts[-1]) == rows(whole) and parts[-1].best == whole.best  # bit by bit
    assert [row["step"] for row in whole.curve] == [10, 20, 30, 40, 50, 60]


def test_the_model_is_left_with_the_best_average(tmp_path: Path) -> None:
    model = problem()
    outcome = fit(model, objective, validate, SETTINGS, tmp_path, job="")
    with torch.no_grad():
        assert validate(model)["loss"] == outcome.best["loss"] == min(row["loss"] for row in outcome.curve)
    with (tmp_path / "log.csv").open() as file:
        assert [float(row["step"]) for row in csv.DictReader(file)] == [row["step"] for row in outcome.curve]


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    first = run(tmp_path)
    again = run(tmp_path)
    assert again.finished and again.step == first.step and again.curve == first.curve


def test_no_steps_validate_and_leave_the_model_as_it_was(tmp_path: Path) -> None:
    model = problem()
    before = [p.clone() for p in model.parameters()]
    outcome = fit(model, objective, validate, replace(SETTINGS, steps=0), tmp_path, job="width: 8")
    assert outcome.finished and outcome.step == 0 and outcome.best["loss"] == validate(problem())["loss"]
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 2


def test_it_ends_when_validation_no_longer_improves(tmp_path: Path) -> None:
    scores = iter([3.0, 2.0] + [4.0] * 100)
    settings = Settings(steps=1000, validate_every=5, patience=3, warm_up=1)
    outcome = fit(problem(), objective, lambda _: {"loss": next(scores)}, settings, tmp_path, job="")
    assert outcome.step == 25 and outcome.best["step"] == 10 and outcome.finished


def test_minutes_end_a_training(tmp_path: Path) -> None:
    outcome = run(tmp_path, settings=Settings(steps=10**9, minutes=0.5 / 60, warm_up=1))
    assert outcome.finished and 0.5 <= outcome.seconds < 3 and len(outcome.curve) >= 1
    assert outcome.curve[-1]["rate"] == pytest.approx(0.0, abs=1e-9)  # the cosine has come to its end


def test_another_job_or_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    run(tmp_path, 3)
    with pytest.raises(CheckpointError, match="width: 8 -> 16") as error:
        run(tmp_path, job="width: 16")
    assert error.value.file == str(tmp_path / "checkpoint.pt") and "remove" in str(error.value.hint)
    (tmp_path / "checkpoint.pt").write_bytes((tmp_path / "checkpoint.pt").read_bytes()[:500])
    with pytest.raises(CheckpointError, match="damaged"):
        run(tmp_path)


def test_a_loss_that_is_not_finite_says_what_to_lower(tmp_path: Path) -> None:
    def explode(model: nn.Module, step: int) -> Tensor:
        return objective(model, step) * (float("nan") if step == 3 else 1.0)

    with pytest.raises(StormdaError, match="not finite at step 3") as error:
        fit(problem(), explode, validate, SETTINGS, tmp_path, job="")
    assert "lower train.learning_rate" in str(error.value.hint)


CHILD = """
    import importlib.util, sys, time
    from dataclasses import replace
    from pathlib import Path
    spec = importlib.util.spec_from_file_location("test_loop", sys.argv[1])
    case = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(case)

    def slowly(model, step):
        time.sleep(0.02)
        return case.objective(model, step)

    settings = replace(case.SETTINGS, checkpoint_every=0.0)
    case.fit(case.problem(), slowly, case.validate, settings, Path(sys.argv[2]), job="width: 8")
"""


def test_killed_at_any_moment_it_goes_on(tmp_path: Path) -> None:
    whole, folder = run(tmp_path / "whole"), tmp_path / "killed"
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), __file__, str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 60
    while not (folder / "log.csv").exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.15)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    rest = run(folder)
    assert rows(rest) == rows(whole)
