"""Where a radar looks: the place and the height of every gate of a beam.

Air is denser below, so a beam bends downwards, in the standard atmosphere nearly as a straight line would above an
Earth of 4/3 of its radius. For a gate at the slant range r of a beam of elevation angle e, from an antenna at height
h_0, with R = 4/3 a:

    h = sqrt(r^2 + R^2 + 2 r R sin e) - R + h_0        height above mean sea level
    s = R asin(r cos e / (R + h - h_0))                distance along the surface

and the place is s metres from the radar in the direction of the azimuth, on the ellipsoid WGS 84. Source: Doviak and
Zrnic 1993, Doppler Radar and Weather Observations, eq. 2.28.

The geodesic is solved at a few distances of every ray and interpolated linearly between: with nodes d = 10 km apart
longitudes are off by d^2 tan(latitude) / (8 a), at 60 degrees 3 m, a hundredth of a gate.
"""

__all__ = ["gate_heights", "gate_places", "ground_distance"]

import numpy as np
from pyproj import Geod

from stormda.types import Array

_RADIUS = 6371008.8 * 4.0 / 3.0  # m
_NODES = 10_000.0  # m
_GEOD = Geod(ellps="WGS84")


def gate_heights(distance: Array, elevation: Array, antenna: float) -> Array:
    """Height of gates [m above mean sea level].

    Args:
        distance: slant range, m; broadcast against `elevation`.
        elevation: degrees above the horizon.
        antenna: height of the antenna, m above mean sea level.
    """
    sine = np.sin(np.deg2rad(elevation))
    return np.asarray(np.sqrt(distance**2 + _RADIUS**2 + 2.0 * distance * _RADIUS * sine) - _RADIUS + antenna)


def ground_distance(distance: Array, elevation: Array) -> Array:
    """Distance of gates from the radar along the surface [m]; arguments as of `gate_heights`."""
    height = gate_heights(distance, elevation, 0.0)
    return np.asarray(_RADIUS * np.arcsin(distance * np.cos(np.deg2rad(elevation)) / (_RADIUS + height)))


def gate_places(
    distance: Array, azimuth: Array, elevation: Array, latitude: float, longitude: float
) -> tuple[Array, Array]:
    """Latitude and longitude of the gates of n rays.

    Args:
        distance: slant range of g gates, m [g].
        azimuth, elevation: of the rays, degrees [n].
        latitude, longitude: of the radar, degrees.

    Returns:
        degrees north and degrees east, in -180..180 [n, g].
    """
    ground = ground_distance(distance[None, :], elevation[:, None])
    nodes = np.linspace(0.0, ground.max(), max(int(np.ceil(ground.max() / _NODES)), 1) + 1)
    rays, count = len(azimuth), len(nodes)
    east, north, _ = _GEOD.fwd(
        np.full(rays * count, longitude),
        np.full(rays * count, latitude),
        np.repeat(azimuth, count).astype(np.float64),
        np.tile(nodes, rays),
    )
    offset = (np.asarray(east).reshape(rays, count) - longitude + 180.0) % 360.0 - 180.0
    north = np.asarray(north).reshape(rays, count)
    lower = np.minimum((ground / nodes[1]).astype(np.int64), count - 2)
    share = ground / nodes[1] - lower
    ray = np.arange(rays)[:, None]

    def between(values: Array) -> Array:
        return np.asarray(values[ray, lower] * (1.0 - share) + values[ray, lower + 1] * share)

    return between(north), (between(offset) + longitude + 180.0) % 360.0 - 180.0
