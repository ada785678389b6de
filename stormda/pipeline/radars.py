"""Radars in a simulated world: a volume of what they would measure, in ODIM_H5, for the ordinary reader of radar files.

A gate sees the rain and the wind of the world at its place and height: reflectivity Z = 200 R^1.6, where it is above
the weakest echo that a radar detects (`WEAKEST` dBZ at 100 km, 20 log10(r / 100 km) more at the range r), and the
component of the wind along the beam. Errors are Gaussian, independent from gate to gate, and the same for the same
seed. Fields between grid points are bilinear, between heights linear; the rain of a column is the same up to the top of
the cloud, above there is none.
"""

__all__ = ["LEVELS", "WEAKEST", "scan"]

from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from stormda.grid import Grid
from stormda.nature.weather import Weather
from stormda.random import normal, stream
from stormda.sources.radar_beam import gate_heights, gate_places
from stormda.store.odim import Beam, write_volume
from stormda.types import Array

LEVELS = (0.0, 750.0, 1500.0, 3000.0, 5000.0, 7500.0, 10000.0)
"""Heights at which the wind is computed [m]."""
WEAKEST = -10.0
_ANGLES = (0.5, 1.5, 3.0)
_TURN = np.timedelta64(20, "s")


def scan(
    world: Weather,
    state: Tensor,
    time: np.datetime64,
    path: Path,
    name: str,
    latitude: float,
    longitude: float,
    *,
    seed: int = 0,
    errors: tuple[float, float] = (1.0, 0.5),
    reach: float = 240e3,
    step: float = 2000.0,
    rays: int = 180,
    angles: tuple[float, ...] = _ANGLES,
) -> None:
    """Write the volume of one radar.

    Args:
        world: the weather.
        state: its state [3, y, x].
        time: of the scan, datetime64; it ends then.
        path: the file.
        name: the radar's identifier.
        latitude, longitude: of the radar, degrees, in the nominal coordinates of the world's grid.
        seed: of the errors, which differ between radars and times.
        errors: standard deviations of reflectivity [dB] and velocity [m s-1] of one gate.
        reach: m, farthest gate.
        step: m, length of a gate.
        rays: of a turn.
        angles: elevations of the sweeps, degrees.

    Raises:
        OutputError: the file cannot be written.
    """
    winds = [world.sqg.interior(state[:2], z)[:2] for z in LEVELS]
    wind = np.stack([torch.stack(w).double().numpy() for w in winds])  # level, component, y, x
    rain = world.rain(state).double().numpy()
    azimuth = (np.arange(rays) + 0.5) * 360.0 / rays
    distance = (np.arange(int(reach / step)) + 0.5) * step
    beams = []
    for number, angle in enumerate(angles):
        height = np.broadcast_to(gate_heights(distance, np.array(angle), 0.0), (rays, len(distance)))
        places = gate_places(distance, azimuth, np.full(rays, angle), latitude, longitude)
        row, column = _points(world.sqg.grid(), *places)
        level = np.interp(height, LEVELS, np.arange(len(LEVELS)))
        u, v = (_between(wind[:, i], level, row, column) for i in (0, 1))
        rate = np.where(height <= world.depth, map_coordinates(rain, [row, column], order=1, mode="grid-wrap"), 0.0)
        dbz_error, vr_error = _noise(seed, f"{name} {time} {number}", height.shape, errors)
        with np.errstate(divide="ignore"):
            dbz = 10.0 * np.log10(200.0 * np.maximum(rate, 0.0) ** 1.6) + dbz_error
        echo = dbz > WEAKEST + 20.0 * np.log10(distance / 100e3)
        a, e = np.deg2rad(azimuth)[:, None], np.deg2rad(angle)
        vr = (u * np.sin(a) + v * np.cos(a)) * np.cos(e) + vr_error
        values = {"DBZH": np.where(echo, dbz, np.nan), "VRADH": np.where(echo, vr, np.nan)}
        start = time.astype("datetime64[s]") - (len(angles) - number) * _TURN
        beams.append(Beam(angle, start, start + _TURN, step, values, np.ones(height.shape, dtype=bool)))
    write_volume(path, f"NOD:{name}", latitude, longitude, 0.0, beams)


def _points(grid: Grid, latitude: Array, longitude: Array) -> tuple[Array, Array]:
    """Fractional numbers of rows and columns of a regular grid."""
    (south, west), spacing = (
        (grid.latitude[0], grid.longitude[0]),
        (np.diff(grid.latitude[:2]), np.diff(grid.longitude[:2])),
    )
    return (latitude - south) / spacing[0], ((longitude - west) % 360.0) / spacing[1]


def _between(field: Array, level: Array, row: Array, column: Array) -> Array:
    """A field [level, y, x] at fractional points; it wraps around in y and x, not in the vertical."""
    low = np.minimum(level.astype(np.int64), len(LEVELS) - 2)
    flat = [map_coordinates(f, [row, column], order=1, mode="grid-wrap") for f in field]
    stack = np.stack(flat)
    below, above = (np.take_along_axis(stack, (low + i)[None], axis=0)[0] for i in (0, 1))
    share = level - low
    return np.asarray(below * (1.0 - share) + above * share)


def _noise(seed: int, purpose: str, shape: tuple[int, ...], errors: tuple[float, float]) -> tuple[Array, Array]:
    numbers = torch.arange(2 * shape[0] * shape[1])
    white = normal(seed, stream("radar", purpose), torch.arange(1), numbers).double().numpy().reshape(2, *shape)
    return white[0] * errors[0], white[1] * errors[1]
