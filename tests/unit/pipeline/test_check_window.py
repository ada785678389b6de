"""What is late, few or suspicious of a source beside the days before, and the picture of a window."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stormda.config import Config, load
from stormda.errors import ConfigError
from stormda.observations import QC, Observations
from stormda.pipeline import build
from stormda.pipeline.check_window import preflight, window_findings
from stormda.store.observations import Input

CYCLE = np.datetime64("2020-01-10T06:00", "s")
HOUR, DAY = np.timedelta64(3600, "s"), np.timedelta64(86400, "s")


def make(folder: Path) -> Config:
    table = {"kind": "table", "station_id": "s", "time": "t", "latitude": "y", "longitude": "x", "files": ["a.csv"]}
    sources = {"synop": table, "temp": table}
    return load(None, [], {"channels": ["msl"], "run_dir": str(folder / "run"), "observations": {"sources": sources}})


def observe(config: Config, days: int, count: int = 10, last: float = 0.0, rejected: int = 0, at: Any = None) -> None:
    """Synop of a window some days before the cycle: `count` values, the newest `last` hours before its end."""
    end = CYCLE - days * DAY
    minutes = np.linspace(5 * 60, last * 60, count).astype("timedelta64[m]")
    columns = {
        "report_id": [f"r{n}" for n in range(count)],
        "station_id": [str(n) for n in range(count)],
        "platform": "synop",
        "source": "synop",
        "variable": "msl",
        "time": end - minutes if at is None else np.full(count, at),
        "latitude": np.linspace(40.0, 50.0, count),
        "longitude": np.linspace(0.0, 10.0, count),
        "value": np.full(count, 1e5),
        "qc": np.where(np.arange(count) < rejected, int(QC.RANGE), 0).astype(np.int32),
    }
    build.store(config).add(Observations.of(columns), "synop", Input(f"day{days}"))


def finding(config: Config) -> tuple[str, str]:
    found = next(f for f in window_findings(config, CYCLE) if f.what.startswith("synop"))
    return found.status.value, found.detail.partition("; ")[2]


@pytest.mark.parametrize(
    ("came", "status", "says"),
    [
        ({}, "ok", ""),
        ({"count": 4}, "note", "few: usual are 10"),
        ({"count": 5}, "ok", ""),
        # A tenth of the window is 36 minutes.
        ({"last": 0.5}, "ok", ""),
        ({"last": 1.0}, "note", "late: the newest is 60 min before the end, usual are 0"),
        ({"rejected": 3}, "note", "suspicious: 30 % rejected, usual are 0 %"),
        ({"count": 20, "rejected": 1}, "ok", ""),
    ],
)
def test_beside_the_days_before(tmp_path: Path, came: dict[str, Any], status: str, says: str) -> None:
    config = make(tmp_path)
    for days in (1, 2, 3):
        observe(config, days)
    observe(config, 0, **came)
    assert finding(config) == (status, says)


def test_what_is_always_rejected_or_late_is_usual(tmp_path: Path) -> None:
    config = make(tmp_path)
    for days in range(4):
        observe(config, days, last=3.0, rejected=4)
    assert finding(config) == ("ok", "")


def test_values_from_the_future(tmp_path: Path) -> None:
    config = make(tmp_path)
    ahead = np.datetime64("now", "s") + 2 * HOUR
    observe(config, 0, count=3, at=ahead)
    found = next(f for f in window_findings(config, ahead + HOUR) if f.what.startswith("synop"))
    assert found.status.value == "note" and "3 values from the future" in found.detail


def test_a_world_to_come_is_no_mistake_of_the_clock(tmp_path: Path) -> None:
    config = make(tmp_path)
    ahead = np.datetime64("now", "s") + 1000 * DAY
    observe(config, 0, count=3, at=ahead)
    found = next(f for f in window_findings(config, ahead + HOUR) if f.what.startswith("synop"))
    assert "future" not in found.detail


@pytest.mark.parametrize("form", ["png", "svg"])
def test_the_picture_of_a_window(tmp_path: Path, form: str) -> None:
    config = make(tmp_path)
    observe(config, 0, rejected=2)
    path = tmp_path / f"window.{form}"
    preflight(config, CYCLE, path)
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG" if form == "png" else b"<?xml")
    if form == "svg":  # text stays text: what a reader sees is there
        text = data.decode()
        for words in ("synop (10)", "temp (0)", "synop (8)", "rejected (2)", "10 values in"):
            assert words in text, words
    preflight(config, CYCLE, path)
    assert path.read_bytes() == data


def test_a_window_without_anything_can_be_drawn(tmp_path: Path) -> None:
    preflight(make(tmp_path), CYCLE, tmp_path / "nothing.png")
    assert (tmp_path / "nothing.png").stat().st_size > 1000


def test_a_picture_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no picture can be written as 'a.txt'"):
        preflight(make(tmp_path), CYCLE, tmp_path / "a.txt")
