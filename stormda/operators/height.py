"""From the model's surface to the station's: 2-metre temperature is corrected for the difference in height.

A station in a valley sits below the smooth surface of a model, in warmer air:

    T_station = T_model(place) - gamma (h_station - h_model(place))

with a constant lapse rate gamma (0.0065 K m-1 is that of the ICAO standard atmosphere, Doc 7488) and h_model
interpolated from the same grid points as T_model. Where the configuration names no orography there is no correction,
for then the model's height is unknown. A station of unknown height cannot be corrected (QC `station height`).
"""

__all__ = ["height_shift", "read_orography"]

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from stormda.errors import InputError, InputMissing
from stormda.grid import Grid
from stormda.operators.interpolate import weights_of
from stormda.types import Array

_GRAVITY = 9.80665  # m s-2
_PLACES = ("latitude", "longitude", "lat", "lon", "XLAT", "XLONG")  # of every point
_UNITS = {
    "m": 1.0, "metre": 1.0, "meter": 1.0, "metres": 1.0, "meters": 1.0, "gpm": 1.0,
    "m2 s-2": 1 / _GRAVITY, "m**2 s**-2": 1 / _GRAVITY, "m^2 s^-2": 1 / _GRAVITY,
}  # fmt: skip


def height_shift(elevation: Array, surface: Array, lapse_rate: float) -> Array:
    """What to add to the model's temperature [K] at stations `elevation` m high, the model's surface at `surface` m."""
    return np.asarray(-lapse_rate * (elevation - surface))


def read_orography(path: Path, grid: Grid, key: str) -> Array:
    """The model's surface height.

    Args:
        path: a NetCDF file with one field in m, or of surface geopotential in m2 s-2, that holds the points of `grid`;
            with 2-D latitudes and longitudes it has to have just these points.
        grid: the grid of the state.
        key: the configuration key that names the file, for messages.

    Returns:
        Metres above mean sea level, [H, W].

    Raises:
        InputMissing: no such file.
        InputError: not NetCDF, no or several fields, another unit, a value that is not finite, other points.
    """
    if not path.exists():
        raise InputMissing("the orography file does not exist", file=path, key=key)
    try:
        with xr.open_dataset(path) as dataset:
            fields = [v.squeeze(drop=True).load() for n, v in dataset.data_vars.items() if n not in _PLACES]
            places = {n.lower()[:3]: np.asarray(dataset[n], np.float64) for n in _PLACES if n in dataset.variables}
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"the orography cannot be read: {error}", file=path, key=key) from error
    curved = not grid.is_regular and len(places) == 2 and all(p.shape == grid.shape for p in places.values())
    axes = () if curved else ("latitude", "longitude")
    fields = [f for f in fields if f.ndim == 2 and all(_axis(f, name) for name in axes)]
    if len(fields) != 1:
        raise InputError(
            f"{len(fields)} fields of latitude and longitude in the orography, 1 is wanted", file=path, key=key
        )
    field = fields[0]
    unit = str(field.attrs.get("units", "m"))
    if unit not in _UNITS:
        raise InputError(f"the orography has the unit '{unit}', not m or m2 s-2", file=path, key=key)
    height = _same_points(field, places, grid) if curved else _on_rows(field, grid)
    if height is None:
        raise InputError("the orography does not hold the points of the state's grid", file=path, key=key)
    if not np.isfinite(height).all():
        raise InputError("the orography is not finite everywhere", file=path, key=key)
    return np.asarray(height * _UNITS[unit])


def _same_points(field: xr.DataArray, places: Mapping[str, Array], grid: Grid) -> Array | None:
    """A field on 2-D latitudes and longitudes; None unless they are those of `grid`."""
    own = Grid(places["lat"], places["lon"])
    flat = Grid(*grid.fields)  # the points alone: the file need not tell its projection
    return field.to_numpy() if field.shape == grid.shape and own.same(flat) else None


def _on_rows(field: xr.DataArray, grid: Grid) -> Array | None:
    """A field on lines of latitude and longitude at the points of `grid`; None unless it has a value at each."""
    rows, columns = (_axis(field, name) for name in ("latitude", "longitude"))
    own = Grid.regular(field[rows].to_numpy(), field[columns].to_numpy())
    return _on_points(field.transpose(rows, columns).to_numpy(), own, grid)


def _axis(field: xr.DataArray, name: str) -> str:
    """The dimension of a field that is called `latitude` or `lat`, or has that standard name; '' without one."""
    for dimension in map(str, field.dims):
        known = dimension in field.coords and field[dimension].attrs.get("standard_name") == name
        if known or dimension.lower() in (name, name[:3]):
            return dimension
    return ""


def _on_points(values: Array, own: Grid, grid: Grid) -> Array | None:
    """The field at the points of `grid`; None unless it has a value at each and the same spacing, up to rounding."""
    same_spacing = all(
        len(a) == 1 or len(b) == 1 or abs(abs(a[1] - a[0]) - abs(b[1] - b[0])) < 1e-3
        for a, b in ((own.latitude, grid.latitude), (own.longitude, grid.longitude))
    )
    index, weight = weights_of(own, *(f.ravel() for f in grid.fields))
    nearest = weight.argmax(axis=1)  # NaN, outside, is found as the largest
    rows = np.arange(len(weight))
    if not same_spacing or not (weight[rows, nearest] > 0.98).all():
        return None
    return np.asarray(values.ravel()[index[rows, nearest]].reshape(grid.shape))
