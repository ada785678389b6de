"""Where a score is taken: the whole domain, a box, or the points of a mask.

A mask is a field of a file, such as the share of land, that has a grid of its own. A point counts where the mask's
nearest point is as much as is asked or more; a point further from the mask's grid than one of its cells does not count.
Nothing else hides values: what is left out of a score is left out by its region or by its QC code.
"""

__all__ = ["Region", "region"]

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from scipy.spatial import cKDTree

from stormda.config import RegionConfig
from stormda.errors import InputError, InputMissing
from stormda.grid import Grid
from stormda.types import Array


@dataclass(frozen=True, eq=False)
class Region:
    """Which places belong to it.

    Args:
        latitude: south, north [degrees], both included.
        longitude: west, east; None: all around.
        mask: the points that count, as unit vectors [P, 3], their truth [P], and the width of a cell (chord); or None.
    """

    latitude: tuple[float, float] = (-90.0, 90.0)
    longitude: tuple[float, float] | None = None
    mask: tuple[Array, Array, float] | None = None

    def holds(self, latitude: Array, longitude: Array) -> Array:
        """Whether each place is inside: bool, of the shape of the coordinates [degrees]."""
        south, north = self.latitude
        inside = (latitude >= south) & (latitude <= north)
        if self.longitude is not None:
            west, east = self.longitude
            width = np.mod(east - west, 360.0) or 360.0  # -180 to 180 is all around
            inside = inside & (np.mod(longitude - west, 360.0) <= width)
        if self.mask is not None:
            points, counts, cell = self.mask
            distance, nearest = cKDTree(points).query(unit_vectors(latitude, longitude))
            inside = inside & counts[nearest] & (distance <= cell)
        return np.asarray(inside)


def region(config: RegionConfig, path: Path | None, key: str) -> Region:
    """A region of the configuration.

    Args:
        config: box, and how much of the mask counts.
        path: the file of the mask; None where there is none.
        key: of the configuration, for messages.

    Raises:
        InputMissing: no such file.
        InputError: not NetCDF, no or several fields, a value that is not finite.
    """
    mask = None if path is None else _read(path, config.above, f"{key}.mask")
    return Region(config.latitude, config.longitude, mask)


def unit_vectors(latitude: Array, longitude: Array) -> Array:
    """Places on the unit sphere, [..., 3]."""
    phi, lam = np.deg2rad(latitude), np.deg2rad(longitude)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)


def _read(path: Path, above: float, key: str) -> tuple[Array, Array, float]:
    if not path.exists():
        raise InputMissing("the file of the mask does not exist", file=path, key=key)
    try:
        with xr.open_dataset(path) as dataset:
            fields = [v.squeeze(drop=True).load() for v in dataset.data_vars.values()]
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"the mask cannot be read: {error}", file=path, key=key) from error
    found = [(f, lat, lon) for f in fields if f.ndim == 2 for lat in _named(f, "lat") for lon in _named(f, "lon")]
    if len(found) != 1:
        what = f"{len(found)} fields of latitude and longitude in the file of the mask, 1 is wanted"
        raise InputError(what, file=path, key=key)
    field, lat, lon = found[0]
    if field[lat].ndim == 1:
        field = field.transpose(*field[lat].dims, *field[lon].dims)
    values = field.to_numpy()
    grid = Grid(field[lat].to_numpy(), field[lon].to_numpy())
    if not np.isfinite(values).all():
        raise InputError(f"{int((~np.isfinite(values)).sum())} values of the mask are not finite", file=path, key=key)
    places = unit_vectors(*grid.fields)
    steps = [np.linalg.norm(np.diff(places, axis=axis), axis=-1).max(initial=0.0) for axis in (0, 1)]
    return places.reshape(-1, 3), (values >= above).ravel(), max(steps) or 2.0


def _named(field: xr.DataArray, short: str) -> list[str]:
    """The coordinate of a field that is called so, `latitude` or `lat`."""
    return [str(name) for name in field.coords if name in (short, {"lat": "latitude", "lon": "longitude"}[short])]
