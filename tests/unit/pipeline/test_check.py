"""`check` finds what a cycle would stumble over, before it does."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stormda.config import Config, Harmonics, load
from stormda.grid import Grid
from stormda.observations import QC, Observations
from stormda.pipeline import build
from stormda.pipeline.check import check
from stormda.pipeline.findings import Findings, Status
from stormda.state import State
from stormda.store.archive import write_archive
from stormda.store.observations import Input
from stormda.variables import Channel

CYCLE = np.datetime64("2020-01-10T06:00", "s")
GRID = Grid.regular(np.array([50.0, 45.0, 40.0]), np.array([0.0, 5.0, 10.0, 15.0]))


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Config]:
    """A run with an archive file and two stations' files, `key=value` overrides on top."""
    for name in ("archive.nc", "synop.csv", "late.csv"):
        (tmp_path / name).write_text("not empty")
    table = {"kind": "table", "station_id": "s", "time": "t", "latitude": "y", "longitude": "x"}

    def make(*overrides: str) -> Config:
        sources = {
            "synop": table | {"files": [str(tmp_path / "synop.csv")], "policy": "required", "min_count": 3},
            "late": table | {"files": [str(tmp_path / "late.csv")]},
        }
        tree = {
            "channels": ["msl"],
            "run_dir": str(tmp_path / "run"),
            "archive": {"sources": {"era": {"files": [str(tmp_path / "archive.nc")]}}},
            "observations": {"sources": sources},
        }
        return load(None, overrides, tree)

    return make


def archive(config: Config) -> None:
    times = np.arange("2020-01-01", "2020-01-11", np.timedelta64(6, "h"), dtype="datetime64[s]")
    values = np.random.default_rng(0).normal(1e5, 500.0, (len(times), 1, *GRID.shape)).astype(np.float32)

    def states() -> Iterator[State]:
        yield State(values, (Channel("msl"),), GRID, times)

    path = config.below_run(config.archive.path)
    write_archive(
        path, states(), step=np.timedelta64(6, "h"), harmonics=Harmonics(annual=0, diurnal=0), train=None, provenance={}
    )


def observe(config: Config, count: int, source: str = "synop") -> None:
    """`count` values of a source at the cycle, one of them rejected, and one at the open end of the window."""
    columns: dict[str, Any] = {
        "report_id": [f"{source}{n}" for n in range(count + 1)],
        "station_id": [str(n) for n in range(count + 1)],
        "platform": "synop",
        "source": source,
        "variable": "msl",
        "time": np.array([CYCLE - np.timedelta64(6, "h")] + [CYCLE] * count),
        "latitude": np.full(count + 1, 45.0),
        "longitude": np.full(count + 1, 5.0),
        "value": np.full(count + 1, 1e5),
        "qc": np.array([0] * count + [int(QC.RANGE)], dtype=np.int32),
    }
    build.store(config).add(Observations.of(columns), source, Input(source))


def states(findings: Findings) -> dict[str, str]:
    return {f.what: f.status.value for f in findings.findings}


def test_before_the_first_cycle_what_is_made_later_may_be_missing(config: Callable[..., Config]) -> None:
    assert states(check(config())) == {
        "archive source era": "ok",
        "observation source synop": "ok",
        "observation source late": "ok",
        "archive": "note",
        "observation store": "note",
        "disk": "ok",
    }


def test_a_cycle_needs_what_an_analysis_is_drawn_from(config: Callable[..., Config]) -> None:
    found = states(check(config(), [CYCLE]))
    assert found["archive"] == "missing" and found["observation store"] == "missing"
    assert found["synop 2020-01-10T06:00Z"] == "missing" and found["late 2020-01-10T06:00Z"] == "note"


def test_a_cycle_that_can_be_drawn(config: Callable[..., Config]) -> None:
    settings = config()
    archive(settings)
    observe(settings, 3)
    findings = check(settings, [CYCLE])
    assert not findings.of(Status.MISSING) and not findings.of(Status.BROKEN)
    (synop,) = [f for f in findings.findings if f.what.startswith("synop ")]
    # Four rows were stored: one lies on the open end of the window, one of the other three was rejected.
    assert synop.detail.startswith("3 values in (2020-01-10T00:00Z, 2020-01-10T06:00Z], 2 passed")
    assert states(findings)["history"] == "note"


def test_too_few_values_of_a_required_source(config: Callable[..., Config]) -> None:
    settings = config()
    archive(settings)
    observe(settings, 2)
    assert [f.what for f in check(settings, [CYCLE]).of(Status.MISSING)] == ["synop 2020-01-10T06:00Z"]


def test_files_by_the_policy_of_their_source(config: Callable[..., Config], tmp_path: Path) -> None:
    (tmp_path / "late.csv").unlink()
    assert states(check(config()))["observation source late"] == "note"
    (tmp_path / "synop.csv").unlink()
    assert states(check(config()))["observation source synop"] == "missing"
    (tmp_path / "synop.csv").write_text("")
    assert states(check(config()))["observation source synop"] == "broken"


def test_an_archive_that_is_built_needs_its_files_no_more(config: Callable[..., Config], tmp_path: Path) -> None:
    settings = config()
    (tmp_path / "archive.nc").unlink()
    assert states(check(settings))["archive source era"] == "missing"
    archive(settings)
    assert states(check(settings))["archive source era"] == "note"


def test_an_archive_that_does_not_fit(config: Callable[..., Config]) -> None:
    archive(config())
    assert states(check(config("channels=[msl, t850]")))["archive"] == "broken"
    nothing = check(config("archive.train={start: 1990-01-01, end: 1991-01-01}"))
    assert states(nothing)["archive"] == "broken"


def test_weights(config: Callable[..., Config]) -> None:
    assert states(check(config("assimilate.method=storm")))["weights"] == "note"
    assert states(check(config("assimilate.method=storm"), [CYCLE]))["weights"] == "missing"
    assert states(check(config("assimilate.method=storm", "storm.weights=shipped:none")))["weights"] == "missing"


def test_no_room(config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config()
    archive(settings)
    # Analysis and background, 4 bytes, 3 x 4 points, 32 members and mean and spread: 3264 bytes.
    for free, state in ((3263, "broken"), (3265, "note"), (3265 + (1 << 30), "ok")):
        monkeypatch.setattr(shutil, "disk_usage", lambda folder, free=free: SimpleNamespace(free=free))
        assert states(check(settings))["disk"] == state


def test_a_file_where_the_run_folder_should_be(config: Callable[..., Config], tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    assert states(check(config()))["disk"] == "broken"


def test_it_writes_nothing(config: Callable[..., Config], tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    check(config(), [CYCLE])
    assert sorted(tmp_path.rglob("*")) == before
