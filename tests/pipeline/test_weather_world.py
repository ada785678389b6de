"""The world with weather, small: its files are read by the ordinary ingest, and say what the truth was."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stormda.config import load
from stormda.grid import Grid
from stormda.observations import QC
from stormda.pipeline import build, weather_world
from stormda.pipeline.ingest import ingest
from stormda.pipeline.layout import analysis_folder
from stormda.pipeline.verify import verify
from stormda.store.analysis import write_analysis
from stormda.templates import configuration
from stormda.time import Window
from stormda.variables import Channel


def test_a_world_is_written_and_read(tmp_path: Path) -> None:
    weather_world.write_weather(tmp_path / "data", archive=6, cycles=2, every=2, radars=3)
    (tmp_path / "config.yaml").write_text(configuration("weather-demo"))
    config = load(tmp_path / "config.yaml")
    result = ingest(config)
    assert result.archive is not None and result.archive.times == 6
    found = build.store(config).read(Window.around(weather_world.START, np.timedelta64(6, "h"), np.timedelta64(0, "s")))
    assert set(found["source"]) >= {"soundings", "gauges", "reflectivity"}
    with xr.open_dataset(tmp_path / "data" / "truth.nc") as truth:
        assert truth.sizes["valid_time"] == 3  # the step between the two analysis times too
        rain = truth["rr"].isel(valid_time=0).load()
        east = truth["u850"].isel(valid_time=0).load()
    assert len(list((tmp_path / "data" / "radars").glob("*_20300101T1200.h5"))) == 3
    assert 0.01 < float((rain > 0.1).mean()) < 0.6  # it rains somewhere, and not everywhere
    u = found.where((found["variable"] == "u") & (found["level"] == 850.0) & (found["qc"] == QC.USED))
    at = east.interp(latitude=xr.DataArray(u["latitude"]), longitude=xr.DataArray(u["longitude"] % 360.0)).values
    misfit = (u["value"] - at)[np.isfinite(at)]
    # 80 soundings with an error of 1.5 m s-1: the standard error of their sd is 1.5 / sqrt(160) = 0.12; four of them
    assert len(misfit) > 60 and abs(misfit.std() - 1.5) < 0.5


def test_analyses_of_the_world_are_scored_against_its_rain_and_its_radars(tmp_path: Path) -> None:
    """The gridded rain is the truth itself, so both say the same; volumes are reflectivity in layers."""
    weather_world.write_weather(tmp_path / "data", archive=1, cycles=1, radars=3)
    (tmp_path / "config.yaml").write_text(configuration("weather-demo"))
    with xr.open_dataset(tmp_path / "data" / "truth.nc") as data:
        truth = data.isel(valid_time=0).load()
    grid = Grid(truth["latitude"].values, truth["longitude"].values, (True, True), True)
    names, random = ("t850", "rr"), np.random.default_rng(3)
    fields = np.stack([truth[name].values for name in names]).astype(np.float64)
    channels, start = tuple(map(Channel.parse, names)), weather_world.START
    rain = "verify.radar={files: [data/truth.nc], names: {rr: rr}, keep: [rr], cell: null, checks: {speckle: 0}}"
    checks = "{highest: 2900, texture: 1000, speckle: 0}"
    scans = f"verify.radar={{files: ['data/radars/*_%Y%m%dT%H%M.h5'], keep: [dbz], cell: 1.0, checks: {checks}}}"
    config = load(tmp_path / "config.yaml", ["channels=[t850, rr]", rain])
    for side, error in (("background", 3.0), ("analysis", 0.3)):
        members = np.maximum(fields + error * random.normal(size=(4, *fields.shape)), 0.0)
        path = analysis_folder(config, "gaussian", start, 0) / f"{side}.nc"
        write_analysis(path, iter(members), count=4, channels=channels, grid=grid, time=start, attributes={})

    found = {(r.target, r.variable): r for r in verify(config).rows}
    assert found["radar", "rr"].n == found["truth", "rr"].n == 64 * 64
    for side in ("background", "analysis"):
        own, same = (getattr(found[target, "rr"], side).scores["crps"].value for target in ("radar", "truth"))
        assert own == pytest.approx(same, rel=1e-6)  # the file has single precision

    rows = [
        r for r in verify(load(tmp_path / "config.yaml", ["channels=[t850, rr]", scans])).rows if r.target == "radar"
    ]
    assert rows and all(r.variable.startswith("dbz") for r in rows)
    # Ten times the error of rain in the background: reflectivity goes with its logarithm, and still tells them apart.
    most = max(rows, key=lambda r: r.n)
    assert most.improvement is not None and (most.improvement.value or 0.0) > 0
