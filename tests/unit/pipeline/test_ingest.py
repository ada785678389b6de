"""Ingest: the same run twice gives the same store, one broken file keeps no other out, policies are kept."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stormda import config as configuration
from stormda.config import Config
from stormda.errors import ConfigError, InputError, InputMissing
from stormda.observations import Observations
from stormda.pipeline.ingest import ingest
from stormda.store.archive import Archive
from stormda.store.observations import ObservationStore
from stormda.time import Window, parse_time

HEADER = "station,time,lat,lon,t\n"
DAY = Window(parse_time("2019-02-16T23Z"), parse_time("2019-02-18T23Z"))


def write(folder: Path, name: str, rows: list[str]) -> None:
    (folder / name).write_text(HEADER + "".join(f"{row}\n" for row in rows))


def make(folder: Path, *overrides: str, sources: dict[str, object] | None = None) -> Config:
    """A run with sources `one` (one-*.csv) and `two` (two.csv)."""
    table: dict[str, object] = {
        "kind": "table",
        "station_id": "station",
        "time": "time",
        "latitude": "lat",
        "longitude": "lon",
    }
    table |= {"variables": {"t2m": {"column": "t", "unit": "K"}}}
    both = {"one": table | {"files": ["one-*.csv"]}, "two": table | {"files": ["two.csv"]}}
    tree = {"channels": ["t2m"], "run_dir": "run", "observations": {"sources": both if sources is None else sources}}
    config = configuration.load(None, overrides, tree)
    config._folder = folder
    return config


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "one-a.csv", ["A,2019-02-17T12,50,5,280", "B,2019-02-17T12,51,5,365", "A,2019-02-17T12,50,5,281"])
    write(tmp_path, "one-b.csv", ["A,2019-02-17T13,50,5,282", ",2019-02-17T13,50,5,283", "C,,50,5,284"])
    write(tmp_path, "two.csv", ["A,2019-02-17T12,50,5,290", "D,2019-02-17T12,50,6,291", "A,2019-02-17T13,50,5,292"])
    return tmp_path


def stored(config: Config) -> Observations:
    return ObservationStore(config.run / "observations").read(DAY)


def table(config: Config) -> list[tuple[str, str, float, int]]:
    o = stored(config)
    return sorted(zip(o["source"], o["station_id"], o["value"], o["qc"], strict=True))


def test_rows_codes_and_span(folder: Path) -> None:
    config = make(folder)
    result = ingest(config)
    one, two = result.sources
    assert (one.source, len(one.files), one.rows) == ("one", 2, 6)
    assert one.codes == {"used": 3, "range": 1, "duplicate": 1, "missing": 1}
    assert (one.first, one.last) == ("2019-02-17T12:00Z", "2019-02-17T13:00Z")
    assert two.codes == {"used": 1, "duplicate": 2}  # A came in source `one`, in both of its files
    assert result.archive is None
    assert table(config) == [
        ("one", "50.00N005.00E", 283.0, 0),
        ("one", "A", 280.0, 0),
        ("one", "A", 281.0, 4),
        ("one", "A", 282.0, 0),
        ("one", "B", 365.0, 3),
        ("two", "A", 290.0, 4),
        ("two", "A", 292.0, 4),
        ("two", "D", 291.0, 0),
    ]
    assert [row[0] for row in result.table()[2]] == ["one", "two"]


def test_twice_is_once(folder: Path) -> None:
    config = make(folder)
    first = ingest(config)
    before = table(config)
    assert ingest(config) == first
    assert ingest(config, ["two"]).sources[0].codes == first.sources[1].codes
    assert table(config) == before


def test_new_files_join_and_changed_files_replace(folder: Path) -> None:
    config = make(folder)
    ingest(config)
    write(folder, "one-c.csv", ["E,2019-02-17T18,50,5,280", "A,2019-02-17T12,50,5,270"])
    write(folder, "one-b.csv", ["A,2019-02-17T14,50,5,279"])
    result = ingest(config, ["one"])
    assert result.sources[0].rows == 6
    values = {(station, value): qc for _, station, value, qc in table(config)}
    assert ("A", 282.0) not in values
    assert values["A", 279.0] == 0
    assert values["A", 270.0] == 4


def test_data_that_moved_are_the_same_data(tmp_path: Path, folder: Path) -> None:
    config = make(folder, f"run_dir={tmp_path / 'elsewhere'}")
    first = ingest(config)
    before, moved = table(config), tmp_path / "moved" / "deep"
    moved.mkdir(parents=True)
    for file in folder.glob("*.csv"):
        file.rename(moved / file.name)
    config = make(moved, f"run_dir={tmp_path / 'elsewhere'}")
    assert [s.codes for s in ingest(config).sources] == [s.codes for s in first.sources]
    assert table(config) == before
    write(moved, "one-b.csv", ["A,2019-02-17T14,50,5,279"])  # changed after it moved
    (moved / "one-a.csv").rename(moved / "one-0.csv")  # renamed
    ingest(config)
    one = [row[1:] for row in table(config) if row[0] == "one"]
    assert one == [("A", 279.0, 0), ("A", 280.0, 0), ("A", 281.0, 4), ("B", 365.0, 3)]


def test_files_of_one_name_in_several_folders_are_several_files(tmp_path: Path) -> None:
    for day in (17, 18):
        (tmp_path / f"{day}").mkdir()
        write(tmp_path / f"{day}", "t.csv", [f"A,2019-02-{day}T12,50,5,2{day}"])
    base = make(tmp_path).observations.sources["two"].model_dump()
    for files in (["*/t.csv"], ["17/*.csv", "18/t.csv"], [str(tmp_path / "1?" / "t.csv")]):
        config = make(tmp_path, sources={"two": base | {"files": files}})
        for _ in range(2):
            ingest(config)
            assert [row[2] for row in table(config)] == [217.0, 218.0], files


def test_the_same_file_twice_is_read_as_one(tmp_path: Path) -> None:
    """Neither copy is a duplicate of the other: the second takes the place of the first."""
    for name in ("one-a.csv", "one-b.csv"):
        write(tmp_path, name, ["A,2019-02-17T12,50,5,280"])
    write(tmp_path, "two.csv", ["B,2019-02-17T12,50,5,280"])
    config = make(tmp_path)
    for _ in range(2):
        ingest(config)
        assert table(config) == [("one", "A", 280.0, 0), ("two", "B", 280.0, 0)]


def test_in_two_steps_as_in_one(folder: Path) -> None:
    config = make(folder)
    ingest(config, ["one"])
    ingest(config, ["two"])
    steps = table(config)
    other = make(folder, "run_dir=other")
    ingest(other)
    assert table(other) == steps


def test_a_dry_run_writes_nothing(folder: Path) -> None:
    config = make(folder)
    result = ingest(config, dry_run=True)
    assert result.dry_run
    assert [Path(f).name for s in result.sources for f in s.files] == ["one-a.csv", "one-b.csv", "two.csv"]
    assert not config.run.exists()


def test_progress(folder: Path) -> None:
    told: list[tuple[str, int, int]] = []
    ingest(make(folder), progress=lambda *x: told.append(x))
    assert told == [
        ("one: one-a.csv", 0, 3),
        ("one: one-b.csv", 1, 3),
        ("two: two.csv", 2, 3),
        ("observations", 3, 3),
    ]


def test_a_broken_file_is_an_error_and_keeps_no_other_out(folder: Path) -> None:
    config = make(folder)
    (folder / "one-a.csv").write_text(HEADER + "A,2019-02-17T12,5")
    with pytest.raises(InputError, match="truncated") as error:
        ingest(config)
    assert error.value.file == str(folder / "one-a.csv")
    assert {row[0] for row in table(config)} == {"one", "two"}
    assert len(table(config)) == 5


def test_an_empty_file_is_an_error(folder: Path) -> None:
    (folder / "two.csv").write_text("")
    with pytest.raises(InputError, match="empty"):
        ingest(make(folder))


def test_policies_of_a_missing_file(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "two.csv").unlink()
    with caplog.at_level(logging.WARNING):
        result = ingest(make(folder))
    assert "source 'two'" in caplog.text
    assert "does not exist" in result.sources[1].note
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        ingest(make(folder, "observations.sources.two.policy=optional"))
    assert caplog.text == ""
    with pytest.raises(InputMissing) as error:
        ingest(make(folder, "observations.sources.two.policy=required"))
    assert error.value.key == "observations.sources.two.files"
    with pytest.raises(InputMissing):  # asked for by name
        ingest(make(folder), ["two"])
    with pytest.raises(InputMissing):
        ingest(make(folder, "observations.sources.two.policy=required"), dry_run=True)


def test_nothing_at_all_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputMissing):
        ingest(make(tmp_path))
    optional = [f"observations.sources.{name}.policy=optional" for name in ("one", "two")]
    assert [s.rows for s in ingest(make(tmp_path, *optional)).sources] == [0, 0]


def test_a_broken_optional_file_is_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "two.csv").write_text("nonsense\n")
    with caplog.at_level(logging.WARNING):
        result = ingest(make(folder, "observations.sources.two.policy=optional"))
    assert "source 'two'" in caplog.text
    assert result.sources[1].note


def test_names_of_sources(folder: Path) -> None:
    with pytest.raises(ConfigError, match="unknown source 'on'") as error:
        ingest(make(folder), ["on"])
    assert error.value.hint == "did you mean 'one'?"
    with pytest.raises(ConfigError, match="nothing to ingest"):
        ingest(make(folder, sources={}))


def test_an_unknown_static_check_is_told_before_anything_is_stored(folder: Path) -> None:
    config = make(folder, "quality.static=[{check: background}]")
    with pytest.raises(ConfigError, match="needs a background"):
        ingest(config)
    assert len(stored(config)) == 0


def netcdf(path: Path, name: str, start: str, days: int) -> None:
    times = np.datetime64(start, "ns") + np.arange(days) * np.timedelta64(1, "D")
    values = np.random.default_rng(days).normal(280.0, 5.0, (days, 3, 4)).astype(np.float32)
    coordinates = {"time": times, "latitude": [50.0, 45.0, 40.0], "longitude": [0.0, 5.0, 10.0, 15.0]}
    data = {name: (("time", "latitude", "longitude"), values, {"units": "K"})}
    xr.Dataset(data, coordinates).to_netcdf(path, engine="netcdf4")


def test_archive_of_two_sources(folder: Path) -> None:
    netcdf(folder / "t.nc", "t2m", "2000-01-01", 40)
    netcdf(folder / "d.nc", "d2m", "2000-01-03", 40)
    config = make(
        folder,
        "channels=[t2m, d2m]",
        "archive.sources={a: {files: [t.nc], variables: {t2m: t2m}}, b: {files: [d.nc], variables: {d2m: d2m}}}",
        "archive.step=24h",
        "archive.climatology={annual: 0, diurnal: 0}",
        "archive.plane=true",
        "archive.periodic=[true, true]",
    )
    planned = ingest(config, dry_run=True).archive
    assert planned is not None and planned.times == 0 and len(planned.files) == 2
    facts = ingest(config).archive
    assert facts is not None
    assert facts.channels == ("t2m", "d2m")
    assert (facts.times, facts.first, facts.last) == (38, "2000-01-03T00:00Z", "2000-02-09T00:00Z")
    assert facts.step_hours == 24.0
    archive = Archive.open(config.run / "archive.zarr")
    assert archive.grid.plane and archive.grid.periodic == (True, True)
    assert ingest(config, ["one"]).archive is None
    rows = ingest(config).table()[2]
    assert [row[0] for row in rows] == ["archive", "one", "two"]


def test_a_missing_archive_file(folder: Path) -> None:
    config = make(folder, "archive.sources={a: {files: [t.nc], variables: {t2m: t2m}}}")
    with pytest.raises(InputMissing) as error:
        ingest(config)
    assert error.value.key == "archive.sources.a.files"


@pytest.mark.realdata
def test_real_soundings_and_stations(tmp_path: Path) -> None:
    if "STORMDA_DATA" not in os.environ:
        pytest.skip("STORMDA_DATA is not set")
    data = os.environ["STORMDA_DATA"]
    file = f"{data}/obs/vobs/vobs2019021712"
    sources = {
        "synop": {"kind": "vobs", "part": "surface", "files": [file], "keep": ["msl"]},
        "radiosondes": {"kind": "vobs", "part": "sounding", "files": [file], "keep": ["z", "t"], "levels": [500, 850]},
    }
    height = (
        "quality.static=[{check: range}, {check: duplicates}, {check: station_height, variables: [msl], limit: 700}]"
    )
    config = make(tmp_path, height, sources=sources)
    ingest(config)
    box = ObservationStore(config.run / "observations").read(DAY, bbox=(-15.0, 30.0, 15.0, 55.0))
    used = box.where(box["qc"] == 0).table.to_pandas()
    number = used.groupby(["variable", "level"], dropna=False).size()
    # In the box at this hour: about 700 pressures below 700 m, 32-36 heights at 500 hPa, 33-35 temperatures at 850.
    assert 600 <= number["msl"].iloc[0] <= 800
    assert 32 <= number["z", 500.0] <= 36
    assert 33 <= number["t", 850.0] <= 35
