"""What a radar sees of the state: reflectivity of rain, velocity along the beam.

**Reflectivity.** Drops of diameter D scatter as D^6 and fall faster the larger they are; for the exponential drop sizes
of Marshall and Palmer (1948, https://doi.org/10.1175/1520-0469(1948)005<0165:TDORWS>2.0.CO;2) the reflectivity factor
Z [mm6 m-3] of a rain rate R [mm h-1] is

    Z = a R^b,   a = 200, b = 1.6            dBZ = 10 log10(a R^b + Z_0)

with Z_0 = 10^(floor / 10), the least that counts as an echo: no rain gives `floor`, a finite number, and the derivative
vanishes there (b > 1) instead of being infinite. The rain of negative trial states is taken as none. It is the
rain of the state wherever the beam is: right below the melting layer, and for composites.

**Radial velocity**, away from the radar, of air that moves with u, v, at azimuth A (clockwise from north) and elevation
E:

    v_r = (u sin A + v cos A) cos E

The vertical velocity and the fall of the drops, w - w_t, enter with sin E and are left out: at 5 degrees 0.5 m s-1 of a
fall of 6 m s-1. Above and below the beam are two levels of the state; between them u and v are interpolated linearly in
height, with heights of the standard atmosphere. The result is affine in the state.
"""

__all__ = ["Reflectivity", "radial_velocity", "standard_height", "vertical"]

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stormda.operators.interpolate import Affine
from stormda.operators.level import standard_geopotential
from stormda.types import Array

_GRAVITY = 9.80665  # m s-2


@dataclass(frozen=True, eq=False)
class Reflectivity:
    """Reflectivity of rain.

    Args:
        rain: rain rate, affine in the state, mm h-1.
        a, b: Z = a R^b.
        floor: dBZ where there is no rain.
    """

    rain: Affine
    a: float = 200.0
    b: float = 1.6
    floor: float = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        """x [..., C, H, W] -> reflectivity [..., N] in dBZ."""
        rate = self.rain(x).clamp(min=0.0)
        wet = rate > 0.0
        power = torch.where(wet, torch.where(wet, rate, 1.0) ** self.b, 0.0)
        factor: Tensor = self.a * power + 10.0 ** (self.floor / 10.0)
        return factor.log() * (10.0 / math.log(10.0))

    def __len__(self) -> int:
        return len(self.rain)

    def subset(self, keep: Array) -> "Reflectivity":
        """The rows where `keep`, bool [N], is true."""
        return Reflectivity(self.rain.subset(keep), self.a, self.b, self.floor)


def standard_height(pressure: Array) -> Array:
    """Height [m] of a pressure [hPa] in the standard atmosphere."""
    return standard_geopotential(pressure) / _GRAVITY


def vertical(height: Array, levels: Array, reach: float) -> tuple[Array, Array]:
    """The two levels around each height.

    Args:
        height: m [N].
        levels: heights of L >= 1 levels, m, in any order.
        reach: m; how far below the lowest or above the highest level that level alone is still taken.

    Returns:
        Numbers of the lower and the upper level, int64 [N, 2], -1 where none is within reach, and the share of the
        upper one [N].
    """
    order = np.argsort(levels)
    z = levels[order]
    upper = np.clip(np.searchsorted(z, height), 0, len(z) - 1)
    lower = np.clip(np.where(z[upper] > height, upper - 1, upper), 0, len(z) - 1)
    gap = z[upper] - z[lower]
    share = np.where(gap > 0.0, (height - z[lower]) / np.where(gap > 0.0, gap, 1.0), 0.0).clip(0.0, 1.0)
    outside = ~((height >= z[0] - reach) & (height <= z[-1] + reach))
    pair = np.stack([order[lower], order[upper]], axis=1)
    return np.where(outside[:, None], -1, pair), np.where(outside, 0.0, share)


def radial_velocity(
    channels: Array, share: Array, azimuth: Array, elevation: Array, index: Array, weight: Array, points: int
) -> Affine:
    """The component of the wind along beams.

    Args:
        channels: numbers of u below, u above, v below, v above, int64 [N, 4].
        share: of the upper level [N].
        azimuth, elevation: degrees [N].
        index, weight: of the four grid points around each place [N, 4].
        points: of the grid, H x W.
    """
    a, e = np.deg2rad(azimuth), np.deg2rad(elevation)
    along = np.stack([np.sin(a), np.sin(a), np.cos(a), np.cos(a)], axis=1) * np.cos(e)[:, None]
    level = np.stack([1.0 - share, share, 1.0 - share, share], axis=1)
    index_N16 = (channels[:, :, None] * points + index[:, None, :]).reshape(len(share), -1)
    weight_N16 = ((along * level)[:, :, None] * weight[:, None, :]).reshape(len(share), -1)
    offset = torch.zeros(len(share), dtype=torch.float64)
    return Affine(torch.as_tensor(index_N16), torch.as_tensor(weight_N16), offset)
