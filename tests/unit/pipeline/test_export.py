"""Export: what is stored goes out as IODA v3, with its codes, and is read again."""

from pathlib import Path

import pytest
import yaml

from stormda.config import Config, IodaSource, load
from stormda.errors import ConfigError, InputMissing
from stormda.pipeline.export import export
from stormda.pipeline.ingest import ingest
from stormda.pipeline.inspect_netcdf import describe
from stormda.sources.ioda import read_ioda
from stormda.time import parse_time

START, END = parse_time("2020-01-01T00Z"), parse_time("2020-01-01T02Z")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "x.csv").write_text(
        "id,time,lat,lon,t\nA,2020-01-01T00:00,50,8,280\nA,2020-01-01T01:00,50,8,281\n"
        "B,2020-01-01T02:00,51,9,400\nB,2020-01-01T03:00,51,9,283\n"
    )
    source: dict[str, object] = {
        "kind": "table",
        "files": ["x.csv"],
        "station_id": "id",
        "time": "time",
        "latitude": "lat",
    }
    source |= {"longitude": "lon", "variables": {"t2m": {"column": "t"}}}
    tree: dict[str, object] = {"channels": ["t2m"], "run_dir": "run", "observations": {"sources": {"stations": source}}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    loaded = load(tmp_path / "config.yaml", [])
    ingest(loaded)
    return loaded


def test_what_goes_out_comes_in(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "out.nc4"
    result = export(config, path, START, END)
    assert (result.rows, result.used, result.locations, result.variables) == (2, 1, 2, ("t2m",))  # (start, end]
    back = read_ioda(IodaSource(files=(str(path),), level="surface"), "obs", Path).table.to_pandas()
    kind, facts = describe(path)
    assert kind == "IODA observations"
    assert facts.rows == [["airTemperatureAt2M", "K", "2", "1", "340.5", "281", "400"]]
    assert sorted(back[["station_id", "value", "qc"]].to_numpy().tolist()) == [["A", 281.0, 0], ["B", 400.0, 1]]


def test_nothing_to_export(config: Config, tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="no observation is stored"):
        export(config, tmp_path / "out.nc4", parse_time("2021-01-01"), parse_time("2021-01-02"))
    with pytest.raises(ConfigError, match="is empty"):
        export(config, tmp_path / "out.nc4", END, START)
    with pytest.raises(ConfigError, match="unknown source 'x'"):
        export(config, tmp_path / "out.nc4", START, END, sources=["x"])
    assert not (tmp_path / "out.nc4").exists()
