"""GRIB: messages made here with ecCodes are read back; damaged and contradictory ones are named; real files."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import eccodes
import numpy as np
import pytest

from stormda.config import GriddedSource
from stormda.errors import InputError
from stormda.sources.grib import open_grib
from stormda.sources.gridded import read_gridded
from stormda.state import State
from stormda.types import Array

ROWS, COLUMNS = 3, 4
VALUES = 270 + np.arange(12.0)
# 24 bits a value over a range of 11: packing rounds by less than 11 / 2^24 = 7e-7; float32 at 280 by 2e-5.
ROUNDING = 3e-5


def message(values: Array = VALUES, edition: int = 2, **keys: Any) -> bytes:
    """A field on 60..40N, 10W..20E, packed in 24 bits."""
    handle = eccodes.codes_grib_new_from_samples(f"regular_ll_sfc_grib{edition}")
    grid = {
        "Ni": COLUMNS,
        "Nj": ROWS,
        "latitudeOfFirstGridPointInDegrees": 60,
        "longitudeOfFirstGridPointInDegrees": 350,
        "latitudeOfLastGridPointInDegrees": 40,
        "longitudeOfLastGridPointInDegrees": 20,
        "iDirectionIncrementInDegrees": 10,
        "jDirectionIncrementInDegrees": 10,
    }
    what = {"dataDate": 20200229, "dataTime": 600, "typeOfLevel": "surface", "level": 0, "shortName": "2t"}
    for key, value in ({"bitsPerValue": 24} | grid | what | keys).items():
        eccodes.codes_set(handle, key, value)
    eccodes.codes_set_values(handle, values)
    data = bytes(eccodes.codes_get_message(handle))
    eccodes.codes_release(handle)
    return data


def pressure(level: int, shift: float, **keys: Any) -> bytes:
    every: dict[str, Any] = {"typeOfLevel": "isobaricInhPa", "level": level, "shortName": "t"}
    return message(VALUES + shift, **(every | keys))


def read(path: Path, *channels: str, **settings: Any) -> State:
    source = GriddedSource(kind="grib", files=("x",), **settings)
    (state,) = read_gridded(source, channels or ("t2m",), [path], key="archive.sources.x")
    return state


def written(folder: Path, *messages: bytes) -> Path:
    (folder / "x.grib").write_bytes(b"".join(messages))
    return folder / "x.grib"


def failing(path: Path, *channels: str, **settings: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(path, *channels, **settings)
    assert caught.value.file == str(path)
    return str(caught.value)


def close(values: Array, expected: Array) -> None:
    np.testing.assert_allclose(values, expected.reshape(values.shape), atol=ROUNDING)


@pytest.mark.parametrize("edition", [1, 2])
def test_times_in_any_order_and_region_across_greenwich(tmp_path: Path, edition: int) -> None:
    later = message(VALUES + 5, edition, dataTime=1200)
    state = read(written(tmp_path, later, message(edition=edition)))
    assert [str(t) for t in state.times] == ["2020-02-29T06:00:00", "2020-02-29T12:00:00"]
    assert state.grid.latitude.tolist() == [60, 50, 40] and state.grid.longitude.tolist() == [-10, 0, 10, 20]
    close(state.values, np.stack([VALUES, VALUES + 5]))
    assert [p.name for p in tmp_path.iterdir()] == ["x.grib"]  # no index file


def test_mixed_level_types_in_one_file(tmp_path: Path) -> None:
    path = written(tmp_path, message(), pressure(850, 1), pressure(500, -30), pressure(925, 3, typeOfLevel="hybrid"))
    state = read(path, "t500", "t2m", "t850")
    close(state.values, np.stack([VALUES - 30, VALUES, VALUES + 1]))
    assert "t [K] at 850, 500 hPa" in failing(path, "t925")


def test_forecast_steps_are_valid_times(tmp_path: Path) -> None:
    path = written(tmp_path, message(), message(VALUES + 1, step=3))
    assert [str(t)[:13] for t in read(path).times] == ["2020-02-29T06", "2020-02-29T09"]
    several = written(tmp_path, *(message(VALUES + t, dataTime=t * 100, step=s) for t in (0, 6) for s in (0, 6)))
    assert "several forecasts for one time" in failing(several)
    assert read(several, filter={"step": 6}).times.size == 2


def test_south_to_north(tmp_path: Path) -> None:
    up: dict[str, Any] = {
        "latitudeOfFirstGridPointInDegrees": 40,
        "latitudeOfLastGridPointInDegrees": 60,
        "jScansPositively": 1,
    }
    state = read(written(tmp_path, message(**up)))
    assert state.grid.latitude.tolist() == [40, 50, 60]
    close(state.values, VALUES)


def test_filter_by_keys(tmp_path: Path) -> None:
    path = written(tmp_path, message(), message(VALUES + 9, dataDate=20200301))
    assert read(path, filter={"dataDate": 20200301}).times.tolist() == [np.datetime64("2020-03-01T06", "s").item()]
    assert "dataDate: 20200229, 20200301" in failing(path, filter={"dataDate": 19990101})


def test_two_fields_that_fit_are_told_apart_by_a_filter(tmp_path: Path) -> None:
    path = written(tmp_path, message(typeOfProcessedData=0), message(VALUES + 1, typeOfProcessedData=1))
    assert "2 fields fit channel 't2m'" in (text := failing(path)) and "dataType fc" in text
    close(read(path, filter={"dataType": "an"}).values, VALUES)


def test_identical_messages_count_once_different_ones_are_an_error(tmp_path: Path) -> None:
    close(read(written(tmp_path, message(), message())).values, VALUES)
    assert "two messages for the same field differ" in failing(written(tmp_path, message(), message(VALUES + 1)))


def test_hole_in_a_series_of_levels(tmp_path: Path) -> None:
    path = written(tmp_path, pressure(850, 1), pressure(500, -30), pressure(850, 2, dataTime=1200))
    assert read(path, "t850").times.size == 2
    assert "missing values" in (text := failing(path, "t500")) and "2020-02-29T12:00Z" in text


def test_missing_points(tmp_path: Path) -> None:
    values = VALUES.copy()
    values[5] = 9999
    path = written(tmp_path, message(values, bitmapPresent=1, missingValue=9999))
    assert "'t2m' has missing values" in (text := failing(path)) and "1 of 12 points" in text


@pytest.mark.parametrize("how", ["cut", "flipped", "text", "none"])
def test_damaged(tmp_path: Path, how: str) -> None:
    good = message()
    data = {
        "cut": good + good[:-30],
        "flipped": good[:-4] + b"XXXX" + good,
        "text": b"hello world, this is no GRIB",
        "none": b"\0" * 64,
    }
    text = failing(written(tmp_path, data[how]))
    assert "no GRIB" in text


def test_wrong_variable_and_unit(tmp_path: Path) -> None:
    path = written(tmp_path, message())
    assert "it has t2m [K]" in failing(path, "msl")
    assert "in 'K', which cannot be converted to 'Pa'" in failing(path, "msl", variables={"msl": "t2m"})
    close(read(path, variables={"t2m": "2t"}).values, VALUES)  # by GRIB's short name


@pytest.mark.parametrize("first", ["pyproj", "eccodes"])
def test_order_of_imports_does_not_crash(tmp_path: Path, first: str) -> None:
    """Some builds of ecCodes bring a PROJ of their own: whichever comes first, both have to work in one process."""
    path = written(tmp_path, message())
    code = f"""
import {first}
import pyproj
from pathlib import Path
from stormda.config import GriddedSource
from stormda.sources.gridded import read_gridded
x, y = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True).transform(10.0, 50.0)
state, = read_gridded(GriddedSource(kind="grib", files=("x",)), ("t2m",), [Path({str(path)!r})])
x2, y2 = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True).transform(9.0, 0.0)
print(round(x), round(x2), float(state.values[0, 0, 0, 0]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1113195", "500000", "270.0"]


# --- real files ----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder() -> Path:
    if "STORMDA_DATA" not in os.environ:
        pytest.skip("STORMDA_DATA is not set")
    return Path(os.environ["STORMDA_DATA"]) / "grib"


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "channels", "settings", "shape", "low", "high"),
    [
        # Least and largest value of the first channel, as grib_ls of ecCodes shows them for the messages.
        ("era5-2mt-2019-03-uk.grib", ("t2m",), {}, (744, 1, 33, 49), 265.68018, 291.55884),
        ("era5-single-level-scalar-time.grib", ("t2m",), {}, (1, 1, 121, 201), 263.29712, 292.14478),
        (
            "era5-levels-members.grib",
            ("t850", "z500"),
            {"filter": {"number": 3}},
            (4, 2, 61, 120),
            236.58253,
            304.69883,
        ),
        ("alternate-scanning.grib", ("t2m",), {}, (1, 1, 171, 291), 273.53296, 319.03296),
        ("regular_gg_pl.grib", ("u10",), {}, (1, 1, 96, 192), -21.672516, 23.577484),
        ("regular_ll_msl.grib", ("msl",), {}, (1, 1, 181, 360), 95224.0, 103498.0),
        ("hpa_and_pa.grib", ("t1", "t0.1"), {}, (1, 2, 37, 72), 243.56943, 275.22436),
        ("t_on_different_level_types.grib", ("t100",), {}, (1, 1, 37, 72), 187.00029, 231.00029),
        ("arpege_2m_SE_20180501000000.grib", ("t2m", "d2m"), {}, (25, 2, 53, 80), 261.48334, 295.37982),
        ("arpege_10m_SE_20180501000000.grib", ("u10", "v10"), {}, (25, 2, 53, 80), -9.43437, 11.857997),
        (
            "nam.t00z.awp21100.tm00.grib2",
            ("t2m", "t850", "z500", "msl"),
            {"filter": {"typeOfLevel": ["isobaricInhPa", "meanSea", "heightAboveGround"]}},
            (1, 4, 65, 93),
            269.17734,
            313.71735,
        ),
    ],
)
def test_real_files(
    folder: Path, name: str, channels: tuple[str, ...], settings: Any, shape: tuple[int, ...], low: float, high: float
) -> None:
    state = read(folder / name, *channels, **settings)
    assert state.values.shape == shape
    first = state.values[:, 0]
    assert (first.min(), first.max()) == (pytest.approx(low, rel=1e-6), pytest.approx(high, rel=1e-6))


@pytest.mark.realdata
def test_alternate_scanning_is_undone(folder: Path) -> None:
    """Rows that run the wrong way would differ from their neighbours by the contrast of land and sea, not by a step."""
    (x,) = read(folder / "alternate-scanning.grib").values[:, 0]
    along, across = np.abs(np.diff(x, axis=1)).mean(), np.abs(np.diff(x, axis=0)).mean()
    assert across < 2 * along


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("era5-levels-corrupted.grib", "damaged or truncated"),
        ("regular_ll_wrong_increment.grib", "37 latitudes from 90 to -90, 2 apart"),
        ("fields_with_missing_values.grib", "missing values (fill value or NaN) at 10808 of 16380 points"),
        ("era5-levels-members.grib", "10 entries of 'number'"),
        ("lambert_grid.grib", "it has nlwrs"),
    ],
)
def test_real_files_that_are_wrong(folder: Path, name: str, words: str) -> None:
    assert words in failing(folder / name, "t2m", "t850")


@pytest.mark.realdata
def test_wind_along_a_projected_grid_is_turned(folder: Path) -> None:
    """Lambert, true at 25 N, 265 E: n = sin 25 (Snyder 1987, eq. 15-1); the lines are those of DxInMetres."""
    path = folder / "nam.t00z.awp21100.tm00.grib2"
    state = read(path, "u10", "v10", filter={"typeOfLevel": "heightAboveGround"})
    projection = state.grid.projection
    assert projection is not None
    # 81,271 m as stated; corners are stated to 1e-3 degrees, which moves the lines and stretches none.
    np.testing.assert_allclose(np.diff(projection.x), 81271.0, atol=1e-3)
    a = np.sin(np.deg2rad(25.0)) * np.deg2rad(state.grid.fields[1] + 95.0)
    u, v = state.values[0].astype(np.float64)
    along_x = u * np.cos(a) - v * np.sin(a)
    with open_grib(path, GriddedSource(kind="grib", files=("x",), filter={"shortName": "10u"})) as (field,):
        given = field.read((slice(None), slice(None)))
    # float32 of 20 m s-1 through two products, and 6e-7 of a turn (projection.py).
    np.testing.assert_allclose(along_x, given, rtol=0, atol=3e-5)
    assert "no 'v10' beside it to turn it by" in failing(path, "u10", filter={"shortName": "10u"})
