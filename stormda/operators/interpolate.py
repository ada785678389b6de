"""Bilinear interpolation in space: indices and weights found once, then a gather.

Between the four grid points around a place, with fractions (r, s) of the way along a row and a column,

    y = (1-r)(1-s) x_00 + (1-r) s x_01 + r (1-s) x_10 + r s x_11

which is exact for every field a + b lat + c lon + d lat lon. Rows and columns may wrap around (a global grid in
longitude, an idealised plane in both); a place on an edge lies on the grid, to the rounding of coordinates in files; a
place beyond an edge has no weights (NaN). There is no extrapolation: poleward of the last row a place is outside.

Finding the four points costs time, and the state changes at every step of a sampler while places do not, so both are
separated: `weights_of` runs once a window, `Affine` is one gather and one sum over the four points.
"""

__all__ = ["Affine", "weights_of"]

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stormda.errors import InputError
from stormda.grid import Grid
from stormda.types import Array

_EDGE = 1e-4  # degrees, about 10 m: coordinates in files are often float32


def weights_of(grid: Grid, latitude: Array, longitude: Array) -> tuple[Array, Array]:
    """The four grid points around each place.

    Args:
        grid: a regular grid of H x W points.
        latitude, longitude: degrees [N]; longitudes in any convention.

    Returns:
        Indices into the flattened grid, int64 [N, 4], and weights, float64 [N, 4], that sum to 1; the weights of a
        place outside the grid, or not finite, are NaN.

    Raises:
        InputError: the grid gives a latitude and longitude for every point; such grids are not interpolated yet.
    """
    if not grid.is_regular:
        raise InputError(
            "observations cannot be interpolated from a grid with 2-D latitudes and longitudes yet",
            hint="regrid the archive to rows of latitude and columns of longitude",
        )
    rows, r = _between(grid.latitude, latitude, grid.periodic[0], _period(grid.latitude, 180.0, grid.plane))
    period = _period(grid.longitude, 360.0, grid.plane and grid.periodic[1])
    east = _unwrap(grid.longitude, np.asarray(longitude, dtype=np.float64), period)
    columns, s = _between(grid.longitude, east, grid.periodic[1], period)
    index = rows[:, :, None] * grid.shape[1] + columns[:, None, :]
    weight = np.stack([1.0 - r, r], axis=1)[:, :, None] * np.stack([1.0 - s, s], axis=1)[:, None, :]
    return index.reshape(-1, 4), weight.reshape(-1, 4)


def _period(coordinate: Array, sphere: float, plane: bool) -> float:
    """The distance after which an axis repeats: a plane repeats one spacing after its last point."""
    if not plane or coordinate.size < 2:
        return sphere
    return float(abs(coordinate[-1] - coordinate[0]) * coordinate.size / (coordinate.size - 1))


def _unwrap(coordinate: Array, place: Array, period: float) -> Array:
    """Places shifted by whole periods to where the axis is; those already there keep every digit."""
    return np.asarray(place - period * np.floor((place - coordinate.min() + _EDGE) / period))


def _between(coordinate: Array, place: Array, periodic: bool, period: float) -> tuple[Array, Array]:
    """The two points of one axis around each place, int64 [N, 2], and the fraction of the way (NaN outside)."""
    n, place = coordinate.size, np.asarray(place, dtype=np.float64)
    order = np.arange(n) if n == 1 or coordinate[1] > coordinate[0] else np.arange(n)[::-1]
    c = coordinate[order]
    if periodic:
        c, order = np.append(c, c[0] + period), np.append(order, order[0])
        place = place - period * np.floor((place - c[0]) / period)
        inside = np.isfinite(place)
    else:
        c, order = (np.append(c, c + 1.0), np.append(order, order)) if n == 1 else (c, order)
        inside = (place >= coordinate.min() - _EDGE) & (place <= coordinate.max() + _EDGE)
    low = np.clip(np.searchsorted(c, np.where(inside, place, c[0]), side="right") - 1, 0, len(c) - 2)
    fraction = np.clip((place - c[low]) / (c[low + 1] - c[low]), 0.0, 1.0)
    return np.stack([order[low], order[low + 1]], axis=1), np.where(inside, fraction, np.nan)


@dataclass(frozen=True, eq=False)
class Affine:
    """y = sum_j w_j x[i_j] + b: a few points of the state, weighted, and a constant.

    Args:
        index: int64 [N, J], into the flattened C x H x W axes.
        weight: float64 [N, J].
        offset: float64 [N], in the unit of y.
    """

    index: Tensor
    weight: Tensor
    offset: Tensor

    @classmethod
    def of(cls, channel: Array, index: Array, weight: Array, points: int) -> "Affine":
        """Interpolate channel `channel` [N] of C with the indices and weights [N, J] of a grid of `points` points."""
        index_NJ = torch.as_tensor(np.asarray(channel, dtype=np.int64)[:, None] * points + index)
        weight_NJ = torch.as_tensor(np.array(weight, dtype=np.float64))
        return cls(index_NJ, weight_NJ, torch.zeros(len(weight_NJ), dtype=torch.float64))

    def __call__(self, x: Tensor) -> Tensor:
        """x [..., C, H, W] -> y [..., N]."""
        batch, (n, j) = x.shape[:-3], self.index.shape
        index = self.index.to(x.device).flatten().expand(*batch, n * j)
        points = x.flatten(-3).gather(-1, index).reshape(*batch, n, j)  # a faster adjoint than indexing
        weight, offset = (t.to(device=x.device, dtype=x.dtype) for t in (self.weight, self.offset))
        return torch.sum(points * weight, dim=-1) + offset

    def __len__(self) -> int:
        return len(self.offset)

    def subset(self, keep: Array) -> "Affine":
        """The rows where `keep`, bool [N], is true."""
        rows = torch.as_tensor(np.flatnonzero(keep))
        return Affine(self.index[rows], self.weight[rows], self.offset[rows])

    def scaled(self, factor: Array, shift: Array) -> "Affine":
        """factor y + shift, both [N]."""
        f, s = (torch.as_tensor(factor, dtype=torch.float64), torch.as_tensor(shift, dtype=torch.float64))
        return Affine(self.index, self.weight * f[:, None], self.offset * f + s)
