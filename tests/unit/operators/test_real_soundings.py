"""H on real data: radiosondes of 2008-12-08 12 UTC against ERA-Interim of that hour, where they rose."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from stormda.grid import Grid
from stormda.observations import QC, Observations
from stormda.operators.build import build_operator
from stormda.types import Array
from stormda.variables import Channel

NOW = np.datetime64("2008-12-08T12", "s")
CHANNELS = (Channel.parse("z500"), Channel.parse("t850"))

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif("STORMDA_DATA" not in os.environ, reason="STORMDA_DATA is not set: no real data"),
]


def soundings(folder: Path) -> Observations:
    table = pd.read_parquet(folder / "obs" / "temp_bufr_2008-12-08_12.parquet")
    kinds = (("z", 500.0, "nonCoordinateGeopotential", 38.0), ("t", 850.0, "airTemperature", 0.5))
    parts = []
    for variable, level, column, error in kinds:
        rows = table[(table["pressure"] == level * 100) & np.isfinite(table[column])].drop_duplicates("WMO_station_id")
        station = rows["WMO_station_id"].astype(str).to_numpy(dtype=object)
        columns = {
            "report_id": station, "station_id": station, "platform": "temp", "source": "temp", "variable": variable,
            "level": level, "level_type": "pressure", "time": np.full(len(rows), NOW), "error": error,
            "latitude": rows["latitude"].to_numpy(), "longitude": rows["longitude"].to_numpy(),
            "value": rows[column].to_numpy(),
        }  # fmt: skip
        parts.append(Observations.of(columns))
    return Observations.concat(parts)


def test_radiosondes_agree_with_the_reanalysis_that_has_seen_them() -> None:
    """Measured once with another program: z500 +2.4 +- 3.8 m, t850 -0.27 +- 0.46 K for the nine stations in the box."""
    folder = Path(os.environ["STORMDA_DATA"])
    with xr.open_dataset(folder / "reanalysis" / "eraint_europe_12utc.nc") as file:
        day = file.sel(time="2008-12-08T12:00")
        grid = Grid.regular(file["latitude"].to_numpy(), file["longitude"].to_numpy())
        x = torch.as_tensor(np.stack([day["z500"].to_numpy(), day["t850"].to_numpy()]))
    h, observations, rows = build_operator(soundings(folder), grid, CHANNELS, {}, NOW)
    assert set(observations["qc"]) == {QC.USED, QC.OUTSIDE_GRID}
    used = observations.take(rows)

    def departures(variable: str, scale: float) -> Array:
        own = used["variable"] == variable
        return np.asarray((used["value"] - h(x).numpy())[own] / scale)

    z, t = departures("z", 9.80665), departures("t", 1.0)
    assert len(z) == len(t) == 9
    # Digits as given: half a unit of the last.
    np.testing.assert_allclose([z.mean(), z.std()], [2.4, 3.8], atol=0.05)
    np.testing.assert_allclose([t.mean(), t.std()], [-0.27, 0.46], atol=0.005)
