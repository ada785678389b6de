"""Fields ingested by several processes, and by Dask: the same archive, byte for byte."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stormda import config as configuration
from stormda.config import Config
from stormda.errors import ConfigError, InputError
from stormda.pipeline.ingest import ingest
from stormda.store import archive as module
from stormda.store.archive import Archive


def write(folder: Path, days: int = 3) -> None:
    """A file a day and variable, hourly."""
    rng = np.random.default_rng(4)
    for day in range(days):
        time = np.datetime64("2020-01-01", "ns") + np.arange(24 * day, 24 * day + 24).astype("timedelta64[h]")
        for name, unit, middle in (("t2m", "K", 280.0), ("msl", "Pa", 1e5)):
            values = (middle + rng.normal(0, 5, (24, 6, 8))).astype(np.float32)
            coordinates = {"time": time, "latitude": np.linspace(60, 35, 6), "longitude": np.arange(8.0)}
            data = xr.DataArray(values, coordinates, tuple(coordinates), attrs={"units": unit})
            data.to_dataset(name=name).to_netcdf(folder / f"{name}{day}.nc")


def configured(folder: Path, run: str, *overrides: str) -> Config:
    tree: dict[str, object] = {"channels": ["t2m", "msl"], "run_dir": run}
    tree["archive"] = {"step": "1h", "sources": {"one": {"files": ["*.nc"]}}}
    config = configuration.load(None, overrides, tree)
    config._folder = folder
    return config


def contents(path: Path) -> dict[str, bytes]:
    """Every file but the root's metadata, which tell when and with which configuration it was made."""
    files = (p for p in path.rglob("*") if p.is_file() and p.parent != path)
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in files}


@pytest.mark.parametrize("how", ["ingest.processes=2", "ingest.dask=local:2"])
def test_the_archive_is_the_same(tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "dask" in how:
        pytest.importorskip("distributed")
    monkeypatch.setattr(module, "_CHUNK_BYTES", 4 * 6 * 8 * 10)  # ten times a Zarr chunk: the last has two
    write(tmp_path)
    alone, others = configured(tmp_path, "alone"), configured(tmp_path, "others", how)
    ingest(alone)
    monkeypatch.setattr("stormda.sources.series.CHUNK_BYTES", 4.0 * 2 * 6 * 8 * 20)  # four blocks
    told: list[int] = []
    ingest(others, progress=lambda what, done, _: told.append(done) if what == "times" else None)
    one, other = (contents(c.run / "archive.zarr") for c in (alone, others))
    assert one.keys() == other.keys() and len([n for n in one if n.startswith("t2m/c/")]) == 8
    assert [n for n in one if one[n] != other[n]] == []
    assert len(Archive.open(others.run / "archive.zarr").times) == 72
    assert told == sorted(told) and told[-1] == 72 and len(told) >= 2


def test_a_scheduler_on_this_machine(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    write(tmp_path, days=1)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        config = configured(tmp_path, "run", f"ingest.dask={cluster.scheduler_address}")
        assert ingest(config).archive is not None
    assert len(Archive.open(config.run / "archive.zarr").times) == 24


def test_what_a_worker_finds_is_an_error_and_the_old_archive_stays(tmp_path: Path) -> None:
    write(tmp_path, days=1)
    config = configured(tmp_path, "run", "ingest.processes=2")
    ingest(configured(tmp_path, "run"))
    before = contents(config.run / "archive.zarr")
    with xr.open_dataset(tmp_path / "msl0.nc") as data:
        data = data.load()
    data["msl"][5, 2, 2] = np.nan
    data.to_netcdf(tmp_path / "msl0.nc")
    with pytest.raises(InputError, match="missing values") as raised:
        ingest(config)
    assert raised.value.file == str(tmp_path / "msl0.nc")
    assert contents(config.run / "archive.zarr") == before
    assert [p.name for p in config.run.iterdir() if p.name.startswith(".archive")] == []


def test_no_dask_and_no_scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, days=1)
    config = configured(tmp_path, "run", "ingest.dask=tcp://127.0.0.1:1")
    if "distributed" in sys.modules or pytest.importorskip("distributed"):
        monkeypatch.setattr("stormda.pipeline.workers._PATIENCE", 1)
        with pytest.raises(ConfigError, match="no Dask scheduler answers at tcp://127.0.0.1:1"):
            ingest(config)
    monkeypatch.setitem(sys.modules, "distributed", types.ModuleType("distributed"))
    with pytest.raises(ConfigError, match="Dask is not installed"):
        ingest(config)
