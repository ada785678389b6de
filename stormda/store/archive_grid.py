"""The grid of an archive: its coordinates in the Zarr group, with CF attributes."""

__all__ = ["dimensions", "get_grid", "put_grid"]

from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr

from stormda.grid import Grid
from stormda.projection import Projection
from stormda.store.cf import GRID_MAPPING, line_attributes, mapping_attributes
from stormda.types import Array


def dimensions(grid: Grid) -> tuple[str, str]:
    """Names of the dimensions of a field."""
    return ("latitude", "longitude") if grid.is_regular else ("y", "x")


def put_grid(group: zarr.Group, grid: Grid) -> tuple[tuple[str, str], dict[str, str]]:
    """Write the coordinates; returns the dimensions of a field and what its attributes say of the projection."""
    dims = dimensions(grid)
    for name, values, unit in (
        ("latitude", grid.latitude, "degrees_north"),
        ("longitude", grid.longitude, "degrees_east"),
    ):
        _put(group, name, values, (name,) if grid.is_regular else dims, {"units": unit, "standard_name": name})
    if grid.projection is None:
        return dims, {}
    for name, line in (("y", grid.projection.y), ("x", grid.projection.x)):
        _put(group, name, line, (name,), line_attributes(grid.projection, name))
    _put(group, GRID_MAPPING, np.zeros((), np.int32), (), mapping_attributes(grid.projection))
    return dims, {"grid_mapping": GRID_MAPPING, "coordinates": "latitude longitude"}


def get_grid(group: zarr.Group, facts: Mapping[str, Any]) -> Grid:
    """The inverse of `put_grid`; `facts` are the attributes of the group, `periodic` and `plane` among them."""
    if GRID_MAPPING in group:
        projection = Projection(dict(group[GRID_MAPPING].attrs), _load(group, "y"), _load(group, "x"))
        return Grid.projected(projection)
    rows, columns = (bool(wraps) for wraps in facts["periodic"])
    return Grid(_load(group, "latitude"), _load(group, "longitude"), (rows, columns), bool(facts["plane"]))


def _put(group: zarr.Group, name: str, values: Array, dims: tuple[str, ...], attributes: Mapping[str, Any]) -> None:
    group.create_array(name, data=np.array(values), dimension_names=dims).attrs.update(dict(attributes))


def _load(group: zarr.Group, name: str) -> Array:
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise ValueError(f"{name} is not an array")
    return np.asarray(array[...])
