"""Fields: what a gridded file has, whatever its format: dimensions, axes, attributes and a way to read a block.

The two horizontal axes are latitude and longitude, as lines or as fields, else y and x of a projection.
"""

__all__ = ["Block", "Field", "contents", "nearest"]

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stormda.sources.axes import Axis, is_latitude, is_longitude, is_x, is_y, pressure_levels
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
        """The axes of latitude and longitude, of a field that has none those of y and x; None if it is on no grid."""
        latitude = next((a for a in self.axes.values() if is_latitude(a) and 1 <= len(a.dims) <= 2), None)
        longitude = next((a for a in self.axes.values() if is_longitude(a) and 1 <= len(a.dims) <= 2), None)
        if latitude is None or longitude is None:
            return self.lines() if latitude is longitude else None
        if len(latitude.dims) != len(longitude.dims) or self.is_list:
            return None
        return latitude, longitude

    def lines(self) -> tuple[Axis, Axis] | None:
        """The axes of y and x of a projection; None if there are none."""
        y = next((a for a in self.axes.values() if is_y(a) and len(a.dims) == 1), None)
        x = next((a for a in self.axes.values() if is_x(a) and len(a.dims) == 1), None)
        return None if y is None or x is None or y.dims == x.dims else (y, x)

    @property
    def is_list(self) -> bool:
        """Whether its points are a list, of an unstructured or reduced grid."""
        axes = [a for a in self.axes.values() if is_latitude(a) or is_longitude(a)]
        return len(axes) > 1 and all(len(a.dims) == 1 and a.dims == axes[0].dims for a in axes)

    def __str__(self) -> str:
        pressures = self.pressures()
        levels = f" at {', '.join(f'{p:g}' for p in pressures[1])} hPa" if pressures else ""
        lacks = " on a list of points" if self.is_list else " without latitude and longitude"
        grid = "" if self.horizontal() else lacks
        return f"{self.name} [{self.unit or 'no unit'}]{levels}{grid}"


def contents(fields: Sequence[Field]) -> str:
    """What a file has, in words."""
    return ", ".join(str(f) for f in fields) or "no gridded variable"


def nearest(name: str, fields: Sequence[Field]) -> str:
    """A hint that names the variable that is spelled most like `name`."""
    near = difflib.get_close_matches(name, [f.name for f in fields], n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'? " if near else ""
