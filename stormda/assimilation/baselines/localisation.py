"""Localisation: which observations count at a grid point, and how much.

The covariance of M members has rank M - 1, and its small values far from a point are noise. So each point is analysed
by itself, from the observations near it (Hunt, Kostelich and Szunyogh 2007), and R^-1 is multiplied by a taper that
falls from 1 to 0 at a radius: the fifth-order function of Gaspari and Cohn (1999, https://doi.org/10.1002/qj.49712555417,
eq. 4.10), which looks like exp(-d^2 / (2 L^2)) with L = 0.27 radius.

Distances are great circles in km. On a plane they are in grid spacings, and go round where it wraps.
"""

__all__ = ["Nearby", "Places", "default_radius", "nearby", "taper"]

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from stormda.errors import InputError
from stormda.grid import Grid
from stormda.types import Array

EARTH = 6371.0  # km
_PAIRS = 2_000_000  # of a point and an observation at once


class Places(NamedTuple):
    """Where observations are: degrees north and east, each [N]."""

    latitude: Array
    longitude: Array


class Nearby(NamedTuple):
    """The observations around g grid points: numbers [g, L] and weights [g, L], 0 where there are fewer than L."""

    points: slice
    numbers: Array
    weight: Array


def default_radius(grid: Grid) -> float:
    """2500 km on the sphere, 16 grid spacings on a plane."""
    return 16.0 if grid.plane else 2500.0


def taper(ratio: Array) -> Array:
    """The function of Gaspari and Cohn of distance / radius: 1 at 0, 0.21 at 1/2, 0 from 1 on."""
    r = 2.0 * np.asarray(ratio, dtype=np.float64)
    near = 1 - r**2 * (5 / 3 - r * (5 / 8 + r * (1 / 2 - r / 4)))
    safe = np.clip(r, 1.0, 2.0)
    far = 4 - safe * (5 - safe * (5 / 3 + safe * (5 / 8 - safe * (1 / 2 - safe / 12)))) - 2 / (3 * safe)
    return np.where(r <= 1, near, np.where(r < 2, far, 0.0)).clip(0.0, 1.0)


def nearby(grid: Grid, places: Places, radius: float, nearest: int | None = None) -> Iterator[Nearby]:
    """Go through the points of the grid, flattened, in pieces.

    Args:
        grid: H x W points.
        places: of N observations.
        radius: where the weight is 0: km, on a plane grid spacings.
        nearest: of more observations than this around a point only the nearest count.

    Raises:
        InputError: a plane whose points are no regular rows and columns.
    """
    around = _reach(radius, grid)
    size = _size(grid)
    tree = cKDTree(_coordinates(grid, places.latitude, places.longitude), boxsize=size)
    points = _coordinates(grid, *(field.ravel() for field in grid.fields))
    # A radius of half a plane that wraps sees no observation twice: a neighbour is an observation, not an image.
    counts = tree.query_ball_point(points, around, return_length=True)
    counts = np.minimum(counts, nearest) if nearest is not None else counts
    step = max(1, _PAIRS // max(1, int(counts.max())))
    for first in range(0, len(points), step):
        piece = slice(first, min(first + step, len(points)))
        most = max(1, int(counts[piece].max()))
        distance, index = tree.query(points[piece], k=np.arange(1, most + 1), distance_upper_bound=around)
        weight = taper(_along(np.minimum(distance, around), grid) / radius)
        yield Nearby(piece, np.where(index < tree.n, index, 0), np.where(index < tree.n, weight, 0.0))


def _coordinates(grid: Grid, latitude: Array, longitude: Array) -> Array:
    """Unit vectors on the sphere [P, 3]; row and column on a plane [P, 2]."""
    if not grid.plane:
        phi, lam = np.deg2rad(latitude), np.deg2rad(longitude)
        return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)
    if not grid.is_regular:
        raise InputError("localisation on a plane needs rows and columns")
    axes = zip((grid.latitude, grid.longitude), (latitude, longitude), grid.periodic, strict=True)
    return np.stack([_rank(axis, place, wraps) for axis, place, wraps in axes], axis=-1)


def _rank(axis: Array, place: Array, wraps: bool) -> Array:
    """A place along an axis of n even spacings, in spacings from the first point: 0..n-1, below n where it wraps."""
    spacing = (axis[-1] - axis[0]) / (axis.size - 1) if axis.size > 1 else 1.0
    rank = (np.asarray(place, dtype=np.float64) - axis[0]) / spacing
    if not wraps:
        return np.asarray(rank)
    rank = np.mod(rank, axis.size)
    return np.asarray(np.where(rank >= axis.size, 0.0, rank))  # what rounds to n


def _size(grid: Grid) -> Array | None:
    """After how many spacings a plane repeats, 0 where it does not; None on the sphere."""
    return np.where(grid.periodic, grid.shape, 0).astype(float) if grid.plane else None


def _reach(radius: float, grid: Grid) -> float:
    """A distance as the tree measures it: on the sphere by chords of the unit sphere."""
    return radius if grid.plane else 2.0 * math.sin(min(radius / (2 * EARTH), math.pi / 2))


def _along(chord: Array, grid: Grid) -> Array:
    """The inverse of `_reach`."""
    return chord if grid.plane else np.asarray(2 * EARTH * np.arcsin(np.minimum(chord / 2, 1.0)))
