"""A regional model on a Lambert conformal grid, from its files to scores: ingest, assimilate, verify, inspect, plot.

The file gives x and y, a CF grid mapping, and wind along the axes of the grid. Lambert's cone n = sin(38.5 N) turns
the axes by n (longitude - longitude_0) against north (Snyder 1987, https://doi.org/10.3133/pp1395, eq. 15-1 and 14-4);
the test computes it without PROJ.
"""

from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
import zarr
from pyproj import CRS, Proj
from tiny_world import ERROR, FIRST, NORMAL, SD, TIMES, command, configuration, stamp, true_fields

from stormda.store.analysis import read_analysis

RADIUS = 6371229.0
X, Y = -8e5 + 1.2e5 * np.arange(12), 3e5 + 1.2e5 * np.arange(8)  # m
ORIGIN = (38.5, -97.5)
MAPPING = {
    "grid_mapping_name": "lambert_conformal_conic",
    "standard_parallel": ORIGIN[0],
    "longitude_of_central_meridian": ORIGIN[1],
    "latitude_of_projection_origin": ORIGIN[0],
    "earth_radius": RADIUS,
}
CONE = np.sin(np.deg2rad(ORIGIN[0]))
WIND = 3.0  # m s-1, the standard deviation of the wind's components

# float32 fields of up to 12 m s-1, through two products: three roundings of 6e-8; 6e-7 of a turn (projection.py).
SINGLE = 1e-5


def places(x: Any, y: Any) -> tuple[Any, Any]:
    """Latitude and longitude, by Snyder's spherical formulas (15-5, 14-9 to 14-11) for one standard parallel."""
    rho_0 = RADIUS / np.tan(np.deg2rad(ORIGIN[0]))
    rho = np.hypot(x, rho_0 - y)
    lon = ORIGIN[1] + np.rad2deg(np.arctan2(x, rho_0 - y)) / CONE
    f = np.cos(np.deg2rad(ORIGIN[0])) * np.tan(np.pi / 4 + np.deg2rad(ORIGIN[0]) / 2) ** CONE / CONE
    return np.rad2deg(2 * np.arctan((RADIUS * f / rho) ** (1 / CONE)) - np.pi / 2), lon


def turn(u: Any, v: Any, longitude: Any, sign: float) -> tuple[Any, Any]:
    """Wind along the axes made eastward and northward (sign 1), or back (-1)."""
    a = sign * CONE * np.deg2rad(longitude - ORIGIN[1])
    return u * np.cos(a) + v * np.sin(a), -u * np.sin(a) + v * np.cos(a)


def truth() -> Any:
    """msl, u10 and v10 (eastward, northward), [T, 3, H, W]."""
    first = true_fields()
    shape = (first[:, 0] - NORMAL[0]) / SD[0], (first[:, 1] - NORMAL[1]) / SD[1]
    return np.stack([first[:, 0], WIND * shape[1], -WIND * shape[0]], axis=1)


def bilinear(fields: Any, x: Any, y: Any) -> Any:
    """Fields [..., H, W] at places of the plane of the projection [..., N]."""
    c, r = (x - X[0]) / 1.2e5, (y - Y[0]) / 1.2e5
    j, i = np.floor(c).astype(int), np.floor(r).astype(int)
    s, t = c - j, r - i
    return (fields[..., i, j] * (1 - s) + fields[..., i, j + 1] * s) * (1 - t) + (
        fields[..., i + 1, j] * (1 - s) + fields[..., i + 1, j + 1] * s
    ) * t


def write_archive(path: Path, fields: Any) -> None:
    latitude, longitude = places(*np.meshgrid(X, Y))
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("time", len(TIMES)), ("y", len(Y)), ("x", len(X))):
            file.createDimension(name, size)
        time = file.createVariable("time", "i8", ("time",))
        time.units = "seconds since 1970-01-01"
        time[:] = TIMES.astype(np.int64)
        for name, line in (("y", Y), ("x", X)):
            axis = file.createVariable(name, "f8", (name,))
            axis.setncatts({"standard_name": f"projection_{name}_coordinate", "units": "km"})
            axis[:] = line / 1000
        for name, values, unit in (("lat", latitude, "degrees_north"), ("lon", longitude, "degrees_east")):
            file.createVariable(name, "f4", ("y", "x")).units = unit
            file[name][:] = values
        file.createVariable("Lambert", "i4", ()).setncatts(MAPPING)
        u, v = turn(fields[:, 1], fields[:, 2], longitude, -1.0)
        for name, values, standard, unit in (
            ("msl", fields[:, 0], "air_pressure_at_mean_sea_level", "Pa"),
            ("u10", u, "x_wind", "m s-1"),
            ("v10", v, "y_wind", "m s-1"),
        ):
            x = file.createVariable(name, "f4", ("time", "y", "x"))
            x.setncatts({"standard_name": standard, "units": unit, "grid_mapping": "Lambert", "coordinates": "lat lon"})
            x[:] = values


def write_stations(path: Path, fields: Any) -> Any:
    """Forty stations at the first analysis time; returns what they see without error, [3, 40]."""
    random = np.random.default_rng(8)
    x, y = random.uniform(X[0], X[-1], 40), random.uniform(Y[0], Y[-1], 40)
    latitude, longitude = places(x, y)
    exact = bilinear(fields[FIRST], x, y)
    seen = exact + np.array([ERROR[0], 1.0, 1.0])[:, None] * random.standard_normal((3, 40))
    table = {"station": [f"P{n:02d}" for n in range(40)], "time": str(TIMES[FIRST]), "lat": latitude, "lon": longitude}
    pd.DataFrame(table | dict(zip(("msl", "u10", "v10"), seen, strict=True))).to_csv(path, index=False)
    return exact


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    folder, fields = tmp_path_factory.mktemp("projected"), truth()
    write_archive(folder / "archive.nc", fields)
    exact = write_stations(folder / "stations.csv", fields)
    config = configuration()
    config["channels"] = ["msl", "u10", "v10"]
    config["archive"]["sources"]["era"].pop("variables")
    stations = config["observations"]["sources"]["stations"]
    stations["variables"] = {name: {"column": name} for name in config["channels"]}
    stations["errors"] = {"msl": float(ERROR[0]), "u10": 1.0, "v10": 1.0}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    ended = command("ingest", "-c", folder / "config.yaml")
    assert ended.code == 0, ended.err
    return folder, fields, exact


def test_the_archive_has_the_projection_and_earth_winds(world: tuple[Path, Any, Any]) -> None:
    folder, fields, _ = world
    group: Any = zarr.open_group(folder / "run" / "archive.zarr", mode="r")
    assert group["u10"].attrs["grid_mapping"] == "crs" and group["u10"].attrs["standard_name"] == "eastward_wind"
    np.testing.assert_allclose(group["x"][:], X, rtol=1e-15)
    for name, number in (("u10", 1), ("v10", 2)):
        np.testing.assert_allclose(group[name][:], fields[:, number], rtol=0, atol=SINGLE)
    # An ellipsoid is not in play: places of PROJ and of Snyder's formulas are the same numbers.
    np.testing.assert_allclose(group["latitude"][:], places(*np.meshgrid(X, Y))[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("method", ["gaussian", "letkf"])
def test_an_analysis_in_cf_and_its_scores(world: tuple[Path, Any, Any], method: str) -> None:
    folder, fields, _ = world
    config = folder / "config.yaml"
    several = ("assimilate.ensemble=32", "assimilate.batch=32")  # of 8 the sampling noise may outweigh a station
    ended = command("assimilate", "-c", config, "--cycle", stamp(FIRST), "--method", method, *several)
    assert ended.code == 0, ended.err
    (analysis,) = (folder / "run" / "analyses" / method).glob("*split00/analysis.nc")
    with xr.open_dataset(analysis, decode_coords="all") as data:
        assert data["u10"].dims == ("realization", "y", "x") and data["u10"].encoding["grid_mapping"] == "crs"
        crs = CRS.from_cf(data["crs"].attrs)
        x, y = Proj(crs)(data["longitude"].values, data["latitude"].values)
        # PROJ returns to where it came from within 1e-9 degrees, 0.1 mm.
        np.testing.assert_allclose(x, np.broadcast_to(data["x"], x.shape), rtol=0, atol=1e-3)
        np.testing.assert_allclose(y, np.broadcast_to(data["y"].values[:, None], y.shape), rtol=0, atol=1e-3)
        assert data["x"].attrs["standard_name"] == "projection_x_coordinate" and data["x"].attrs["units"] == "m"
    read = read_analysis(analysis)
    assert read.state.grid.projection is not None
    np.testing.assert_array_equal(read.state.grid.projection.x, X)
    background = read_analysis(analysis.with_name("background.nc"))
    before, after = (np.sqrt(((a.mean - fields[FIRST]) ** 2).mean(axis=(1, 2))) for a in (background, read))
    # 28 of 40 stations, errors an eighth (msl) and a third (wind) of the variability: every channel gets nearer.
    assert (after < before).all()


def test_verify_inspect_and_plot_read_it(world: tuple[Path, Any, Any]) -> None:
    folder, _, _ = world
    config = folder / "config.yaml"
    ended = command("verify", "-c", config, "--method", "gaussian", "--cycle", stamp(FIRST))
    assert ended.code == 0, ended.err
    (analysis,) = (folder / "run" / "analyses" / "gaussian").glob("*split00/analysis.nc")
    ended = command("inspect", analysis)
    assert ended.code == 0 and "lambert_conformal_conic" in ended.out, ended.err
    ended = command("plot", analysis, "analysis", "u10", "-o", folder / "map.png")
    assert ended.code == 0 and (folder / "map.png").stat().st_size > 10_000, ended.err
