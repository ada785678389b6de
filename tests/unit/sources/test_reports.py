"""The rules that all readers of point observations share."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stormda.config import ErrorModel, TableSource
from stormda.errors import InputError
from stormda.observations import QC
from stormda.sources.reports import Reports, Values, observations, wind

FILE = Path("reports.csv")
_TABLE = {"files": ["x"], "station_id": "id", "time": "time", "latitude": "lat", "longitude": "lon"}
_TABLE |= {"variables": {"t2m": {"column": "t"}}}  # type: ignore[dict-item]


def config(**changes: object) -> TableSource:
    return TableSource.model_validate(_TABLE | changes)


def reports(n: int, **changes: object) -> Reports:
    base: dict[str, object] = {
        "station": np.array([f"{k:05d}" for k in range(n)], dtype=object),
        "time": np.full(n, np.datetime64("2019-02-17T12", "s")),
        "latitude": np.full(n, 50.0),
        "longitude": np.full(n, 5.0),
        "elevation": np.full(n, 10.0),
    }
    return Reports(**(base | changes))  # type: ignore[arg-type]


def make(r: Reports, *values: Values, **changes: object) -> pd.DataFrame:
    out = observations(r, values, config(**changes), "s", file=FILE, platform="synop")
    return pd.DataFrame(out.table.to_pandas())


def test_a_missing_value_makes_no_row() -> None:
    table = make(reports(3), Values("t2m", np.array([280.0, np.nan, np.inf])), Values("msl", np.full(3, 1e5)))
    assert table["variable"].tolist() == ["t2m", "msl", "msl", "msl"]
    assert table["station_id"].tolist() == ["00000", "00000", "00001", "00002"]  # the rows of a report together
    assert table["report_id"][0] == "00000/20190217T120000Z"


def test_rows_without_time_place_or_level_are_missing() -> None:
    r = reports(
        5,
        time=np.array(["NaT", *["2019-02-17T12"] * 4], dtype="datetime64[s]"),
        latitude=np.array([50.0, np.nan, 50.0, 50.0, 91.0]),
        longitude=np.array([5.0, 5.0, 400.0, 5.0, 5.0]),
        level=np.array([500.0, 500.0, 500.0, np.nan, 500.0]),
    )
    table = make(r, Values("t", np.full(5, 250.0)))
    assert table["qc"].tolist() == [QC.MISSING] * 5
    assert table["value"].tolist() == [250.0] * 5


def test_levels() -> None:
    r = reports(4, level=np.array([500.0, 850.0, -1.0, 1200.0]))
    values = Values("t", np.full(4, 270.0)), Values("t2m", np.full(4, 280.0))
    table = make(r, *values)
    assert table["qc"][table["variable"] == "t"].tolist() == [0, 0, QC.MISSING, QC.MISSING]
    assert table["level"][table["variable"] == "t2m"].isna().all()
    assert set(table["level_type"]) == {"pressure", "surface"}
    kept = make(r, *values, levels=[850])
    assert kept["level"][kept["variable"] == "t"].tolist() == [850.0]
    assert len(kept) == 1 + 4  # levels are chosen of variables on pressure levels only


@given(st.floats(-360.0, 360.0))
def test_longitudes_end_between_minus_180_and_180(longitude: float) -> None:
    r = reports(1, longitude=np.array([longitude]))
    assert -180.0 <= r.longitude[0] <= 180.0
    # Wrapping is a turn of 360 degrees, exact to the rounding of a double of that size (2^-44).
    turn = (r.longitude[0] - longitude) / 360.0
    assert abs(turn - round(turn)) < 2.0**-44


def test_the_pole_is_a_place() -> None:
    assert reports(1, latitude=np.array([-90.00000000000001])).latitude.tolist() == [-90.0]


@pytest.mark.parametrize(
    ("direction", "u", "v"), [(0.0, 0.0, -10.0), (90.0, -10.0, 0.0), (180.0, 0.0, 10.0), (270.0, 10.0, 0.0)]
)
def test_wind_blows_from_its_direction(direction: float, u: float, v: float) -> None:
    eastward, northward = wind("u10", "v10", np.array([direction]), np.array([10.0]))
    # sin and cos of a rounded multiple of pi: 10 times the rounding of a double near 2 pi.
    assert [eastward.values[0], northward.values[0]] == pytest.approx([u, v], abs=1e-14)


def test_wind_that_cannot_be_marks_both_components() -> None:
    direction, speed = np.array([225.0, 225.0, 990.0, np.nan, np.nan]), np.array([113.0, 10.0, 2.0, 5.0, 0.0])
    table = make(reports(5), *wind("u10", "v10", direction, speed))
    # 113 m s-1 from the south-west has components of 79.9, each inside its own range.
    assert table["station_id"].tolist() == ["00000", "00000", "00001", "00001", "00002", "00002", "00004", "00004"]
    assert table["qc"].tolist() == [3, 3, 0, 0, 3, 3, 0, 0]
    assert table["value"][6:].tolist() == [0.0, 0.0]  # a calm needs no direction


def test_errors_add_in_squares() -> None:
    errors = {"t2m": ErrorModel(instrument=3.0, representativeness=4.0)}
    table = make(reports(1), Values("t2m", np.array([280.0])), Values("msl", np.array([1e5])), errors=errors)
    assert table["error"][0] == 5.0
    assert np.isnan(table["error"][1])


def test_variables_and_platform() -> None:
    values = Values("t2m", np.array([280.0])), Values("msl", np.array([1e5]))
    assert make(reports(1), *values, keep=["msl"])["variable"].tolist() == ["msl"]
    assert make(reports(1), *values, platform="buoy")["platform"].tolist() == ["buoy"] * 2
    assert len(make(reports(1), *values, keep=["z"])) == 0


def test_most_values_outside_their_range_is_a_wrong_unit() -> None:
    fahrenheit = np.full(30, 55.0)
    with pytest.raises(InputError, match="unit is wrong") as error:
        make(reports(30), Values("t2m", fahrenheit))
    assert error.value.key == "observations.sources.s.variables.t2m"
    few = np.where(np.arange(30) < 10, 55.0, 285.0)
    assert len(make(reports(30), Values("t2m", few))) == 30
    assert len(make(reports(3), Values("t2m", np.full(3, 365.0)))) == 3  # three bad values are three bad values


def test_levels_in_another_unit() -> None:
    with pytest.raises(InputError, match="unit is wrong") as error:
        make(reports(30, level=np.full(30, 50000.0)), Values("t", np.full(30, 250.0)))
    assert error.value.key == "observations.sources.s.level"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time": np.full(3, np.datetime64("NaT", "s"))}, "no row has a time"),
        ({"latitude": np.full(3, np.nan)}, "no row has a latitude"),
        ({"latitude": np.full(3, 5000.0)}, "no row has a latitude"),
    ],
)
def test_a_whole_column_that_is_bad(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(reports(3, **changes), Values("t2m", np.full(3, 280.0)))


def test_no_reports() -> None:
    with pytest.raises(InputError, match="no reports"):
        make(reports(0), Values("t2m", np.empty(0)))
