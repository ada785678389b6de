"""The world with weather, small: its files are read by the ordinary ingest, and say what the truth was."""

from pathlib import Path

import numpy as np
import xarray as xr

from stormda.config import load
from stormda.observations import QC
from stormda.pipeline import build, weather_world
from stormda.pipeline.ingest import ingest
from stormda.templates import configuration
from stormda.time import Window


def test_a_world_is_written_and_read(tmp_path: Path) -> None:
    weather_world.write_weather(tmp_path / "data", archive=6, cycles=1, radars=3)
    (tmp_path / "config.yaml").write_text(configuration("weather-demo"))
    config = load(tmp_path / "config.yaml")
    result = ingest(config)
    assert result.archive is not None and result.archive.times == 6
    found = build.store(config).read(Window.around(weather_world.START, np.timedelta64(6, "h"), np.timedelta64(0, "s")))
    assert set(found["source"]) >= {"soundings", "gauges", "reflectivity"}
    with xr.open_dataset(tmp_path / "data" / "truth.nc") as truth:
        rain = truth["rr"].isel(valid_time=0).load()
        east = truth["u850"].isel(valid_time=0).load()
    assert 0.01 < float((rain > 0.1).mean()) < 0.6  # it rains somewhere, and not everywhere
    u = found.where((found["variable"] == "u") & (found["level"] == 850.0) & (found["qc"] == QC.USED))
    at = east.interp(latitude=xr.DataArray(u["latitude"]), longitude=xr.DataArray(u["longitude"] % 360.0)).values
    misfit = (u["value"] - at)[np.isfinite(at)]
    # 80 soundings with an error of 1.5 m s-1: the standard error of their sd is 1.5 / sqrt(160) = 0.12; four of them
    assert len(misfit) > 60 and abs(misfit.std() - 1.5) < 0.5
