"""Boxes, also across the date line, and masks of a file with a grid of its own."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stormda.config import RegionConfig, load
from stormda.errors import ConfigError, InputError, InputMissing
from stormda.verification.regions import region, unit_vectors

LATITUDE, LONGITUDE = np.array([10.0, 50.0, 50.0, 50.0]), np.array([0.0, 0.0, 175.0, 200.0])


def _mask(path: Path, values: np.ndarray, **coordinates: np.ndarray) -> Path:
    xr.Dataset({"land": (("lat", "lon"), values)}, coordinates).to_netcdf(path, engine="netcdf4")
    return path


def test_a_box_holds_what_is_inside_also_across_the_date_line() -> None:
    box = region(RegionConfig(latitude=(30, 60), longitude=(170, -150)), None, "r")
    assert box.holds(LATITUDE, LONGITUDE).tolist() == [False, False, True, True]
    assert region(RegionConfig(latitude=(30, 60)), None, "r").holds(LATITUDE, LONGITUDE).tolist() == [
        False,
        True,
        True,
        True,
    ]


@pytest.mark.parametrize("longitude", [(-180, 180), (0, 360)])
def test_a_box_may_go_all_round(longitude: tuple[float, float]) -> None:
    assert region(RegionConfig(longitude=longitude), None, "r").holds(LATITUDE, LONGITUDE).all()


def test_a_mask_counts_at_its_nearest_point_and_nowhere_else(tmp_path: Path) -> None:
    lat, lon = np.array([60.0, 50.0, 40.0]), np.array([-10.0, 0.0, 10.0])
    values = np.array([[0.0, 0.0, 0.0], [0.0, 0.7, 0.2], [0.0, 0.0, 1.0]])
    path = _mask(tmp_path / "land.nc", values, lat=lat, lon=lon)
    land = region(RegionConfig(mask=str(path)), path, "verify.regions.land")
    assert land.holds(LATITUDE, LONGITUDE).tolist() == [False, True, False, False]  # the others are beyond its grid
    assert land.holds(np.array([49.0, 41.0, 50.0]), np.array([1.0, 11.0, 9.0])).tolist() == [True, True, False]
    assert region(RegionConfig(mask=str(path), above=0.1), path, "r").holds(np.array([50.0]), np.array([9.0])).all()


def test_what_is_wrong_with_a_mask_is_told(tmp_path: Path) -> None:
    lat, lon = np.array([60.0, 50.0]), np.array([0.0, 10.0])
    with pytest.raises(InputMissing, match="does not exist"):
        region(RegionConfig(mask="m.nc"), tmp_path / "m.nc", "r")
    with pytest.raises(InputError, match="not finite"):
        region(RegionConfig(mask="m"), _mask(tmp_path / "n.nc", np.array([[np.nan, 0], [0, 1]]), lat=lat, lon=lon), "r")
    (tmp_path / "x.nc").write_bytes(b"\x89HDF no more")
    with pytest.raises(InputError, match="cannot be read"):
        region(RegionConfig(mask="m"), tmp_path / "x.nc", "r")
    xr.Dataset({"a": ("t", np.zeros(2))}).to_netcdf(tmp_path / "y.nc", engine="netcdf4")
    with pytest.raises(InputError, match="0 fields"):
        region(RegionConfig(mask="m"), tmp_path / "y.nc", "r")


@pytest.mark.parametrize(
    "wrong", ["{all: {latitude: [0, 10]}}", "{x: {latitude: [10, 0]}}", "{x: {longitude: [5, 5]}}", "{'../x': {}}"]
)
def test_regions_that_cannot_be_are_refused(wrong: str) -> None:
    with pytest.raises(ConfigError):
        load(None, [f"verify.regions={wrong}"], {"channels": ["msl"]})
    with pytest.raises(ConfigError):
        load(None, ["verify.scales=[1, 2]"], {"channels": ["msl"]})


def test_unit_vectors_are_of_length_one() -> None:
    np.testing.assert_allclose(np.linalg.norm(unit_vectors(LATITUDE, LONGITUDE), axis=-1), 1.0, rtol=1e-15)
