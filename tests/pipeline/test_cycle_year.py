"""A year of cycles in a simulated clock, in one process, and a week of them as separate processes.

Memory must not grow, and the disk must hold what retention says and no more. The observations of the tiny world come
again and again with other times: its truth is short.
"""

import gc
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import psutil
import pytest
from cycle_world import Project
from tiny_world import FIRST, STEP, TIMES, World, reports

from stormda.pipeline.cycle import catch_up
from stormda.store.ledger import ledger_path
from stormda.time import format_time

KEEP = {"analyses": "2d", "forecasts": "2d", "observations": "3d", "ledger": "30d"}
MONTHS = 12
A_MONTH = 122  # cycles, so that a year has 1464


def deliver(project: Project, k: int) -> None:
    """Observations of the k-th time after FIRST; what is older than a week is removed, as a feed does."""
    table = reports(project.world.truth, [FIRST + k % 40])
    table["time"] = np.datetime_as_string(TIMES[FIRST] + k * STEP, unit="s")
    table.to_csv(project.folder / "obs" / f"{k:05d}.csv", index=False)
    (project.folder / "obs" / f"{k - 28:05d}.csv").unlink(missing_ok=True)


def size(folder: Path) -> int:
    """Bytes below a folder."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def row(month: int, seconds: float, project: Project) -> dict[str, float]:
    """What a month cost, and what there is after it."""
    gc.collect()
    return {
        "month": month,
        "s a cycle": seconds / A_MONTH,
        "memory MB": psutil.Process().memory_info().rss / 1e6,
        "open files": psutil.Process().num_fds(),
        "ledger kB": ledger_path(project.run).stat().st_size / 1e3,
        "run folder MB": size(project.run) / 1e6,
        "analyses": len(list((project.run / "analyses" / "gaussian").iterdir())),
    }


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_year_in_one_process(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Project(world, tmp_path / "year", {"keep": KEEP, "lead": "6h", "metrics": "m.prom"})
    config, rows = project.config(), []
    for month in range(MONTHS):
        begun = perf_counter()
        for k in range(month * A_MONTH, (month + 1) * A_MONTH):
            deliver(project, k)
            (line,) = catch_up(config, now=TIMES[FIRST] + k * STEP).cycles
            assert (line.state, line.product) == ("done", "analysis"), line
        rows.append(row(month + 1, perf_counter() - begun, project))
        with capsys.disabled():
            print("  ".join(f"{name} {value:8.2f}" for name, value in rows[-1].items()))
    _judge(rows)
    assert project.half_written() == [] and project.double_runs() == 0


def _judge(rows: list[dict[str, float]]) -> None:
    """After the second month, when retention is at work, nothing grows."""
    second, last = rows[1], rows[-1]
    # Analyses that stay: of two days (8), the one at its limit, and no more.
    assert last["analyses"] == second["analyses"] <= 9
    assert last["ledger kB"] <= 1.1 * second["ledger kB"] and last["run folder MB"] <= 1.1 * second["run folder MB"]
    # An allocator keeps what it has once had; 1220 cycles that kept 20 kB each would be 24 MB.
    assert last["memory MB"] - second["memory MB"] < 24.0
    assert last["open files"] <= second["open files"]


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_week_as_separate_processes(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Project(world, tmp_path / "week", {"keep": KEEP})
    seconds: list[float] = []
    command = [sys.executable, "-m", "stormda", "cycle", "run", "-c", str(project.folder / "config.yaml"), "--quiet"]
    for k in range(28):
        deliver(project, k)
        now = format_time(TIMES[FIRST] + k * STEP)
        begun = perf_counter()
        subprocess.run([*command, "--now", now], check=True, stdout=subprocess.DEVNULL, env=_environment())
        seconds.append(perf_counter() - begun)
        begun = perf_counter()
        subprocess.run([*command, "--now", now], check=True, stdout=subprocess.DEVNULL, env=_environment())
        idle = perf_counter() - begun
    assert project.states() == ["done"] * 28 and project.double_runs() == 0
    with sqlite3.connect(ledger_path(project.run)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with capsys.disabled():
        print(f"28 processes: {np.median(seconds):.2f} s a cycle, {max(seconds):.2f} at most; {idle:.2f} s idle")


def _environment() -> dict[str, Any]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}
