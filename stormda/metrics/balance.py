"""Is an analysis in the balance that the atmosphere keeps, or will a forecast from it ring?

With geopotential z, wind v = (u, v), temperature T, Coriolis parameter f = 2 Omega sin(latitude), of a field or of an
increment (both relations are linear):

    geostrophic    v_g = (-dz/dy, dz/dx) / f;   imbalance = sqrt(mean |v - v_g|^2 / mean |v|^2)
    hydrostatic    dz = z(p_2) - z(p_1) = R_d (T_1 + T_2) / 2 ln(p_1 / p_2) for levels p_1 > p_2;
                   imbalance = sqrt(mean (dz - R_d ...)^2 / mean dz^2)
    shock          sqrt(mean (x_1 - x_0)^2 / mean (x_2 - x_1)^2), x_0 a member's analysis, x_1 and x_2 its next steps

(Holton and Hakim 2013, "An Introduction to Dynamic Meteorology", 5th ed., 2.4 and 1.4.1; the idea of judging an
analysis by the tendencies of its first steps: Lynch and Huang 1992,
https://doi.org/10.1175/1520-0493(1992)120<1019:IOTHMU>2.0.CO;2.) 0 is balance. Real winds are not geostrophic: compare
an increment with the background. A shock of 1 is none: the first step is as long as the second. Geostrophy is looked at
beyond 20 degrees from the equator and away from the edges of the grid, where derivatives are centred.
"""

__all__ = ["geostrophic", "hydrostatic", "imbalance", "tendencies"]

import numpy as np

from stormda.grid import Grid
from stormda.metrics.base import Sums
from stormda.types import Array

_OMEGA = 7.292115e-5  # s-1, rotation of the Earth
_RADIUS = 6_371_229.0  # m, of the sphere of GRIB and ERA5
_R_D = 287.0597  # J kg-1 K-1, of dry air
_TROPICS = 20.0  # degrees


def geostrophic(z_HW: Array, u_HW: Array, v_HW: Array, grid: Grid) -> tuple[Array, Array, Array] | None:
    """|v - v_g|^2 and |v|^2 at every point, and where they count, each [H, W]; None on a grid without latitudes."""
    if not grid.is_regular or grid.plane or min(grid.shape) < 3:
        return None
    latitude = np.deg2rad(grid.latitude)[:, None]
    counts = np.zeros(grid.shape, dtype=bool)
    counts[1:-1, slice(None) if grid.periodic[1] else slice(1, -1)] = True
    counts &= (np.abs(grid.latitude) >= _TROPICS)[:, None] & (np.abs(grid.latitude) < 89.0)[:, None]
    f = np.where(counts, 2 * _OMEGA * np.sin(latitude), 1.0)
    dz_dy = np.gradient(z_HW, latitude[:, 0], axis=0) / _RADIUS
    dz_dx = _eastward(z_HW, np.deg2rad(grid.longitude), grid.periodic[1]) / (_RADIUS * np.cos(latitude).clip(1e-6))
    off = (u_HW + dz_dy / f) ** 2 + (v_HW - dz_dx / f) ** 2
    return np.where(counts, off, 0.0), np.where(counts, u_HW**2 + v_HW**2, 0.0), counts


def hydrostatic(z1: Array, z2: Array, t1: Array, t2: Array, p1: float, p2: float) -> tuple[Array, Array]:
    """Squares of the imbalance of a layer and of its thickness, of the shape of the fields; p1 > p2 in any unit."""
    thickness = z2 - z1
    return (thickness - _R_D * 0.5 * (t1 + t2) * np.log(p1 / p2)) ** 2, thickness**2


def tendencies(x0: Array, x1: Array, x2: Array) -> tuple[Array, Array]:
    """Squares of the first and of the second step, averaged over members (the first axis)."""
    return ((x1 - x0) ** 2).mean(axis=0), ((x2 - x1) ** 2).mean(axis=0)


def imbalance(sums: Sums) -> Array:
    """The root of the share of the statistic `off` in `whole`, [G]; NaN where there is nothing."""
    off, whole = sums.totals["off"], sums.totals["whole"]
    return np.asarray(np.sqrt(np.divide(off, whole, out=np.full(np.shape(off), np.nan), where=whole > 0)))


def _eastward(z_HW: Array, longitude: Array, periodic: bool) -> Array:
    """d/d longitude, centred; around the globe where the grid is."""
    if not periodic:
        return np.asarray(np.gradient(z_HW, longitude, axis=1))
    turn = 2 * np.pi
    wide = np.concatenate([z_HW[:, -1:], z_HW, z_HW[:, :1]], axis=1)
    places = np.concatenate([longitude[-1:] - turn, longitude, longitude[:1] + turn])
    return np.asarray(np.gradient(wide, places, axis=1)[:, 1:-1])
