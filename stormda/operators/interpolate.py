"""Bilinear interpolation in space: indices and weights found once, then a gather.

Between the four grid points around a place, with fractions (r, s) of the way along a row and a column,

    y = (1-r)(1-s) x_00 + (1-r) s x_01 + r (1-s) x_10 + r s x_11

which is exact for every field a + b lat + c lon + d lat lon. Rows and columns may wrap around (a global grid in
longitude, an idealised plane in both); a place on an edge lies on the grid, to the rounding of coordinates in files; a
place beyond an edge has no weights (NaN), for there is no extrapolation.

On a projected grid rows and columns are lines of y and x, and a place is where the projection has it.

Between the last row of a global grid, at latitude p, and the pole a place has two neighbours: that row at its own
longitude, and beyond the pole the same row half a circle on, 2 (90 - p) degrees of the meridian away. Whoever stands
there faces the other way, so that the components of a vector have the other sign (`vector_weights`).

Finding the four points costs time, and the state changes at every step of a sampler while places do not, so both are
separated: `weights_of` runs once a window, `Affine` is one gather and one sum over the four points.
"""

__all__ = ["Affine", "vector_weights", "weights_of"]

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stormda.errors import InputError
from stormda.grid import Grid
from stormda.types import Array

_EDGE = 1e-4  # degrees, about 10 m: coordinates in files are often float32
_RIM = 1e-3  # of a spacing of a projected grid, 3 m of 3 km


def weights_of(grid: Grid, latitude: Array, longitude: Array) -> tuple[Array, Array]:
    """The four grid points around each place.

    Args:
        grid: of H x W points, regular or projected.
        latitude, longitude: degrees [N]; longitudes in any convention.

    Returns:
        Indices into the flattened grid, int64 [N, 4], and weights, float64 [N, 4], that sum to 1; the weights of a
        place outside the grid, or not finite, are NaN. Beyond the last row before a pole the last two points are those
        across it: see `vector_weights`.

    Raises:
        InputError: a latitude and longitude for every point, and no projection that tells what is between them.
    """
    latitude, longitude = (np.asarray(c, dtype=np.float64) for c in (latitude, longitude))
    if grid.projection is not None:
        return _projected(grid, latitude, longitude)
    if not grid.is_regular:
        raise InputError(
            "observations cannot be interpolated from a grid with 2-D latitudes and longitudes and no projection",
            hint="files with a CF grid_mapping, or regridded to rows of latitude and columns of longitude",
        )
    rows, r = _between(grid.latitude, latitude, grid.periodic[0], _period(grid.latitude, 180.0, grid.plane))
    period = _period(grid.longitude, 360.0, grid.plane and grid.periodic[1])
    east = _unwrap(grid.longitude, longitude, period)
    columns, s = _between(grid.longitude, east, grid.periodic[1], period)
    if any(grid.reaches_poles):
        end, share = _beyond(grid, latitude)
        over = end >= 0
        rows, r = np.where(over[:, None], end[:, None], rows), np.where(over, share, r)
        opposite, t = _between(grid.longitude, east + period / 2, True, period)
        return _corners(grid, rows, r, (columns, np.where(over[:, None], opposite, columns)), (s, np.where(over, t, s)))
    return _corners(grid, rows, r, (columns, columns), (s, s))


def vector_weights(grid: Grid, latitude: Array, weight: Array) -> Array:
    """The weights [N, 4] of `weights_of` for a component of a vector: across a pole it has the other sign."""
    if not any(grid.reaches_poles):
        return weight
    across = _beyond(grid, np.asarray(latitude, dtype=np.float64))[0] >= 0
    return np.where(across[:, None] & np.array([False, False, True, True]), -weight, weight)


def _beyond(grid: Grid, latitude: Array) -> tuple[Array, Array]:
    """The row between which and the pole a place is, -1 elsewhere, and the share of the row beyond the pole, [N]."""
    row, share = np.full(latitude.shape, -1), np.zeros(latitude.shape)
    for reached, end in zip(grid.reaches_poles, (0, grid.shape[0] - 1), strict=True):
        last = grid.latitude[end]
        gap = 90.0 - abs(last)
        if reached and gap > _EDGE:
            away = (latitude - last) * np.sign(last)
            between = (away > 0.0) & (away <= gap + _EDGE)
            row, share = np.where(between, end, row), np.where(between, away.clip(max=gap) / (2.0 * gap), share)
    return row, share


def _corners(
    grid: Grid, rows: Array, r: Array, columns: tuple[Array, Array], s: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Indices and weights of four points: of both rows [N, 2] the two columns, each [N, 2]."""
    index = np.concatenate([rows[:, [i]] * grid.shape[1] + c for i, c in enumerate(columns)], axis=1)
    share = [f[:, None] * np.stack([1.0 - t, t], axis=1) for f, t in zip((1.0 - r, r), s, strict=True)]
    return index, np.concatenate(share, axis=1)


def _projected(grid: Grid, latitude: Array, longitude: Array) -> tuple[Array, Array]:
    """As `weights_of`, between lines of y and x."""
    projection = grid.projection
    assert projection is not None
    x, y = projection.place(latitude, longitude)
    rim = [_RIM * float(np.abs(np.diff(line)).min()) for line in (projection.y, projection.x)]
    rows, r = _between(projection.y, y, False, 0.0, rim[0])
    columns, s = _between(projection.x, x, grid.periodic[1], projection.period or 0.0, rim[1])
    return _corners(grid, rows, r, (columns, columns), (s, s))


def _period(coordinate: Array, sphere: float, plane: bool) -> float:
    """The distance after which an axis repeats: a plane repeats one spacing after its last point."""
    if not plane or coordinate.size < 2:
        return sphere
    return float(abs(coordinate[-1] - coordinate[0]) * coordinate.size / (coordinate.size - 1))


def _unwrap(coordinate: Array, place: Array, period: float) -> Array:
    """Places shifted by whole periods to where the axis is; those already there keep every digit."""
    return np.asarray(place - period * np.floor((place - coordinate.min() + _EDGE) / period))


def _between(
    coordinate: Array, place: Array, periodic: bool, period: float, edge: float = _EDGE
) -> tuple[Array, Array]:
    """The two points of one axis around each place, int64 [N, 2], and the fraction of the way (NaN outside)."""
    n = coordinate.size
    order = np.arange(n) if n == 1 or coordinate[1] > coordinate[0] else np.arange(n)[::-1]
    c = coordinate[order]
    if periodic:
        c, order = np.append(c, c[0] + period), np.append(order, order[0])
        place = place - period * np.floor((place - c[0]) / period)
        inside = np.isfinite(place)
    else:
        c, order = (np.append(c, c + 1.0), np.append(order, order)) if n == 1 else (c, order)
        inside = (place >= coordinate.min() - edge) & (place <= coordinate.max() + edge)
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
