"""Fields: what a gridded file has, whatever its format: dimensions, axes, attributes and a way to read a block."""

__all__ = ["Block", "Field", "contents", "nearest"]

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stormda.sources.axes import Axis, is_latitude, is_longitude, pressure_levels
from stormda.types import Array

Block = tuple[int | slice, ...]


@dataclass(frozen=True, eq=False)
class Field:
    """A variable of a file.

    Args:
        name: in the file.
        dims: names of its dimensions.
        shape: their lengths.
        attributes: `units`, `standard_name` and others.
        axes: coordinates whose dimensions are among `dims`.
        read: values of a block, one integer or slice a dimension; fill values are NaN.
        path: the file.
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    attributes: Mapping[str, Any]
    axes: Mapping[str, Axis]
    read: Callable[[Block], Array]
    path: Path

    @property
    def unit(self) -> str:
        """The text of the unit, '' where there is none."""
        return str(self.attributes.get("units", "")).strip()

    def pressures(self) -> tuple[Axis, Array] | None:
        """The axis of pressure levels and its values in hPa."""
        for axis in self.axes.values():
            levels = pressure_levels(axis) if len(axis.dims) <= 1 else None
            if levels is not None:
                return axis, levels
        return None

    def horizontal(self) -> tuple[Axis, Axis] | None:
        """The axes of latitude and longitude; None if the field is not on a grid."""
        latitude = next((a for a in self.axes.values() if is_latitude(a) and 1 <= len(a.dims) <= 2), None)
        longitude = next((a for a in self.axes.values() if is_longitude(a) and 1 <= len(a.dims) <= 2), None)
        if latitude is None or longitude is None or len(latitude.dims) != len(longitude.dims):
            return None
        if latitude.dims == longitude.dims and len(latitude.dims) == 1:  # a list of points
            return None
        return latitude, longitude

    def __str__(self) -> str:
        pressures = self.pressures()
        levels = f" at {', '.join(f'{p:g}' for p in pressures[1])} hPa" if pressures else ""
        grid = "" if self.horizontal() else " without latitude and longitude"
        return f"{self.name} [{self.unit or 'no unit'}]{levels}{grid}"


def contents(fields: Sequence[Field]) -> str:
    """What a file has, in words."""
    return ", ".join(str(f) for f in fields) or "no gridded variable"


def nearest(name: str, fields: Sequence[Field]) -> str:
    """A hint that names the variable that is spelled most like `name`."""
    near = difflib.get_close_matches(name, [f.name for f in fields], n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'? " if near else ""
