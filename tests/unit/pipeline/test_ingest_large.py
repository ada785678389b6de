"""A table that is too large for memory: stored part by part, the same as in one piece."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stormda import config as configuration
from stormda.config import Config
from stormda.errors import InputError
from stormda.observations import QC
from stormda.pipeline import ingest_file
from stormda.pipeline.ingest import ingest
from stormda.sources import table
from stormda.store.observations import ObservationStore
from stormda.store.spool import Spool
from stormda.time import Window, parse_time

ALL = Window(parse_time("1900-01-01"), parse_time("2100-01-01"))
CHECKS = [{"check": c} for c in ("range", "duplicates", "stuck", "spike")]


def reports() -> pd.DataFrame:
    """Sixty days of hourly reports of 30 stations, with everything that the static checks find, also between parts."""
    rng = np.random.default_rng(5)
    hour, station = (a.ravel() for a in np.meshgrid(np.arange(24 * 60), np.arange(30), indexing="ij"))
    time = np.datetime64("2020-01-01") + hour.astype("timedelta64[h]")
    frame = pd.DataFrame(
        {"id": station, "time": np.datetime_as_string(time, unit="m"), "lat": 50.0, "lon": 1.0 * station}
    )
    frame["t"] = (280.0 + rng.normal(0, 1, len(frame))).round(2)
    frame.loc[rng.choice(len(frame), 300, replace=False), "t"] += 25.0  # spikes
    frame.loc[rng.choice(len(frame), 30, replace=False), "t"] = 400.0
    frame.loc[(frame["id"] == 7) & (hour % 240 < 40), "t"] = 279.0  # stuck for 40 hours, every ten days
    frame.loc[[5, 20000], "time"] = ""
    return pd.concat([frame, frame.iloc[rng.choice(len(frame), 200)]], ignore_index=True)  # and duplicates


def configured(folder: Path, file: Path) -> Config:
    source: dict[str, object] = {"kind": "table", "station_id": "id", "time": "time", "latitude": "lat"}
    source |= {"longitude": "lon", "files": [str(file)], "variables": {"t2m": {"column": "t"}}}
    tree: dict[str, object] = {"channels": ["t2m"], "run_dir": "run", "observations": {"sources": {"one": source}}}
    config = configuration.load(None, [], tree | {"quality": {"static": CHECKS}})
    config._folder = folder
    return config


def stored(config: Config) -> pd.DataFrame:
    rows = ObservationStore(config.run / "observations").read(ALL).table.to_pandas()
    return rows.sort_values(["time", "station_id", "value", "qc"], ignore_index=True)


def write(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("name", ["by_time.csv", "by_station.parquet"])
def test_parts_give_what_the_whole_gives(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = reports()
    if name.startswith("by_station"):
        frame = frame.sort_values("id", kind="stable", ignore_index=True)
    file = write(frame, tmp_path / name)
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = ingest(configured(tmp_path / "whole", file)).sources[0]
    monkeypatch.setattr(table, "PART", 6000)
    monkeypatch.setattr(ingest_file, "PART", 6000)
    config = configured(tmp_path / "parts", file)
    parts = ingest(config).sources[0]
    assert parts == whole
    assert parts.codes.keys() == {"used", "missing", "range", "duplicate", "stuck", "spike"}
    pd.testing.assert_frame_equal(stored(config), stored(configured(tmp_path / "whole", file)))
    left = [p.name for p in (config.run / "observations").iterdir()]
    assert sorted(n for n in left if n != ".lock") == ["batches", "manifest.json"]


@pytest.mark.parametrize("size", [300, 500, 2000])
def test_rare_reports_that_are_stuck_are_found_in_parts(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Soundings twice a day beside a station that reports every minute: ten days, far longer than any part."""
    rng = np.random.default_rng(8)
    minute = np.arange(10 * 1440)
    often = pd.DataFrame({"id": "often", "minute": minute, "t": 280.0 + rng.normal(0, 1, len(minute))})
    often.loc[(often["minute"] > 3000) & (often["minute"] < 6000), "t"] = 281.5
    half_days = np.arange(20) * 720
    rare = [pd.DataFrame({"id": name, "minute": half_days, "t": 270.0}) for name in ("stuck", "changes", "spikes")]
    rare[1].loc[5::6, "t"] += 1.0  # no run of six
    rare[2].loc[9, "t"] = 400.0  # out of range, and so no end of the run
    frame = pd.concat([often, *rare], ignore_index=True)
    time = np.datetime64("2020-01-01") + frame.pop("minute").to_numpy().astype("timedelta64[m]")
    frame["time"], frame["lat"], frame["lon"] = np.datetime_as_string(time), 50.0, 10.0
    file = write(frame, tmp_path / "a.parquet")
    # Another file has the reports of the day before: the first runs began there.
    early = rare[0].iloc[:2].assign(time=["2019-12-31T00:00", "2019-12-31T12:00"], lat=50.0, lon=10.0)
    first = write(early.drop(columns="minute"), tmp_path / "0.parquet")

    def rows(folder: str) -> pd.DataFrame:
        (tmp_path / folder).mkdir()
        config = configured(tmp_path / folder, file)
        config.observations.sources["one"] = config.observations.sources["one"].model_copy(
            update={"files": (str(first), str(file))}
        )
        ingest(config)
        return stored(config)

    whole = rows("whole")
    monkeypatch.setattr(table, "PART", size)
    monkeypatch.setattr(ingest_file, "PART", size)
    pd.testing.assert_frame_equal(rows("parts"), whole)
    stuck = whole[whole["qc"] == QC.STUCK].groupby("station_id").size().to_dict()
    assert stuck == {"often": 2999, "stuck": 20, "spikes": 19}


def test_a_large_file_that_is_broken_at_its_end_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "PART", 6000)
    file = write(reports(), tmp_path / "cut.csv")
    with file.open("a") as stream:
        stream.write("7,2020-01-01\n")
    config = configured(tmp_path, file)
    with pytest.raises(InputError, match="truncated or no table"):
        ingest(config)
    assert ObservationStore(config.run / "observations").summary() == []
    assert not list((config.run / "observations").glob(".spool*"))


def test_a_row_is_in_one_part(tmp_path: Path) -> None:
    config = configured(tmp_path, write(reports(), tmp_path / "a.parquet"))
    rows = table.read_table(config.observations.sources["one"], "one", Path)  # type: ignore[arg-type]
    day = np.timedelta64(24, "h")
    with Spool(tmp_path, 5000) as spool:
        for start in range(0, len(rows), 7000):
            spool.append(rows.take(np.arange(start, min(start + 7000, len(rows)))))
        got = [(around["time"], span.has(around["time"])) for around, span in spool.parts(day)]
        assert spool.first == np.nanmin(rows["time"]) and spool.last == np.nanmax(rows["time"])
    assert sum(int(inside.sum()) for _, inside in got) == len(rows)
    dated = [(time, inside) for time, inside in got if not np.isnat(time).any()]
    assert len(dated) > 5 and len(got) == len(dated) + 1
    for (before, mine), (after, next_) in zip(dated[:-1], dated[1:], strict=True):
        assert before[mine].max() < after[next_].min()
        assert (before[mine].max() - after.min()) < day and before.max() > after[next_].min()
