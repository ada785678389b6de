"""Gridded NetCDF in the layouts that providers write; what is wrong is named with file, key and what the file has."""

import os
import warnings
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import xarray as xr

from stormda.config import GriddedSource
from stormda.errors import InputError
from stormda.sources.gridded import read_gridded
from stormda.state import State
from stormda.types import Array

TIMES = np.array([0, 6, 12], dtype=np.int64)  # hours since 2020-02-29
LATITUDE, LONGITUDE = np.array([60.0, 50.0, 40.0]), np.array([-10.0, 0.0, 10.0, 20.0])
TEMPERATURE = 270 + np.arange(36.0).reshape(3, 3, 4)
LEVELS = np.array([1000.0, 850.0, 500.0])
UPPER = 250 + np.arange(108.0).reshape(3, 3, 3, 4) / 4  # [time, level, latitude, longitude]


def dataset(
    data: dict[str, tuple[tuple[str, ...], Array, dict[str, Any]]],
    time: str = "time",
    latitude: tuple[str, Array] = ("latitude", LATITUDE),
    longitude: tuple[str, Array] = ("longitude", LONGITUDE),
    **more: tuple[Any, ...],
) -> xr.Dataset:
    coordinates = {
        time: (time, TIMES, {"units": "hours since 2020-02-29", "calendar": "proleptic_gregorian"}),
        latitude[0]: (latitude[0], latitude[1], {"units": "degrees_north"}),
        longitude[0]: (longitude[0], longitude[1], {"units": "degrees_east"}),
    }
    return xr.Dataset(data, coordinates | more)


def surface(unit: str | None = "K", name: str = "t2m", values: Array = TEMPERATURE) -> xr.Dataset:
    return dataset({name: (("time", "latitude", "longitude"), values, {} if unit is None else {"units": unit})})


def read(path: Path, *channels: str, **settings: Any) -> State:
    source = GriddedSource(files=("x",), **settings)
    (state,) = read_gridded(source, channels or ("t2m",), [path], key="archive.sources.x")
    return state


def written(folder: Path, data: xr.Dataset, **how: Any) -> Path:
    data.to_netcdf(folder / "x.nc", **how)
    return folder / "x.nc"


def failing(path: Path, *channels: str, **settings: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        read(path, *channels, **settings)
    assert caught.value.file == str(path)
    return caught.value


# --- layouts -------------------------------------------------------------------------------------------------------


def test_old_layout(tmp_path: Path) -> None:
    """`time` in hours since 1900, `level` in millibars, packed in 16 bits."""
    data = dataset(
        {"t": (("time", "level", "latitude", "longitude"), UPPER, {"units": "K", "standard_name": "air_temperature"})},
        level=("level", LEVELS.astype("i4"), {"units": "millibars"}),
    )
    packing = {"t": {"dtype": "i2", "scale_factor": 1e-3, "add_offset": 260.0, "_FillValue": -32767}}
    state = read(written(tmp_path, data, format="NETCDF3_64BIT", encoding=packing), "t850", "t500")
    assert [str(t) for t in state.times] == ["2020-02-29T00:00:00", "2020-02-29T06:00:00", "2020-02-29T12:00:00"]
    # Half a packing step, and float32 at 280 K.
    np.testing.assert_allclose(state.values, UPPER[:, 1:], atol=0.5e-3 + 3e-5)


def test_new_layout(tmp_path: Path) -> None:
    """`valid_time`, `pressure_level`, scalar `number`, `expver` along time."""
    data = dataset(
        {"t": (("valid_time", "pressure_level", "latitude", "longitude"), UPPER, {"units": "K"})},
        time="valid_time",
        pressure_level=("pressure_level", LEVELS, {"units": "hPa", "positive": "down"}),
        number=((), 0, {"units": "1", "standard_name": "realization"}),
        expver=("valid_time", np.array(["0001", "0001", "0005"])),
    )
    state = read(written(tmp_path, data), "t500")
    np.testing.assert_array_equal(state.values[:, 0], UPPER[:, 2].astype(np.float32))


def test_expver_as_a_dimension_is_merged(tmp_path: Path) -> None:
    """Final ERA5 where it is, else preliminary ERA5T."""
    both = np.full((3, 2, 3, 4), np.nan)
    both[:2, 0], both[2, 1], both[1, 1] = TEMPERATURE[:2], TEMPERATURE[2], 999.0
    data = dataset(
        {"t2m": (("time", "expver", "latitude", "longitude"), both, {"units": "K"})}, expver=("expver", [1, 5])
    )
    np.testing.assert_array_equal(read(written(tmp_path, data)).values[:, 0], TEMPERATURE.astype(np.float32))


@pytest.mark.parametrize("names", [("latitude", "longitude"), ("lat", "lon"), ("y", "x"), ("north", "east")])
def test_names_of_coordinates(tmp_path: Path, names: tuple[str, str]) -> None:
    row, column = names
    data = dataset(
        {"t2m": (("time", row, column), TEMPERATURE, {"units": "K"})}, "time", (row, LATITUDE), (column, LONGITUDE)
    )
    state = read(written(tmp_path, data))
    assert state.grid.latitude.tolist() == LATITUDE.tolist() and state.grid.longitude.tolist() == LONGITUDE.tolist()


def test_any_order_of_dimensions(tmp_path: Path) -> None:
    data = surface().transpose("longitude", "time", "latitude")
    np.testing.assert_array_equal(read(written(tmp_path, data)).values[:, 0], TEMPERATURE.astype(np.float32))


def test_latitude_either_way(tmp_path: Path) -> None:
    state = read(written(tmp_path, surface().isel(latitude=slice(None, None, -1))))
    assert state.grid.latitude.tolist() == [40, 50, 60]
    np.testing.assert_array_equal(state.values[:, 0], TEMPERATURE[:, ::-1].astype(np.float32))


def test_region_cut_at_greenwich_is_joined(tmp_path: Path) -> None:
    data = surface().roll(longitude=-1)  # the values of 0, 10, 20 and -10
    data = data.assign_coords(longitude=("longitude", [0.0, 10, 20, 350], {"units": "degrees_east"}))
    state = read(written(tmp_path, data))
    assert state.grid.longitude.tolist() == LONGITUDE.tolist()
    np.testing.assert_array_equal(state.values[:, 0], TEMPERATURE.astype(np.float32))


def test_two_dimensional_coordinates(tmp_path: Path) -> None:
    """A projected grid; the coordinates are not declared as such, their units tell."""
    lat, lon = np.meshgrid(LATITUDE, LONGITUDE + 170, indexing="ij")
    data = xr.Dataset(
        {
            "t2m": (("time", "y", "x"), TEMPERATURE, {"units": "K"}),
            "xlat": (("y", "x"), lat, {"units": "degrees_north"}),
            "xlong": (("y", "x"), np.where(lon > 180, lon - 360, lon), {"units": "degrees_east"}),
        },
        {"time": ("time", TIMES, {"units": "hours since 2020-02-29"})},
    )
    grid = read(written(tmp_path, data)).grid
    assert not grid.is_regular and grid.longitude[0].tolist() == [160, 170, 180, 190]  # not split at the date line


def test_scalar_time_and_height_of_the_surface(tmp_path: Path) -> None:
    data = surface().isel(time=1).expand_dims(height=[2.0])
    data["height"].attrs["units"] = "m"
    state = read(written(tmp_path, data))
    assert [str(t) for t in state.times] == ["2020-02-29T06:00:00"]
    np.testing.assert_array_equal(state.values[0, 0], TEMPERATURE[1].astype(np.float32))


def test_found_by_names_of_providers_and_by_standard_name(tmp_path: Path) -> None:
    dims = ("time", "latitude", "longitude")
    upper = ("time", "plev", "latitude", "longitude")
    data = dataset(
        {
            "slp": (dims, TEMPERATURE + 700, {"units": "mb"}),
            "screen": (dims, TEMPERATURE, {"units": "K", "standard_name": "air_temperature"}),
            "skin": (dims, TEMPERATURE - 9, {"units": "K", "standard_name": "surface_temperature"}),
            "hgt": (upper, UPPER * 20, {"units": "m"}),
            "wind": (upper, UPPER / 10, {"units": "knots", "standard_name": "eastward_wind"}),
        },
        plev=("plev", LEVELS * 100, {"units": "Pa", "standard_name": "air_pressure"}),
        height=((), 2.0, {"units": "m", "standard_name": "height"}),
    )
    state = read(written(tmp_path, data), "msl", "t2m", "z500", "u850", "v850")
    assert [c.name for c in state.channels] == ["msl", "t2m", "z500", "u850"]
    # float32 keeps 7 digits.
    np.testing.assert_allclose(state.channel("msl"), (TEMPERATURE + 700) * 100, rtol=1e-6)
    np.testing.assert_allclose(state.channel("t2m"), TEMPERATURE, rtol=1e-6)
    np.testing.assert_allclose(state.channel("z500"), UPPER[:, 2] * 20 * 9.80665, rtol=1e-6)
    np.testing.assert_allclose(state.channel("u850"), UPPER[:, 1] / 10 * 1852 / 3600, rtol=1e-6)


def test_configured_name_and_unit(tmp_path: Path) -> None:
    path = written(tmp_path, surface(unit=None, name="temp", values=TEMPERATURE - 273.15))
    state = read(path, variables={"t2m": "temp"}, units={"t2m": "degC"})
    np.testing.assert_allclose(state.values[:, 0], TEMPERATURE, rtol=1e-6)


def test_index_levels(tmp_path: Path) -> None:
    data = dataset(
        {"theta": (("time", "lev", "latitude", "longitude"), UPPER - 250, {"units": "K"})}, lev=("lev", [0, 1, 2])
    )
    np.testing.assert_allclose(read(written(tmp_path, data), "theta1").values[:, 0], UPPER[:, 1] - 250)


def test_members(tmp_path: Path) -> None:
    members = np.stack([TEMPERATURE, TEMPERATURE + 1], axis=1)
    data = dataset(
        {"t2m": (("time", "number", "latitude", "longitude"), members, {"units": "K"})}, number=("number", [0, 4])
    )
    path = written(tmp_path, data)
    error = failing(path)
    assert "2 entries of 'number' (0, 4)" in str(error) and error.key == "archive.sources.x.filter"
    np.testing.assert_array_equal(read(path, filter={"number": 4}).values[:, 0], members[:, 1].astype(np.float32))
    assert "no 7 but 0, 4" in str(failing(path, filter={"number": 7}))


# --- what is wrong -------------------------------------------------------------------------------------------------


def test_wrong_variable_lists_what_the_file_has(tmp_path: Path) -> None:
    path = written(tmp_path, surface(name="t2n"))
    error = failing(path)
    assert "it has t2n [K]" in str(error) and "did you mean 't2n'" in str(error)
    assert error.key == "archive.sources.x.variables.t2m"
    assert "no 'tas' for channel 't2m'" in str(failing(path, variables={"t2m": "tas"}))


def test_wrong_level_lists_the_levels(tmp_path: Path) -> None:
    data = dataset(
        {"t": (("time", "level", "latitude", "longitude"), UPPER, {"units": "K"})},
        level=("level", LEVELS, {"units": "hPa"}),
    )
    path = written(tmp_path, data)
    assert "t [K] at 1000, 850, 500 hPa" in str(failing(path, "t700"))
    assert "t [K] at 1000, 850, 500 hPa" in str(failing(path, "t700", variables={"t700": "t"}))


@pytest.mark.parametrize(
    ("unit", "settings", "words"),
    [
        ("hPa", {}, "in 'hPa', which cannot be converted to 'K'"),
        (None, {}, "has no unit"),
        ("degF", {"units": {"t2m": "K"}}, "in 'degF', the configuration says 'K'"),
        ("degC", {}, "543.15 to 554.15 K"),  # Kelvin that are called Celsius
    ],
)
def test_wrong_unit(tmp_path: Path, unit: str | None, settings: dict[str, Any], words: str) -> None:
    assert words in str(failing(written(tmp_path, surface(unit)), **settings))


@pytest.mark.parametrize("how", ["nan", "fill", "undeclared"])
def test_missing_values_are_named_with_variable_and_first_time(tmp_path: Path, how: str) -> None:
    values = TEMPERATURE.copy()
    values[1, 2, 3] = {"nan": np.nan, "fill": -999.0, "undeclared": -999.0}[how]
    encoding = {"t2m": {"_FillValue": -999.0 if how == "fill" else None}}
    error = failing(written(tmp_path, surface(values=values), encoding=encoding))
    assert "'t2m'" in str(error) and "2020-02-29T06:00Z" in str(error)
    assert "fill value" in str(error)


@pytest.mark.parametrize("form", ["NETCDF4", "NETCDF3_CLASSIC", "NETCDF3_64BIT"])
@pytest.mark.parametrize("part", [0.3, 0.9, 0.999])
def test_truncated(tmp_path: Path, form: Any, part: float) -> None:
    """Also where the coordinates come first, so that only fields are cut off: the library would read zeros."""
    path = tmp_path / "x.nc"
    with netCDF4.Dataset(path, "w", format=form) as file:
        for name, values, unit in (
            ("longitude", LONGITUDE, "degrees_east"),
            ("latitude", LATITUDE, "degrees_north"),
            ("time", TIMES, "hours since 2020-02-29"),
        ):
            file.createDimension(name, len(values))
            file.createVariable(name, "f8", (name,))[:] = values
            file[name].units = unit
        file.createVariable("u10", "f4", ("time", "latitude", "longitude"))[:] = TEMPERATURE - 270
        file["u10"].units = "m s-1"
    data = path.read_bytes()
    assert read(path, "u10").values.shape == (3, 1, 3, 4)
    path.write_bytes(data[: int(part * len(data))])
    assert "damaged" in str(error := failing(path, "u10")) or "shorter" in str(error)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"PK\x03\x04....", "the ZIP archive is damaged"),
        (b"GRIB....", "a GRIB file"),
        (b"  <!DOCTYPE html>", "a web page"),
        (b'{"message": "quota"}', "a JSON text"),
        (b"hello", "not a NetCDF file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "damaged"),
    ],
)
def test_what_is_no_netcdf(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "x.nc"
    path.write_bytes(data)
    assert words in str(failing(path))


def test_calendar_of_a_climate_model(tmp_path: Path) -> None:
    data = surface()
    data["time"].attrs["calendar"] = "noleap"
    assert "calendar 'noleap'" in str(failing(written(tmp_path, data)))


def test_no_time_and_no_grid(tmp_path: Path) -> None:
    assert "has no time" in str(failing(written(tmp_path, surface().isel(time=0, drop=True))))
    points = xr.Dataset({"t2m": (("time", "station"), TEMPERATURE[:, 0], {"units": "K"})}, surface()[["time"]].coords)
    assert "it has t2m [K] without latitude and longitude" in str(failing(written(tmp_path, points)))


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(written(tmp_path, surface()))
    assert capfd.readouterr() == ("", "")


# --- real files ----------------------------------------------------------------------------------------------------


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "channels", "shape", "span", "mean"),
    [
        # Means of the first channel, of the raw arrays in float64; a float32 value has 7 digits.
        (
            "eraint_europe_12utc.nc",
            ("msl", "z500", "t850"),
            (3653, 3, 11, 13),
            ("2000-01-01T12", "2009-12-31T12"),
            101663.29582,
        ),
        ("ncep_air995_northamerica_6h.nc", ("air",), (2432, 1, 25, 53), ("2013-01-01T00", "2014-08-31T18"), 281.29083),
        ("ncep_slp_natlantic_daily.nc", ("msl",), (3287, 1, 17, 33), ("2001-01-01T00", "2009-12-31T00"), 101354.19033),
        (
            "era5_europe_pl_2020-07_cds_new_layout.nc",
            ("t850", "q700", "u500", "v500"),
            (12, 4, 21, 31),
            ("2020-07-01T00", "2020-07-03T18"),
            291.7442,
        ),
        (
            "era5_norway_sfc/*.nc",
            ("t2m", "d2m", "sp", "tp"),
            (1464, 4, 7, 10),
            ("2018-10-01T00", "2018-11-30T23"),
            273.28383,
        ),
    ],
)
def test_real_files(
    name: str, channels: tuple[str, ...], shape: tuple[int, ...], span: tuple[str, str], mean: float
) -> None:
    if "STORMDA_DATA" not in os.environ:
        pytest.skip("STORMDA_DATA is not set")
    folder = Path(os.environ["STORMDA_DATA"]) / "reanalysis"
    states = list(read_gridded(GriddedSource(files=(name,)), channels, sorted(folder.glob(name))))
    values, times = np.concatenate([s.values for s in states]), np.concatenate([s.times for s in states])
    assert values.shape == shape and (str(times[0])[:13], str(times[-1])[:13]) == span
    assert values[:, 0].mean(dtype=np.float64) == pytest.approx(mean, rel=1e-7)
