"""When a cycle is due, and what its sources say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stormda.config import Config, load
from stormda.errors import ConfigError
from stormda.observations import Observations
from stormda.pipeline.cycle_due import due_time, due_until, newest_due, ready
from stormda.store.observations import Input, ObservationStore
from stormda.time import format_time, parse_time

T = parse_time("2019-02-10T00Z")
HOUR = np.timedelta64(3600, "s")


def config(tmp_path: Path, **tree: Any) -> Config:
    source = {"kind": "table", "files": ["x.csv"], "station_id": "s", "time": "t", "min_count": 2}
    names = tree.pop("sources", {})
    base = {
        "channels": ["msl"],
        "run_dir": str(tmp_path),
        "observations": {"after": "1h", "sources": {name: source | more for name, more in names.items()}},
        "cycle": {"start": "2019-02-10T00Z"} | tree,
    }
    return load(None, (), base)


def test_due_after_window_and_cutoff(tmp_path: Path) -> None:
    c = config(tmp_path, cutoff="30min")
    assert format_time(due_time(c, T)) == "2019-02-10T01:30Z"
    assert due_until(c, T, due_time(c, T) - np.timedelta64(1, "s")) == []
    assert due_until(c, T, due_time(c, T)) == [T]
    assert due_until(c, T, due_time(c, T) + 12 * HOUR) == [T, T + 6 * HOUR, T + 12 * HOUR]


def test_an_end_and_no_start(tmp_path: Path) -> None:
    assert due_until(config(tmp_path, end="2019-02-10T06Z"), T, T + 100 * HOUR) == [T, T + 6 * HOUR]
    free = config(tmp_path, start=None)
    assert newest_due(free, parse_time("2019-02-10T12:59Z")) == parse_time("2019-02-10T06Z")
    assert newest_due(free, parse_time("2019-02-10T13Z")) == parse_time("2019-02-10T12Z")


def test_the_policy_of_each_source(tmp_path: Path) -> None:
    sources = {
        "a": {"policy": "required", "wait": "2h"},
        "b": {"policy": "warn", "wait": "1h"},
        "c": {"policy": "optional", "wait": "9h"},
    }
    c, due = config(tmp_path, sources=sources), T + HOUR
    store = ObservationStore(tmp_path / "observations")

    def give(name: str, values: int) -> None:
        columns = {"source": name, "report_id": "r", "station_id": "s", "platform": "synop", "variable": "msl"}
        time = np.full(values, T.astype("datetime64[us]"))
        places = {"latitude": np.zeros(values), "longitude": np.zeros(values), "value": np.ones(values)}
        store.add(Observations.of(columns | places | {"time": time}), name, Input(name))

    assert ready(c, T, due).state == "waiting" and "a has 0 of 2 values" in ready(c, T, due).note
    give("a", 1)
    assert "a has 1 of 2 values, waited for until 2019-02-10T03:00Z" in ready(c, T, due).note
    assert ready(c, T, due + 2 * HOUR).state == "missing"
    give("a", 2)
    assert ready(c, T, due).state == "waiting" and ready(c, T, due).note.startswith("b has 0 of 2")
    assert ready(c, T, due + HOUR).state == "go"  # b only warns, c is never waited for
    give("b", 2)
    assert ready(c, T, due).state == "go"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("cycle.cutoff=-1h", "a span before the cycle"),
        ("cycle.lease=0s", "longer than nothing"),
        ("cycle.keep.analyses=0h", "`analyses` must be longer than nothing"),
        ("cycle.end=2018-01-01", "the last cycle is before the first"),
        ("cycle.on_reject=ignore", "'ignore' is not possible here"),
        ('cycle.slurm.account="a\\nb"', "String should match pattern"),
    ],
)
def test_settings_that_make_no_sense(override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(None, [override], {"channels": ["msl"], "cycle": {"start": "2019-01-01"}})
