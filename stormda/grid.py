"""Grids: where the points of a field are, how they weigh and where they wrap.

A regular grid has one latitude a row and one longitude a column; regional, projected and radar grids give both for
every point. Latitudes may run either way; longitudes increase, in -180..180 or 0..360. A plane (idealised models) has
nominal coordinates in degrees, equal weights, and may wrap both ways.
"""

__all__ = ["Grid"]

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from stormda.errors import InputError
from stormda.types import Array

_ROUNDING = 1e-3  # degrees: coordinates in files are often float32


@dataclass(frozen=True, eq=False)
class Grid:
    """A grid of H x W points.

    Args:
        latitude: degrees north, [H] or [H, W].
        longitude: degrees east, [W] or [H, W].
        periodic: whether rows (latitude) and columns (longitude) wrap around.
        plane: an idealised plane: all points weigh the same and a pole means nothing.

    Raises:
        InputError: coordinates of the wrong shape, not finite, or not monotonic.
    """

    latitude: Array
    longitude: Array
    periodic: tuple[bool, bool] = (False, False)
    plane: bool = False

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

    @classmethod
    def regular(cls, latitude: Array, longitude: Array) -> "Grid":
        """A grid on the sphere that wraps in longitude if its columns go once around the globe."""
        longitude = np.asarray(longitude, dtype=np.float64)
        once = longitude.size > 1 and abs((longitude[1] - longitude[0]) * longitude.size - 360.0) < _ROUNDING * 360
        return cls(np.asarray(latitude), longitude, periodic=(False, bool(once)))

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

    @cached_property
    def weights(self) -> Array:
        """Area weights [H, W] with mean 1: the cosine of latitude on the sphere, 1 on a plane."""
        if self.plane:
            return np.ones(self.shape)
        weights = np.cos(np.deg2rad(self.fields[0])).clip(min=0.0)
        return np.asarray(weights / weights.mean())

    def same(self, other: "Grid") -> bool:
        """Whether two grids hold the same points, within the rounding of coordinates in files."""
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
        return f"{rows} x {columns}, {corners}"
