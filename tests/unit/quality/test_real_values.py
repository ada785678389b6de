"""Values that were really reported on 17 and 18 February 2019, in no particular order of madness."""

from pathlib import Path

import numpy as np
import pytest

from stormda.config import CheckConfig, TableSource
from stormda.observations import QC, Observations
from stormda.quality.dynamic import run_dynamic
from stormda.quality.static import run_static
from stormda.sources.table import read_table

pytestmark = pytest.mark.realdata
NOON = np.datetime64("2019-02-17T12", "us")


@pytest.fixture(scope="module")
def synop(data_dir: Path) -> Observations:
    """Two days of hourly reports of the whole world, after the static checks."""
    given = {
        "kind": "table",
        "platform": "synop",
        "files": (str(data_dir / "obs" / "vobs_synop_2019-02-17_18.parquet"),),
        "station_id": "id",
        "time": "time",
        "latitude": "lat",
        "longitude": "lon",
        "elevation": "elev",
        "variables": {
            "t2m": {"column": "TT"},
            "msl": {"column": "PS", "unit": "hPa"},
            "ws10": {"column": "FF"},
        },
        "errors": {"msl": 100, "t2m": 1, "ws10": 1},
    }
    read = read_table(TableSource.model_validate(given), "synop", lambda text: Path(text))
    checks = [CheckConfig(check=c) for c in ("range", "duplicates", "stuck", "spike")]
    return run_static(read, checks)


def of(o: Observations, code: QC, variable: str) -> Observations:
    return o.where((o["qc"] == code) & (o["variable"] == variable))


def test_impossible_values(synop: Observations) -> None:
    assert of(synop, QC.RANGE, "ws10")["value"].tolist() == [98.0, 98.0]
    assert 365.0 in of(synop, QC.RANGE, "t2m")["value"]
    used = synop["value"][(synop["qc"] == QC.USED) & (synop["variable"] == "t2m")]
    assert 190 < used.min() and used.max() < 325


def test_a_thermometer_at_the_south_pole_that_reports_nothing_new(synop: Observations) -> None:
    stuck = of(synop, QC.STUCK, "t2m")
    assert set(stuck["station_id"]) == {"89578"} and set(np.round(stuck["value"], 1)) == {236.1}


def test_spikes_are_few_and_large(synop: Observations) -> None:
    for variable, least in (("t2m", 8.0), ("msl", 500.0)):
        spikes = of(synop, QC.SPIKE, variable)
        there = synop["variable"] == variable
        # A hundredth of a per cent: these are reports of a network that works.
        assert 5 < len(spikes) < 1e-3 * there.sum()
        one = spikes.take(np.array([0]))
        same = synop.where(there & (synop["station_id"] == one["station_id"][0]))
        near = np.abs(same["time"] - one["time"][0]) <= np.timedelta64(3, "h")
        assert np.abs(same["value"][near] - one["value"][0]).max() > least


def test_a_barometer_ten_hectopascals_off(synop: Observations) -> None:
    """Station 16436 passes the background check of a cold start; its neighbours know better."""
    lat, lon = synop["latitude"], synop["longitude"]
    box = (lat > 30) & (lat < 55) & (lon > -15) & (lon < 15) & (synop["elevation"] < 700)
    now = synop.where(box & (synop["variable"] == "msl") & (synop["time"] == NOON) & (synop["qc"] == QC.USED))
    background = 102500.0 + np.array([[-900.0], [0.0], [900.0]]) * np.ones(len(now))
    checks = [CheckConfig(check="background"), CheckConfig(check="buddy")]
    checked = run_dynamic(now, checks, background, None)
    assert len(now) > 500 and not (checked["qc"] == QC.BACKGROUND).any()
    bad = checked["station_id"][checked["qc"] == QC.BUDDY]
    assert "16436" in bad and len(bad) < 0.01 * len(now)
