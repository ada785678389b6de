"""The projection of a field: by its CF grid mapping, or by the keys of its GRIB message.

The lines of y and x are those that the file gives, else those on which its latitudes and longitudes lie; where it has
both they have to agree. Wind along the axes of a grid is known by GRIB's flag (`uvRelativeToGrid`) or by its CF
standard name (`x_wind`, `grid_eastward_wind`, ...).
"""

__all__ = ["EARTH", "along_grid", "projection_of"]

from collections.abc import Mapping
from typing import Any

import numpy as np

from stormda.errors import InputError
from stormda.projection import Projection
from stormda.sources.axes import Axis
from stormda.sources.fields import Field
from stormda.sources.units import convert
from stormda.types import Array

EARTH = (
    "shapeOfTheEarth",
    "radius",
    "earthMajorAxisInMetres",
    "earthMinorAxisInMetres",
    "projectionCentreFlag",
    "LaDInDegrees",
    "orientationOfTheGridInDegrees",
)
"""Keys of GRIB that tell a projection, beside those that cfgrib reads by itself."""

_ALONG = ("x_wind", "y_wind", "grid_eastward_wind", "grid_northward_wind")
_SOUTH = 128  # the bit of `projectionCentreFlag` that puts the South Pole into the centre
_LINES = ("latitude_longitude", "unknown")  # mappings whose lines are latitude and longitude


def along_grid(f: Field) -> bool:
    """Whether a component of the wind is one along the axes of the grid."""
    said = f.attributes.get("GRIB_uvRelativeToGrid") == 1 or f.attributes.get("standard_name") in _ALONG
    return bool(said) and f.attributes.get("GRIB_gridType") not in ("regular_ll", "regular_gg")


def projection_of(f: Field, horizontal: tuple[Axis, Axis]) -> Projection | None:
    """The projection of a field; None where it has none that is known.

    Args:
        f: the field.
        horizontal: its axes, latitude and longitude or y and x.

    Raises:
        InputError: a grid mapping that is not understood, or that contradicts the coordinates.
    """
    mapping, lines = _mapping(f), f.lines()
    if mapping is None or (len(horizontal[0].dims) == 1 and lines is None):
        if lines is not None and len(horizontal[0].dims) == 1:
            raise InputError("y and x of a projection, but no grid_mapping that tells which")
        return None
    given = horizontal[0] is not (lines or (None,))[0]
    if lines is None:
        return Projection.through(mapping, *_fields(horizontal))
    unit = Projection(mapping, *(np.arange(2.0), np.arange(2.0))).unit
    y, x = (_line(axis, unit) for axis in lines)
    projection = Projection(mapping, y, x)
    if given and horizontal[0].dims == (lines[0].dims[0], lines[1].dims[0]):
        projection.check(*_fields(horizontal))
    return projection


def _fields(horizontal: tuple[Axis, Axis]) -> tuple[Array, Array]:
    latitude, longitude = (np.asarray(a.values, np.float64) for a in horizontal)
    return latitude, longitude


def _line(axis: Axis, unit: str) -> Array:
    """A line in the unit of the projection."""
    values = np.asarray(axis.values, np.float64)
    if unit == "degrees":
        return values
    try:
        return np.asarray(convert(values, axis.unit or unit, unit))
    except (InputError, ValueError, KeyError) as error:
        raise InputError(f"'{axis.name}' is in '{axis.unit}', not in a unit of length") from error


def _mapping(f: Field) -> Mapping[str, Any] | None:
    """Attributes of the grid mapping of a field."""
    if "GRIB_gridType" in f.attributes:
        try:
            return _grib({k.removeprefix("GRIB_"): v for k, v in f.attributes.items() if k.startswith("GRIB_")})
        except KeyError as error:
            raise InputError(f"the message does not tell its projection: {error} is missing") from error
    named = str(f.attributes.get("grid_mapping", "")).split(":")[0].strip()
    if not named:
        return None
    if named not in f.axes:
        raise InputError(f"the file lacks its grid mapping '{named}'")
    found = f.axes[named].attributes
    return None if found.get("grid_mapping_name", "unknown") in _LINES and "crs_wkt" not in found else found


def _grib(keys: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The CF grid mapping of a GRIB message; WMO Manual on Codes 306, templates 3.1, 3.10, 3.20, 3.30 and 3.140."""
    kind = keys["gridType"]
    if kind == "lambert":
        own: dict[str, Any] = {
            "grid_mapping_name": "lambert_conformal_conic",
            "standard_parallel": [keys["Latin1InDegrees"], keys["Latin2InDegrees"]],
            "longitude_of_central_meridian": keys["LoVInDegrees"],
            "latitude_of_projection_origin": keys["LaDInDegrees"],
        }
    elif kind == "polar_stereographic":
        south = int(keys.get("projectionCentreFlag", 0)) & _SOUTH
        own = {
            "grid_mapping_name": "polar_stereographic",
            "straight_vertical_longitude_from_pole": keys["orientationOfTheGridInDegrees"],
            "latitude_of_projection_origin": -90.0 if south else 90.0,
            "standard_parallel": -abs(keys["LaDInDegrees"]) if south else abs(keys["LaDInDegrees"]),
        }
    elif kind == "rotated_ll":
        if keys.get("angleOfRotationInDegrees"):
            raise InputError("a rotated pole that is turned about itself (angleOfRotation) is not supported")
        own = {
            "grid_mapping_name": "rotated_latitude_longitude",
            "grid_north_pole_latitude": -float(keys["latitudeOfSouthernPoleInDegrees"]),
            "grid_north_pole_longitude": (float(keys["longitudeOfSouthernPoleInDegrees"]) + 360.0) % 360.0 - 180.0,
        }
    else:
        return None
    return own | _earth(keys)


def _earth(keys: Mapping[str, Any]) -> dict[str, float]:
    """Code table 3.2: the shape of the Earth."""
    shape = int(keys.get("shapeOfTheEarth", 6))
    if shape in (2, 4, 5):
        ellipsoids = {2: (6378160.0, 297.0), 4: (6378137.0, 298.257222101), 5: (6378137.0, 298.257223563)}
        return dict(zip(("semi_major_axis", "inverse_flattening"), ellipsoids[shape], strict=True))
    if shape in (3, 7):
        axes = float(keys["earthMajorAxisInMetres"]), float(keys["earthMinorAxisInMetres"])
        return dict(zip(("semi_major_axis", "semi_minor_axis"), axes, strict=True))
    radius = {0: 6367470.0, 6: 6371229.0, 8: 6371200.0}.get(shape) or float(keys["radius"])
    return {"earth_radius": radius}
