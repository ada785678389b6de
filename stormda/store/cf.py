"""Coordinates and attributes after the Climate and Forecast conventions, CF-1.11 (https://cfconventions.org).

Fields lie on `latitude` and `longitude`, with cell bounds, or on `y` and `x` with both given for every point; of a
projected grid `y` and `x` are coordinates, and `crs` is the grid mapping, also as well-known text. The
level of a channel is a scalar coordinate: its pressure, the height above ground that its name implies, or the index of
an idealised model. `units_metadata` says whether a temperature is a point of the scale or a difference.
"""

__all__ = [
    "CONVENTIONS",
    "GRID_MAPPING",
    "channel_attributes",
    "line_attributes",
    "mapping_attributes",
    "read_grid",
    "read_time",
    "write_grid",
    "write_level",
    "write_time",
]

from typing import Any

import netCDF4
import numpy as np

from stormda.grid import Grid
from stormda.projection import Projection
from stormda.types import Array
from stormda.variables import Channel, LevelType

CONVENTIONS = "CF-1.11"
GRID_MAPPING = "crs"
"""The variable that tells the projection."""
_HEIGHTS = {"t2m": 2.0, "d2m": 2.0, "rh2m": 2.0, "u10": 10.0, "v10": 10.0, "ws10": 10.0}  # m above ground
_LEVELS = {
    LevelType.PRESSURE: ("pressure", {"standard_name": "air_pressure", "units": "hPa", "positive": "down"}),
    LevelType.SIGMA: ("sigma", {"long_name": "pressure over surface pressure", "units": "1", "positive": "down"}),
    LevelType.HEIGHT: ("altitude", {"standard_name": "altitude", "units": "m", "positive": "up"}),
    LevelType.INDEX: ("index", {"standard_name": "model_level_number", "units": "1"}),
    LevelType.SURFACE: ("height", {"standard_name": "height", "units": "m", "positive": "up"}),
}


def write_grid(file: netCDF4.Dataset, grid: Grid) -> tuple[str, str]:
    """Write the horizontal coordinates; returns the names of the two dimensions of a field."""
    file.setncatts({"grid_geometry": "plane" if grid.plane else "sphere", "grid_wraps": _words(grid.periodic)})
    dimensions = ("latitude", "longitude") if grid.is_regular else ("y", "x")
    for name, size in zip(dimensions, grid.shape, strict=True):
        file.createDimension(name, size)
    for name, values, unit, axis in (
        ("latitude", grid.latitude, "degrees_north", "Y"),
        ("longitude", grid.longitude, "degrees_east", "X"),
    ):
        variable = file.createVariable(name, "f8", (name,) if grid.is_regular else dimensions)
        variable.setncatts({"standard_name": name, "long_name": name, "units": unit})
        variable[:] = values
        if grid.is_regular:
            variable.axis = axis
        if grid.is_regular and values.size > 1:
            _write_bounds(file, name, values, clip=90.0 if name == "latitude" and not grid.plane else np.inf)
    if grid.projection is not None:
        for name, line in (("y", grid.projection.y), ("x", grid.projection.x)):
            variable = file.createVariable(name, "f8", (name,))
            variable.setncatts(line_attributes(grid.projection, name))
            variable[:] = line
        file.createVariable(GRID_MAPPING, "i4", ()).setncatts(mapping_attributes(grid.projection))
    return dimensions


def line_attributes(projection: Projection, name: str) -> dict[str, str]:
    """Attributes of the coordinate `y` or `x` of a projection."""
    rotated = {"y": "grid_latitude", "x": "grid_longitude"}[name]
    standard = rotated if projection.unit == "degrees" else f"projection_{name}_coordinate"
    words = {"standard_name": standard, "long_name": f"{name} of the projection", "units": projection.unit}
    return words | {"axis": name.upper()}


def mapping_attributes(projection: Projection) -> dict[str, Any]:
    """Attributes of the grid mapping."""
    return {**projection.mapping, "crs_wkt": projection.crs.to_wkt()}


def read_grid(file: netCDF4.Dataset) -> Grid:
    """The inverse of `write_grid`."""
    if GRID_MAPPING in file.variables:
        mapping = {name: file[GRID_MAPPING].getncattr(name) for name in file[GRID_MAPPING].ncattrs()}
        return Grid.projected(Projection(mapping, *(np.asarray(file[name][:]) for name in ("y", "x"))))
    wraps = str(file.grid_wraps).split()
    latitude, longitude = (np.asarray(file[name][:]) for name in ("latitude", "longitude"))
    return Grid(latitude, longitude, ("latitude" in wraps, "longitude" in wraps), plane=file.grid_geometry == "plane")


def _words(periodic: tuple[bool, bool]) -> str:
    return " ".join(name for name, wraps in zip(("latitude", "longitude"), periodic, strict=True) if wraps) or "none"


def _write_bounds(file: netCDF4.Dataset, name: str, centres: Array, clip: float) -> None:
    """Cells meet halfway between their centres; the outermost are symmetric."""
    if "bounds" not in file.dimensions:
        file.createDimension("bounds", 2)
    middle = (centres[1:] + centres[:-1]) / 2
    edges = np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]]).clip(-clip, clip)
    file[name].bounds = f"{name}_bounds"
    file.createVariable(f"{name}_bounds", "f8", (name, "bounds"))[:] = np.stack([edges[:-1], edges[1:]], axis=1)


def write_time(file: netCDF4.Dataset, time: np.datetime64) -> None:
    """Write the valid time as a scalar coordinate, in whole seconds."""
    variable = file.createVariable("time", "i8", ())
    variable.setncatts(
        {"standard_name": "time", "long_name": "valid time", "units": "seconds since 1970-01-01 00:00:00 UTC"}
        | {"calendar": "proleptic_gregorian", "axis": "T"}
    )
    variable[...] = time.astype("datetime64[s]").astype(np.int64)


def read_time(file: netCDF4.Dataset) -> np.datetime64:
    """The inverse of `write_time`."""
    return np.datetime64(int(file["time"][...]), "s")


def write_level(file: netCDF4.Dataset, channel: Channel) -> str:
    """Write the scalar coordinate of a channel's level unless it is there; returns its name, '' where there is none."""
    value = _HEIGHTS.get(channel.variable, channel.level)
    if value is None:
        return ""
    word, attributes = _LEVELS[channel.info.level_type]
    name = f"{word}_{value:g}".replace(".", "_")
    if name not in file.variables:
        variable = file.createVariable(name, "f8", ())
        variable.setncatts(attributes | {"axis": "Z"})
        variable[...] = value
    return name


def channel_attributes(channel: Channel, *, difference: bool = False) -> dict[str, str]:
    """Unit and names of a channel, or of a difference or spread of it."""
    info = channel.info
    level = "" if channel.level is None else f" at {channel.level:g}"
    unit = " hPa" if info.level_type is LevelType.PRESSURE else ""
    attributes = {"units": info.unit, "long_name": f"{info.long_name}{level}{unit}"}
    if info.standard_name:
        attributes["standard_name"] = info.standard_name
    if info.unit == "K":
        on_scale = not difference and info.minimum > 0  # an anomaly can be negative
        attributes["units_metadata"] = f"temperature: {'on_scale' if on_scale else 'difference'}"
    return attributes
