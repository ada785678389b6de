"""Grids: where the points of a field are, how they weigh and where they wrap.

A regular grid has one latitude a row and one longitude a column; regional, projected and radar grids give both for
every point, and a projected one knows its projection, so that places can be found on it. Latitudes may run either way;
longitudes increase, in -180..180 or 0..360. A plane (idealised models) has nominal coordinates in degrees, equal
weights, and may wrap both ways.

Walking north over the pole one comes down the opposite meridian. So where a global grid ends short of a pole, its last
row has a neighbour: itself, half a circle on.
"""

__all__ = ["Grid"]

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from stormda.errors import InputError
from stormda.projection import Projection
from stormda.types import Array

_ROUNDING = 1e-3  # degrees: coordinates in files are often float32
_LAST = 0.75  # of a step: a row that ends so near a pole is the last one before it


@dataclass(frozen=True, eq=False)
class Grid:
    """A grid of H x W points.

    Args:
        latitude: degrees north, [H] or [H, W].
        longitude: degrees east, [W] or [H, W].
        periodic: whether rows (latitude) and columns (longitude) wrap around.
        plane: an idealised plane: all points weigh the same and a pole means nothing.
        projection: whose points these are.

    Raises:
        InputError: coordinates of the wrong shape, not finite, or not monotonic.
    """

    latitude: Array
    longitude: Array
    periodic: tuple[bool, bool] = (False, False)
    plane: bool = False
    projection: Projection | None = None

    def __post_init__(self) -> None:
        for name in ("latitude", "longitude"):
            value = np.ascontiguousarray(getattr(self, name), dtype=np.float64)
            value.setflags(write=False)
            object.__setattr__(self, name, value)
            if not np.isfinite(value).all():
                raise InputError(f"grid {name} is not finite")
            if value.ndim == 1 and value.size > 1 and not (np.all(np.diff(value) > 0) or np.all(np.diff(value) < 0)):
                raise InputError(f"grid {name} is not monotonic")
        if self.latitude.ndim != self.longitude.ndim or self.latitude.ndim not in (1, 2):
            raise InputError("grid latitude and longitude must both be lines or both be fields")
        if self.latitude.ndim == 2 and self.latitude.shape != self.longitude.shape:
            raise InputError("grid latitude and longitude fields differ in shape")
        if self.projection is not None and self.latitude.shape != (self.projection.y.size, self.projection.x.size):
            raise InputError("grid latitude and longitude are not fields on its projection")

    @classmethod
    def regular(cls, latitude: Array, longitude: Array) -> "Grid":
        """A grid on the sphere that wraps in longitude if its columns go once around the globe."""
        longitude = np.asarray(longitude, dtype=np.float64)
        once = longitude.size > 1 and abs((longitude[1] - longitude[0]) * longitude.size - 360.0) < _ROUNDING * 360
        return cls(np.asarray(latitude), longitude, periodic=(False, bool(once)))

    @classmethod
    def projected(cls, projection: Projection) -> "Grid":
        """The grid of a projection; one of a rotated pole may wrap."""
        return _projected(projection)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        if self.is_regular:
            return self.latitude.size, self.longitude.size
        return self.latitude.shape[0], self.latitude.shape[1]

    @property
    def is_regular(self) -> bool:
        """Whether one latitude belongs to a row and one longitude to a column."""
        return bool(self.latitude.ndim == 1)

    @cached_property
    def fields(self) -> tuple[Array, Array]:
        """Latitude and longitude of every point, each [H, W]."""
        if not self.is_regular:
            return self.latitude, self.longitude
        latitude, longitude = np.meshgrid(self.latitude, self.longitude, indexing="ij")
        return latitude, longitude

    @property
    def reaches_poles(self) -> tuple[bool, bool]:
        """Whether a pole lies beyond the first and beyond the last row, at most three quarters of a row away."""
        if self.plane or not self.is_regular or not self.periodic[1] or self.shape[0] < 2:
            return False, False
        first, last = (90.0 - np.abs(self.latitude[i]) for i in (0, -1))
        steps = np.abs(np.diff(self.latitude))
        return bool(first < _LAST * steps[0]), bool(last < _LAST * steps[-1])

    @cached_property
    def weights(self) -> Array:
        """Area weights [H, W] with mean 1: by the projection, else the cosine of latitude; 1 on a plane."""
        if self.plane:
            return np.ones(self.shape)
        if self.projection is not None:
            return np.asarray(self.projection.areas / self.projection.areas.mean())
        weights = np.cos(np.deg2rad(self.fields[0])).clip(min=0.0)
        return np.asarray(weights / weights.mean())

    def same(self, other: "Grid") -> bool:
        """Whether two grids hold the same points, within the rounding of coordinates in files."""
        if self.projection is not None and other.projection is not None:
            return self.projection.same(other.projection)
        return (
            self.shape == other.shape
            and self.is_regular == other.is_regular
            and bool(np.allclose(self.latitude, other.latitude, atol=_ROUNDING))
            and bool(np.allclose(np.mod(self.longitude - other.longitude + 180, 360), 180, atol=_ROUNDING))
        )

    def within(self, other: "Grid") -> tuple[Array, Array]:
        """Rows and columns of `other` that hold the points of this grid, whatever their order or range of longitude.

        Raises:
            InputError: a point is missing, or the grids are not regular and differ.
        """
        if self.same(other):
            return np.arange(self.shape[0]), np.arange(self.shape[1])
        if self.projection is not None and other.projection is not None:
            found = self.projection.within(other.projection)
            if found is not None:
                return found
        if not (self.is_regular and other.is_regular):
            raise InputError(f"the grid {other} is not the grid {self}")
        rows = np.abs(self.latitude[:, None] - other.latitude)
        columns = np.abs(np.mod(self.longitude[:, None] - other.longitude + 180.0, 360.0) - 180.0)
        if rows.min(axis=1).max() > _ROUNDING or columns.min(axis=1).max() > _ROUNDING:
            raise InputError(f"the grid {other} does not hold all points of the grid {self}")
        return rows.argmin(axis=1), columns.argmin(axis=1)

    def __str__(self) -> str:
        (rows, columns), (latitude, longitude) = self.shape, self.fields
        corners = f"{latitude.min():g}..{latitude.max():g}N {longitude.min():g}..{longitude.max():g}E"
        name = "" if self.projection is None else f", {self.projection.mapping['grid_mapping_name']}"
        return f"{rows} x {columns}, {corners}{name}"


@lru_cache(maxsize=4)  # every file of an archive has the same
def _projected(projection: Projection) -> Grid:
    wraps = projection.period is not None and Grid.regular(projection.y, np.sort(projection.x)).periodic[1]
    return Grid(*projection.fields(), periodic=(False, wraps), projection=projection)
