"""Axes of gridded files: which coordinate is time, latitude, longitude or a level, and what its numbers mean.

Providers name and encode them in many ways; the CF conventions (https://cfconventions.org) are asked first, by
standard name and unit, then a short list of names. Times become datetime64[s] in UTC. Longitudes of a line become
increasing: a region that a file cuts at Greenwich or the date line is joined again, and a column that repeats the
first is dropped.
"""

__all__ = [
    "Axis",
    "decode_times",
    "is_latitude",
    "is_longitude",
    "is_x",
    "is_y",
    "order_longitudes",
    "pressure_levels",
    "time_axis",
]

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from stormda.errors import InputError
from stormda.sources.units import canonical_unit, convert
from stormda.types import Array

_LATITUDE = ("latitude", "lat", "nav_lat", "xlat")
_LONGITUDE = ("longitude", "lon", "long", "nav_lon", "xlong")
_TIME = ("valid_time", "time", "datetime", "date")  # in the order of preference
_PRESSURE = {"isobaricInhPa": "hPa", "pressure_level": "hPa", "isobaricInPa": "Pa", "level": "", "plev": "", "lev": ""}
_CALENDARS = ("standard", "gregorian", "proleptic_gregorian")
_ROUNDING = 1e-3  # degrees: coordinates in files are often float32


@dataclass(frozen=True, eq=False)
class Axis:
    """A coordinate: its dimensions, values and attributes; a scalar has no dimensions."""

    name: str
    dims: tuple[str, ...]
    values: Array
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def unit(self) -> str:
        """The text of the unit, '' where there is none."""
        return str(self.attributes.get("units", ""))

    @property
    def standard_name(self) -> str:
        """The CF standard name, '' where there is none."""
        return str(self.attributes.get("standard_name", ""))


def is_latitude(axis: Axis) -> bool:
    """Whether the axis holds latitudes."""
    by_unit = re.fullmatch(r"degrees?_?n(orth)?", axis.unit.lower()) is not None
    return axis.standard_name == "latitude" or by_unit or axis.name.lower() in _LATITUDE


def is_longitude(axis: Axis) -> bool:
    """Whether the axis holds longitudes."""
    by_unit = re.fullmatch(r"degrees?_?e(ast)?", axis.unit.lower()) is not None
    return axis.standard_name == "longitude" or by_unit or axis.name.lower() in _LONGITUDE


def is_y(axis: Axis) -> bool:
    """Whether the axis holds y of a projection, or latitudes of a rotated pole."""
    return axis.standard_name in ("projection_y_coordinate", "grid_latitude")


def is_x(axis: Axis) -> bool:
    """Whether the axis holds x of a projection, or longitudes of a rotated pole."""
    return axis.standard_name in ("projection_x_coordinate", "grid_longitude")


def time_axis(axes: Mapping[str, Axis]) -> Axis | None:
    """The axis of valid times among `axes`; None if there is none."""
    lower = {name.lower(): axis for name, axis in axes.items()}
    for name in _TIME:
        if name in lower:
            return lower[name]
    return next((a for a in axes.values() if a.standard_name == "time"), None)


def pressure_levels(axis: Axis) -> Array | None:
    """The levels in hPa of an axis that holds pressures, one a place; None if it holds something else."""
    unit = axis.unit or _PRESSURE.get(axis.name, "")
    if unit in ("", "1") and axis.name in _PRESSURE:
        unit = _PRESSURE[axis.name]
    if canonical_unit(unit) not in ("Pa", "hPa", "kPa") or axis.values.dtype.kind not in "fiu":
        return None
    levels = convert(np.atleast_1d(axis.values).astype(np.float64), unit, "hPa")
    return np.asarray(np.round(levels, 6))


def decode_times(axis: Axis, path: Path) -> Array:
    """The times of an axis [T], datetime64[s], UTC.

    Numbers with a unit (`hours since 1900-01-01`, `day as %Y%m%d.%f`), dates (datetime64), numbers that read as a date
    (20200131, 2020013112) and ISO texts are understood.

    Raises:
        InputError: a calendar of a climate model, a unit that cannot be read, a missing time.
    """
    values, unit = np.atleast_1d(axis.values), axis.unit.strip()
    calendar = str(axis.attributes.get("calendar", "standard")).lower()
    if calendar not in _CALENDARS:
        raise InputError(
            f"the calendar '{calendar}' of '{axis.name}' is not the one of weather",
            file=path,
            hint="convert the file to the standard calendar, days that do not exist left out",
        )
    try:
        times = _decode(values, unit, calendar)
    except (ValueError, OverflowError, TypeError, AttributeError) as error:
        shown = f"unit '{unit}'" if unit else f"no unit, values like {values[0]!r}"
        raise InputError(
            f"the times of '{axis.name}' cannot be understood ({shown})",
            file=path,
            hint="CF writes them as hours since 1900-01-01",
        ) from error
    if np.isnat(times).any():
        raise InputError(f"'{axis.name}' has missing times, {int(np.isnat(times).sum())} of {times.size}", file=path)
    return times


def _decode(values: Array, unit: str, calendar: str) -> Array:
    if values.dtype.kind == "M":
        return _to_seconds(values)
    if values.dtype.kind in "OSU":
        texts = [t.decode() if isinstance(t, bytes) else str(t) for t in values]
        return np.array([re.sub(r"(Z|[+-]00:?00)$", "", t.strip().replace(" ", "T")) for t in texts], "datetime64[s]")
    if " since " in unit:
        coded = xr.Dataset({"t": ("t", values, {"units": unit, "calendar": calendar})})
        return _to_seconds(xr.decode_cf(coded)["t"].values)
    if unit and not unit.startswith("day as %Y%m%d"):
        raise ValueError(unit)
    return _digits(values)


def _to_seconds(times: Array) -> Array:
    """To the nearest second: a float of days is rarely exact."""
    if times.dtype.kind != "M":  # cftime objects: outside the years of datetime64[ns]
        raise ValueError("years beyond 1678-2262")
    fine = times.astype("datetime64[us]")
    rounded = (fine + np.timedelta64(500_000, "us")).astype("datetime64[s]")
    return np.asarray(np.where(np.isnat(times), np.datetime64("NaT", "s"), rounded))


def _digits(values: Array) -> Array:
    """Numbers written as dates: YYYYMMDD with a fraction of the day, or YYYYMMDDHH."""
    numbers = values.astype(np.float64)
    if np.all((numbers >= 1900010100) & (numbers < 2200123124)):
        numbers = np.floor(numbers / 100) + np.mod(numbers, 100) / 24
    if not np.all((numbers >= 19000101) & (numbers < 22001232)):
        raise ValueError("not dates")
    days = np.floor(numbers).astype(np.int64)
    texts = [f"{d // 10000:04d}-{d // 100 % 100:02d}-{d % 100:02d}" for d in days]
    seconds = np.rint((numbers - days) * 86400).astype("timedelta64[s]")
    return np.asarray(np.array(texts, "datetime64[s]") + seconds)


def order_longitudes(longitude: Array) -> tuple[Array, Array]:
    """Increasing longitudes and the columns they come from.

    A line that increases without a break stays as it is. Else a region starts after its widest gap, in -180..180, and
    goes on beyond 180 where it crosses the date line; the whole globe starts at its smallest longitude.

    Args:
        longitude: degrees east [W], in any order.

    Returns:
        (longitude [V], column [V]), V = W, or W - 1 where the last column repeats the first.

    Raises:
        InputError: the same meridian twice.
    """
    given = np.asarray(longitude, dtype=np.float64)
    if given.size < 2:
        return given, np.arange(given.size)
    if abs(abs(given[-1] - given[0]) - 360.0) < _ROUNDING:
        given = given[:-1]
    around = np.mod(given, 360.0)
    around = np.where(around > 360.0 - _ROUNDING, around - 360.0, around)
    column = np.argsort(around, kind="stable")
    gaps = np.diff(around[column], append=around[column[0]] + 360.0)
    if gaps.min() < _ROUNDING / 10:
        raise InputError(f"the longitude {given[column[int(gaps.argmin())]]:g} is there twice")
    steps = np.diff(given)
    if (steps > 0).all() and given[-1] - given[0] < 360.0 and steps.max() < 1.5 * np.median(steps):
        return given - 360.0 * (given[-1] > 360.0 + _ROUNDING) + 360.0 * (given[0] < -180.0 - _ROUNDING), np.arange(
            given.size
        )
    globe = gaps.max() < 1.5 * np.median(gaps)
    start = int(np.argmin(given[column])) if globe else int(gaps.argmax()) + 1
    column = np.roll(column, -start)
    line = np.rad2deg(np.unwrap(np.deg2rad(around[column])))
    line -= 360.0 * np.floor((line[0] + 180.0 + _ROUNDING) / 360.0)  # the first one into -180..180
    exact = given[column] + 360.0 * np.round((line - given[column]) / 360.0)
    return exact, column
