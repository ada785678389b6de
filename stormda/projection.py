"""Projections: the lines of x and y on which a projected grid has its points, and the way between them and the Earth.

A map projection takes places (latitude, longitude) to (x, y); a grid has its points at lines of x and lines of y, in
the unit of the projection: metres, or degrees of a rotated pole. Both ways are PROJ's (https://proj.org), in the datum
of the projection itself: a model's sphere stays a sphere, and no datum shift moves its points.

Seen from the Earth a step along x is the vector p_x = dp/dx on the unit sphere, and along y p_y. From these follow

    area of a cell        |p_x x p_y| dx dy         the square of the scale factor is in it
    wind along the axes   u = u_x (p_x . e) / |p_x| + u_y (p_y . e) / |p_y|,  v with n in the place of e

with e and n, the unit vectors to the east and to the north. They are central differences over h = 1 km to each side,
which errs by (h / a)^2 / 6 = 4e-9 with the Earth's radius a, and by the 1e-10 to which PROJ iterates over h / a: 6e-7.

A projection is written as the attributes of a CF grid mapping (https://cfconventions.org, appendix F).
"""

__all__ = ["Projection", "join_longitudes"]

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
from pyproj import CRS, Transformer

from stormda.errors import InputError
from stormda.types import Array

_APART = 0.02  # of a spacing: how far points may lie from the lines of x and y (coordinates in files are rounded)
_SAME = 1e-3  # of a spacing: two lines closer than this are one
_ALIKE = 1e-9  # of a parameter, 6 mm of the Earth: PROJ computes one of the Earth's axes from the other and back
_STEP = {"m": 1000.0, "degrees": 0.01}  # of the central differences
_TEXTS = ("crs_wkt", "spatial_ref", "long_name", "units")


@dataclass(frozen=True, eq=False)
class Projection:
    """Lines of a projected grid of H x W points.

    Args:
        mapping: attributes of the CF grid mapping.
        y, x: coordinates of rows [H] and columns [W] in the unit of the projection, each rising or falling.

    Raises:
        InputError: a mapping that is not understood, or no projection; lines that are not finite or not monotonic.
    """

    mapping: Mapping[str, Any]
    y: Array
    x: Array

    def __post_init__(self) -> None:
        own = _map(self.mapping).mapping
        if own["grid_mapping_name"] in ("unknown", "latitude_longitude"):
            raise InputError(f"'{self.mapping.get('grid_mapping_name')}' is no projection with a CF grid mapping")
        object.__setattr__(self, "mapping", own)
        for name in ("y", "x"):
            line = np.ascontiguousarray(getattr(self, name), dtype=np.float64)
            line.setflags(write=False)
            object.__setattr__(self, name, line)
            steps = np.diff(line)
            if line.ndim != 1 or line.size < 2 or not np.isfinite(line).all():
                raise InputError(f"the {name} of a projected grid must be two finite numbers or more")
            if not ((steps > 0).all() or (steps < 0).all()):
                raise InputError(f"the {name} of a projected grid is not monotonic")

    def __getstate__(self) -> dict[str, Any]:
        return {"mapping": self.mapping, "y": self.y, "x": self.x}  # what follows from them is not sent

    @cached_property
    def _key(self) -> tuple[str, bytes, bytes]:
        return json.dumps(self.mapping, sort_keys=True), self.y.tobytes(), self.x.tobytes()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Projection) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @classmethod
    def through(cls, mapping: Mapping[str, Any], latitude_HW: Array, longitude_HW: Array) -> "Projection":
        """The lines on which the given points lie; raises InputError where they are on none."""
        _, crs, way = _map(mapping)
        x_HW, y_HW = way.transform(longitude_HW, latitude_HW)
        if not (np.isfinite(x_HW).all() and np.isfinite(y_HW).all()) or min(np.shape(x_HW)) < 2:
            raise InputError("latitude and longitude are not those of its projection")
        if crs.is_geographic:
            x_HW = np.unwrap(x_HW, period=360.0, axis=1)
            x_HW = x_HW - 360.0 * np.round((x_HW[:, :1] - x_HW[0, 0]) / 360.0)
        found = cls(mapping, y_HW.mean(axis=1), x_HW.mean(axis=0))
        found.check(latitude_HW, longitude_HW)
        return found

    def check(self, latitude_HW: Array, longitude_HW: Array) -> None:
        """Raises InputError unless points that a file gives are those of the projection."""
        x_HW, y_HW = self.place(latitude_HW, longitude_HW)
        along, across = (np.abs(np.diff(line)).min() for line in (self.x, self.y))
        apart = max(float(np.abs(x_HW - self.x).max() / along), float(np.abs(y_HW - self.y[:, None]).max() / across))
        if not apart <= _APART:
            raise InputError(
                f"latitude and longitude are up to {apart:.2g} grid spacings from the points of its projection",
                hint="does the grid mapping lack the radius of the model's Earth (earth_radius)?",
            )

    @property
    def unit(self) -> str:
        """The unit of x and y: `m` or `degrees`."""
        return "degrees" if self.crs.is_geographic else "m"

    @property
    def crs(self) -> CRS:
        """The coordinate reference system."""
        return _map(self.mapping).crs

    @property
    def period(self) -> float | None:
        """After how many units x repeats; None where it does not."""
        return 360.0 if self.crs.is_geographic else None

    def place(self, latitude: Array, longitude: Array) -> tuple[Array, Array]:
        """x and y of places in degrees; not finite where the projection does not reach."""
        x, y = _map(self.mapping).way.transform(longitude, latitude)
        if self.period is not None:
            first = self.x.min() - _APART * np.abs(np.diff(self.x)).min()  # what is rounded lies there too
            x = np.asarray(x) - self.period * np.floor((x - first) / self.period)
        return np.asarray(x, np.float64), np.asarray(y, np.float64)

    def fields(self) -> tuple[Array, Array]:
        """Latitude and longitude of every point, degrees [H, W]; longitudes without a break where that can be.

        Raises:
            InputError: a point that is not on the Earth.
        """
        x, y = np.meshgrid(self.x, self.y)
        longitude, latitude = _map(self.mapping).way.transform(x, y, direction="INVERSE")
        if not (np.isfinite(latitude).all() and np.isfinite(longitude).all()):
            raise InputError("a point of the projected grid is not on the Earth", hint="are x and y in its unit?")
        return np.asarray(latitude), join_longitudes(np.asarray(longitude))

    @cached_property
    def tangents(self) -> tuple[Array, Array]:
        """p_x and p_y at every point, radians a unit [H, W, 3]."""
        x, y = np.meshgrid(self.x, self.y)
        h = _STEP[self.unit]
        along, across = self._points(x + h, y) - self._points(x - h, y), self._points(x, y + h) - self._points(x, y - h)
        return along / (2 * h), across / (2 * h)

    def _points(self, x: Array, y: Array) -> Array:
        lam, phi = (np.deg2rad(c) for c in _map(self.mapping).way.transform(x, y, direction="INVERSE"))
        return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)

    @cached_property
    def areas(self) -> Array:
        """Areas of the cells, steradians [H, W]."""
        along, across = self.tangents
        cells = np.abs(np.gradient(self.y))[:, None] * np.abs(np.gradient(self.x))
        return np.asarray(np.linalg.norm(np.cross(along, across), axis=-1) * cells)

    @cached_property
    def turn(self) -> Array:
        """From wind along x and y to wind eastward and northward: a 2 x 2 matrix at every point, [2, 2, H, W]."""
        phi, lam = (np.deg2rad(f) for f in self.fields())
        east = np.stack([-np.sin(lam), np.cos(lam), np.zeros_like(lam)], axis=-1)
        north = np.stack([-np.sin(phi) * np.cos(lam), -np.sin(phi) * np.sin(lam), np.cos(phi)], axis=-1)
        axes = [t / np.linalg.norm(t, axis=-1, keepdims=True) for t in self.tangents]
        return np.array([[(axis * to).sum(axis=-1) for axis in axes] for to in (east, north)])

    def same(self, other: "Projection") -> bool:
        """Whether two grids have the same points."""
        return (
            self.y.shape == other.y.shape
            and self.x.shape == other.x.shape
            and self.alike(other)
            and all(_close(a, b).all() for a, b in ((self.y, other.y), (self.x, other.x)))
        )

    def alike(self, other: "Projection") -> bool:
        """Whether two grids are on the same map, wherever their points are."""
        own, others = self.mapping, other.mapping
        return own.keys() == others.keys() and all(_equal(n, own[n], others[n]) for n in own)

    def within(self, other: "Projection") -> tuple[Array, Array] | None:
        """Rows and columns of `other` that hold the points of this one; None if one is not there."""
        if not self.alike(other):
            return None
        found = []
        for own, all_of in ((self.y, other.y), (self.x, other.x)):
            index = np.abs(own[:, None] - all_of).argmin(axis=1)
            if not _close(own, all_of[index]).all():
                return None
            found.append(index)
        return found[0], found[1]


def join_longitudes(longitude_HW: Array) -> Array:
    """Longitudes of a field in -180..180, or in 0..360 if it crosses the date line."""
    west = np.mod(longitude_HW + 180.0, 360.0) - 180.0
    east = np.mod(longitude_HW, 360.0)
    return west if np.ptp(west) <= np.ptp(east) else east


def _equal(name: str, a: Any, b: Any) -> bool:
    """Whether two attributes are the same: a text, a number or some; longitudes in any convention."""
    if isinstance(a, str) or isinstance(b, str):
        return bool(a == b)
    if np.shape(a) != np.shape(b):
        return False
    apart = np.subtract(a, b)
    if "longitude" in name:
        apart = np.mod(apart + 180.0, 360.0) - 180.0
    return bool((np.abs(apart) <= _ALIKE * np.maximum(1.0, np.abs(b))).all())


def _close(a: Array, b: Array) -> Array:
    return np.asarray(np.abs(a - b) <= _SAME * np.abs(np.diff(a)).min())


class _Map(NamedTuple):
    """A grid mapping that was understood: its own attributes, the system, and the way from longitude and latitude."""

    mapping: dict[str, Any]
    crs: CRS
    way: Transformer


def _map(mapping: Mapping[str, Any]) -> _Map:
    """By the parameters of a grid mapping, else by its text; raises InputError."""
    try:
        return _understood(json.dumps({k: _plain(v) for k, v in mapping.items()}, sort_keys=True))
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        name, why = mapping.get("grid_mapping_name", "without a name"), " ".join(str(error).split())
        raise InputError(f"the grid mapping '{name}' is not understood ({why})") from error


@lru_cache(maxsize=16)  # PROJ looks half a second for an ellipsoid, and all files of a model have one
def _understood(about: str) -> _Map:
    attributes = json.loads(about)
    try:
        crs = CRS.from_cf({k: v for k, v in attributes.items() if k not in _TEXTS})
    except (RuntimeError, KeyError):
        if not any(k in attributes for k in ("crs_wkt", "spatial_ref")):
            raise
        crs = CRS.from_cf(attributes)
    own = {k: _plain(v) for k, v in crs.to_cf().items() if k != "crs_wkt" and not k.endswith("_name")}
    own["grid_mapping_name"] = crs.to_cf().get("grid_mapping_name", "unknown")
    base = crs.source_crs if crs.is_geographic and crs.is_derived else crs.geodetic_crs  # no shift of datum
    return _Map(own, crs, Transformer.from_crs(base, crs, always_xy=True))


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple, np.ndarray)):
        return [float(v) for v in value]
    return value if isinstance(value, str) else float(value)
