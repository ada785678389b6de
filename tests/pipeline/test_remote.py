"""Ingest from URLs: what is asked for comes, and nothing else; what was cut goes on; it is told before it is done."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from far_away import FarAway, serving

from stormda.config import Config, dump, load
from stormda.errors import ConfigError, InputError, InputMissing
from stormda.pipeline.check import check
from stormda.pipeline.cycle_inputs import read_new
from stormda.pipeline.findings import Status
from stormda.pipeline.ingest import ingest
from stormda.store.archive import Archive
from stormda.store.lease import hold
from stormda.store.ledger import Ledger
from stormda.store.observations import ObservationStore
from stormda.time import Window

TIMES = np.datetime64("2020-01-01T00", "ns") + np.arange(8) * np.timedelta64(6, "h")
LATITUDE, LONGITUDE = np.arange(90.0, -91.0, -10.0), np.arange(0.0, 360.0, 10.0)
LEVELS = (500, 850)


pytestmark = pytest.mark.filterwarnings("ignore:Consolidated metadata")


@pytest.fixture
def far(tmp_path: Path) -> Iterator[FarAway]:
    with serving(tmp_path / "far") as world:
        yield world


def fields(times: np.ndarray = TIMES) -> xr.Dataset:
    shape = (len(times), len(LEVELS), len(LATITUDE), len(LONGITUDE))
    t = 250.0 + np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return xr.Dataset(
        {"temperature": (("time", "level", "latitude", "longitude"), t, {"units": "K"})},
        {
            "time": times,
            "level": ("level", np.array(LEVELS), {"units": "hPa"}),
            "latitude": ("latitude", LATITUDE, {"units": "degrees_north"}),
            "longitude": ("longitude", LONGITUDE, {"units": "degrees_east"}),
        },
    )


def run(folder: Path, source: dict[str, Any], **more: Any) -> Config:
    text = {
        "name": "far",
        "run_dir": "run",
        "channels": ["t850"],
        "remote": {"backoff": 0.001, "timeout": 5.0, "attempts": 3},
        "archive": {"sources": {"x": source}, "climatology": {"annual": 0, "diurnal": 0}},
    } | more
    (folder / "config.yaml").write_text(yaml.safe_dump(text))
    return load(folder / "config.yaml")


def archived(config: Config) -> Archive:
    return Archive.open(config.below_run(config.archive.path))


def put_zarr(far: FarAway, version: int = 3) -> None:
    chunks = {"temperature": {"chunks": (1, 1, 19, 12)}}
    fields().to_zarr(far.root / "era5.zarr", encoding=chunks, zarr_format=version, consolidated=True)


@pytest.mark.parametrize("version", [2, 3])
def test_a_zarr_store_is_read_lazily(version: int, far: FarAway, tmp_path: Path) -> None:
    put_zarr(far, version)
    source = {
        "kind": "zarr",
        "files": [f"{far.url}/era5.zarr"],
        "variables": {"t850": "temperature"},
        "region": {"latitude": [30, 60], "longitude": [-20, 20]},
        "dates": {"start": "2020-01-01T06Z", "end": "2020-01-01T18Z", "every": "12h"},
    }
    config = run(tmp_path, source)
    ingest(config)
    archive = archived(config)
    wanted = fields()["temperature"].sel(level=850, latitude=slice(60, 30)).isel(time=[1, 3])
    wanted = wanted.sel(longitude=[340.0, 350.0, 0.0, 10.0, 20.0])
    assert archive.grid.longitude.tolist() == [-20.0, -10.0, 0.0, 10.0, 20.0]
    values = archive.read(np.arange(2)).values[:, 0]
    north_first = archive.grid.latitude[0] > archive.grid.latitude[-1]
    np.testing.assert_array_equal(values if north_first else values[:, ::-1], wanted.values)
    chunks = {n for _, n, _ in far.asked if "temperature/" in n and not n.endswith(("json", ".zarray", ".zattrs"))}
    # 2 times x 1 level x 2 of 3 parts of the longitudes, of 8 x 2 x 3
    assert len(chunks) == 4
    asked = len(far.asked)
    shutil.rmtree(config.below_run(config.archive.path))
    ingest(config)  # a reading that was lost: the chunks are here
    again = far.asked[asked:]
    assert [n for _, n, _ in again if n in chunks] == []


def test_a_killed_reading_of_a_store_goes_on(far: FarAway, tmp_path: Path) -> None:
    put_zarr(far)
    config = run(tmp_path, {"kind": "zarr", "files": [f"{far.url}/era5.zarr"], "variables": {"t850": "temperature"}})
    broken = "era5.zarr/temperature/c/5/1/0/0"
    far.faults[broken] = ["500"] * 3
    with pytest.raises(InputMissing, match="tried 3 times"):
        ingest(config)
    had = {n for _, n, _ in far.asked if "/c/" in n} - {broken}
    assert not config.below_run(config.archive.path).exists() and had
    far.asked.clear()
    ingest(config)
    assert had & {n for _, n, _ in far.asked} == set() and len(archived(config).times) == 8


def test_an_absent_chunk_is_no_number(far: FarAway, tmp_path: Path) -> None:
    put_zarr(far)
    (far.root / "era5.zarr/temperature/c/5/1/0/0").unlink()
    config = run(tmp_path, {"kind": "zarr", "files": [f"{far.url}/era5.zarr"], "variables": {"t850": "temperature"}})
    with pytest.raises(InputError, match="missing values"):  # a fill value of NaN tells by itself
        ingest(config)


def test_netcdf_files_by_date(far: FarAway, tmp_path: Path) -> None:
    for k in range(2):
        part = fields(TIMES[4 * k : 4 * k + 4]).rename(temperature="t", level="pressure_level", time="valid_time")
        path = far.root / f"2020/era5_2020010{k + 1}.nc"
        path.parent.mkdir(parents=True, exist_ok=True)
        part.to_netcdf(path)
    dates = {"start": "2020-01-01T00Z", "end": "2020-01-02T12Z", "every": "6h"}
    source = {"files": [f"{far.url}/%Y/era5_%Y%m%d.nc"], "dates": dates, "region": {"latitude": [0, 90]}}
    config = run(tmp_path, source)
    told = ingest(config, dry_run=True)
    assert told.archive is not None and told.archive.fetch.startswith("2 of 2 to fetch")
    assert sum(far.sent.values()) == 0
    far.faults["2020/era5_20200101.nc"] = ["500", "cut:5000"]
    ingest(config)
    assert len(archived(config).times) == 7 and archived(config).grid.latitude.min() == 0.0
    first = archived(config).provenance["inputs"]["x"][0]
    assert first["url"] == f"{far.url}/2020/era5_20200101.nc" and len(first["sha256"]) == 64
    assert "0 of 2 to fetch" in str(ingest(config, dry_run=True).archive)


STATIONS = "station,time,lat,lon,t\n{name},{time},50.0,{lon},{t}\n"


def stations(far: FarAway, hours: list[int]) -> None:
    for h in hours:
        for i, name in enumerate(("AAAA", "BBBB")):
            row = STATIONS.format(name=name, time=f"2020-01-01T{h:02d}:00Z", lon=i, t=280 + h)
            far.put(f"bucket/2020/{name}/{h:02d}.csv", row.encode())


def observed(url: str, **more: Any) -> dict[str, Any]:
    columns = {"station_id": "station", "time": "time", "latitude": "lat", "longitude": "lon"}
    source = {"kind": "table", "files": [url], "variables": {"t2m": {"column": "t"}}, **columns}
    return {"archive": {}, "observations": {"sources": {"far": source | more}}}


def rows(config: Config) -> int:
    window = Window(np.datetime64("2019-12-31T00", "s"), np.datetime64("2020-01-03T00", "s"))
    return len(ObservationStore(config.below_run("observations")).read(window))


def put_large(far: FarAway, seed: int = 0) -> str:
    """Six megabytes of NetCDF-4, a chunk a field; returns the URL."""
    shape = (12, 2, 181, 360)
    t = 250.0 + np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    data = xr.Dataset(
        {"temperature": (("time", "level", "latitude", "longitude"), t, {"units": "K"})},
        {
            "time": np.datetime64("2020-01-01", "ns") + np.arange(12) * np.timedelta64(6, "h"),
            "level": ("level", np.array(LEVELS), {"units": "hPa"}),
            "latitude": ("latitude", np.arange(90.0, -91.0, -1.0), {"units": "degrees_north"}),
            "longitude": ("longitude", np.arange(360.0), {"units": "degrees_east"}),
        },
    )
    far.root.mkdir(parents=True, exist_ok=True)
    data.to_netcdf(far.root / "large.nc", encoding={"temperature": {"chunksizes": (1, 1, 181, 360)}})
    return f"{far.url}/large.nc"


def test_parts_of_a_netcdf_file(far: FarAway, tmp_path: Path) -> None:
    """Of 24 fields three come, in blocks of 256 KiB: a field has one, and touches two."""
    source: dict[str, Any] = {"files": [put_large(far)], "lazy": True}
    source["dates"] = {"start": "2020-01-02T00Z", "end": "2020-01-02T12Z", "every": "6h"}
    source["variables"] = {"t850": "temperature"}
    config = run(tmp_path, source)
    ingest(config)
    with xr.open_dataset(far.root / "large.nc") as data:
        wanted = data["temperature"].sel(level=850).values[4:7]
    got = archived(config).read(slice(None))
    assert np.array_equal(np.sort(got.values[:, 0].ravel()), np.sort(wanted.ravel()))
    size, sent = (far.root / "large.nc").stat().st_size, far.sent["large.nc"]
    assert size > 6e6 and sent < 10 * 2**18  # three fields, and what says where they are
    ingest(config)
    assert far.sent["large.nc"] == sent  # what has come is not asked for again
    ingest(run(tmp_path, source, remote={"offline": True}))
    assert far.sent["large.nc"] == sent
    put_large(far, seed=1)
    ingest(run(tmp_path, source))
    assert far.sent["large.nc"] > sent and not np.array_equal(archived(config).read(slice(None)).values, got.values)


def test_what_cannot_be_read_in_parts(far: FarAway, tmp_path: Path) -> None:
    url = far.put("classic.nc", b"CDF\x01" + bytes(100))
    with pytest.raises(InputError, match="only NetCDF-4 can be read in parts"):
        ingest(run(tmp_path, {"files": [url], "lazy": True}))
    with pytest.raises(InputMissing, match="no such file"):
        ingest(run(tmp_path, {"files": [f"{far.url}/none.nc"], "lazy": True}))


def test_a_table_of_stations_at_a_url(far: FarAway, tmp_path: Path) -> None:
    url = far.put("stations.csv", b"id,lat,lon\nA,50,8\nB,51,9\n")
    (tmp_path / "reports.csv").write_text("id,time,t\nA,2020-01-01T00,280\nB,2020-01-01T00,281\n")
    source: dict[str, Any] = {"kind": "table", "files": ["reports.csv"], "station_id": "id", "time": "time"}
    source |= {"stations": {"file": url, "station_id": "id", "latitude": "lat", "longitude": "lon"}}
    source |= {"variables": {"t2m": {"column": "t"}}}
    config = run(tmp_path, {"files": ["none"]}, observations={"sources": {"s": source}})
    facts = ingest(config, ["s"]).sources[0]
    assert facts.codes == {"used": 2}
    assert far.sent["stations.csv"] == 25


def test_stations_by_site_and_hour(far: FarAway, tmp_path: Path) -> None:
    stations(far, [0, 1, 3])
    dates = {"start": "2020-01-01T00Z", "end": "2020-01-01T03Z"}
    template = f"{far.url}/bucket/%Y/{{site}}/%H.csv"
    config = run(tmp_path, {}, **observed(template, dates=dates, sites=["AAAA", "BBBB"]))
    (facts,) = ingest(config, dry_run=True).sources
    assert len(facts.files) == 6 and "6 of 6 to fetch" in facts.note and "no such file" in facts.note
    finding = next(f for f in check(config).findings if f.what == "observation source far")
    assert finding.status is not Status.OK and "no such file" in finding.detail
    (facts,) = ingest(config).sources  # policy warn: what is there is read
    assert (facts.rows, rows(config)) == (6, 6)
    stations(far, [2])
    ingest(config)
    assert rows(config) == 8
    required = run(tmp_path, {}, **observed(template, dates=dates, sites=["AAAA", "CCCC"], policy="required"))
    with pytest.raises(InputMissing, match="no such file"):
        ingest(required)


def test_a_bucket_by_wildcard(far: FarAway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", far.url)
    stations(far, [0, 11, 12, 13])
    config = run(tmp_path, {}, **observed("s3://bucket/2020/{site}/1*.csv", sites=["AAAA"]))
    assert ingest(config).sources[0].rows == 3
    offline = run(tmp_path, {}, **observed("s3://bucket/2020/{site}/1*.csv", sites=["AAAA"]), remote={"offline": True})
    asked = len(far.asked)
    assert ingest(offline).sources[0].rows == 3 and len(far.asked) == asked


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("https://me:secret@host/f.csv", "user name or password"),
        ("https://host/f.csv?token=secret", "a query"),
        ("ftp://host/f.csv", "unknown"),
        ("https://host/", "names no file"),
        ("https://host/*.csv", "no list"),
        ("s3://bucket/*/f.csv", "wildcard before the last /"),
        ("https://host/../f.csv", "upwards"),
    ],
)
def test_urls_that_cannot_be(url: str, what: str, tmp_path: Path) -> None:
    config = run(tmp_path, {}, **observed(url))
    with pytest.raises(ConfigError, match=what) as error:
        ingest(config)
    assert "secret" not in str(error.value) and error.value.key == "observations.sources.far.files"


def test_a_url_stays_what_it_is(tmp_path: Path) -> None:
    config = run(tmp_path, {"files": ["https://host/a%20b/%Y.nc", "near.nc"]})
    kept = yaml.safe_load(dump(config, tmp_path / "elsewhere"))["archive"]["sources"]["x"]["files"]
    assert kept == ["https://host/a%20b/%Y.nc", str(tmp_path / "near.nc")]


def test_a_cycle_reads_what_is_new(far: FarAway, tmp_path: Path) -> None:
    stations(far, [0, 1])
    template = f"{far.url}/bucket/%Y/AAAA/%H.csv"
    config = run(tmp_path, {}, **observed(template, dates={"recent": "2h"}))
    now = np.datetime64("2020-01-01T02:10", "s")
    with (
        hold(tmp_path / "run" / "lock", 60.0) as lease,
        Ledger(tmp_path / "run" / "ledger.sqlite", lease.token) as ledger,
    ):
        assert read_new(config, ledger, now) == 2  # hour 2 is not there yet
        assert read_new(config, ledger, now) == 0  # the same versions
        stations(far, [2])
        assert read_new(config, ledger, now) == 1
    assert rows(config) == 3
