"""Units of files, converted to the units of the vocabulary.

    value [to] = (value [from] * scale_from + offset_from - offset_to) / scale_to

A literal table: for each unit the SI unit of its quantity, scale and offset. A unit that is not here is an error, never
a guess. One length may be turned into a geopotential: a geopotential height times standard gravity, 9.80665 m s-2 (3rd
CGPM, 1901). An amount of water in kg m-2 is a depth of water of density 1000 kg m-3.
"""

__all__ = ["STANDARD_GRAVITY", "canonical_unit", "compatible", "convert"]

import difflib
import re

import numpy as np

from stormda.errors import ConfigError
from stormda.types import Array

STANDARD_GRAVITY = 9.80665
"""m s-2."""

# unit: (SI unit of the quantity, scale, offset)
_UNITS: dict[str, tuple[str, float, float]] = {
    "K": ("K", 1.0, 0.0),
    "degC": ("K", 1.0, 273.15),
    "degF": ("K", 5 / 9, 273.15 - 32 * 5 / 9),
    "Pa": ("Pa", 1.0, 0.0),
    "hPa": ("Pa", 100.0, 0.0),
    "kPa": ("Pa", 1000.0, 0.0),
    "inHg": ("Pa", 3386.389, 0.0),
    "m s-1": ("m s-1", 1.0, 0.0),
    "knot": ("m s-1", 1852 / 3600, 0.0),
    "mph": ("m s-1", 0.44704, 0.0),
    "km h-1": ("m s-1", 1 / 3.6, 0.0),
    "m2 s-2": ("m2 s-2", 1.0, 0.0),
    "gpm": ("m2 s-2", STANDARD_GRAVITY, 0.0),
    "gpdam": ("m2 s-2", 10 * STANDARD_GRAVITY, 0.0),
    "1": ("1", 1.0, 0.0),
    "%": ("1", 0.01, 0.0),
    "kg kg-1": ("kg kg-1", 1.0, 0.0),
    "g kg-1": ("kg kg-1", 1e-3, 0.0),
    "m": ("m", 1.0, 0.0),
    "km": ("m", 1000.0, 0.0),
    "cm": ("m", 0.01, 0.0),
    "mm": ("m", 1e-3, 0.0),
    "ft": ("m", 0.3048, 0.0),
    "inch": ("m", 0.0254, 0.0),
    "kg m-2": ("m", 1e-3, 0.0),
    "degree": ("degree", 1.0, 0.0),
    "mm h-1": ("mm h-1", 1.0, 0.0),
    "kg m-2 s-1": ("mm h-1", 3600.0, 0.0),
    "dBZ": ("dBZ", 1.0, 0.0),
}

_SPELLINGS: dict[str, tuple[str, ...]] = {
    "K": ("k", "degk", "deg k", "kelvin", "kelvins", "degree_kelvin", "degrees kelvin"),
    "degC": ("degc", "c", "°c", "deg c", "celsius", "degree_celsius", "degrees_celsius", "degree c", "degrees c"),
    "degF": ("degf", "f", "°f", "deg f", "fahrenheit", "degree_fahrenheit", "degrees_fahrenheit", "degrees f"),
    "Pa": ("pa", "pascal", "pascals", "n m-2"),
    "hPa": ("hpa", "mb", "mbar", "mbars", "millibar", "millibars", "hectopascal", "hectopascals"),
    "kPa": ("kpa", "kilopascal"),
    "inHg": ("inhg", "in hg", "inches of mercury"),
    "m s-1": ("m s-1", "m/s", "m.s-1", "ms-1", "meter/second", "meters per second", "metres per second", "mps"),
    "knot": ("knot", "knots", "kt", "kts", "kn"),
    "mph": ("mph", "mi h-1", "mi/h", "miles per hour"),
    "km h-1": ("km h-1", "km/h", "km hr-1", "kmh", "kph"),
    "m2 s-2": ("m2 s-2", "m2/s2", "m2.s-2", "j kg-1", "j/kg"),
    "gpm": ("gpm", "geopotential meter", "geopotential meters", "geopotential metre", "geopotential metres"),
    "gpdam": ("gpdam", "gpdm"),
    "1": ("1", "0-1", "(0 - 1)", "fraction", "dimensionless", "~"),
    "%": ("%", "percent", "per cent"),
    "kg kg-1": ("kg kg-1", "kg/kg"),
    "g kg-1": ("g kg-1", "g/kg"),
    "m": ("m", "meter", "meters", "metre", "metres"),
    "km": ("km", "kilometer", "kilometre"),
    "cm": ("cm", "centimeter", "centimetre"),
    "mm": ("mm", "millimeter", "millimetre", "millimeters", "millimetres"),
    "ft": ("ft", "feet", "foot"),
    "inch": ("inch", "inches", "in"),
    "kg m-2": ("kg m-2", "kg/m2"),
    "degree": ("degree", "degrees", "deg", "°", "degree true", "degrees true"),
    "mm h-1": ("mm h-1", "mm/h", "mm/hr", "mm hr-1", "kg m-2 h-1"),
    "kg m-2 s-1": ("kg m-2 s-1", "kg/m2/s", "kg/(m2 s)"),
    "dBZ": ("dbz",),
}
_BY_SPELLING = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in spellings}


def canonical_unit(text: str) -> str | None:
    """The table's name of a unit, however a file spells it (`m s**-1`, `m/s`, `Celsius`); None if it is not known."""
    word = re.sub(r"\s+", " ", text.strip())
    if word in _UNITS:
        return word
    return _BY_SPELLING.get(word.lower().replace("**", "").replace("^", ""))


def compatible(from_unit: str, to_unit: str) -> bool:
    """Whether `convert` can do it: both units are known, and of one quantity."""
    source, target = canonical_unit(from_unit), canonical_unit(to_unit)
    if source is None or target is None:
        return False
    return _si(source, target) is not None


def convert(values: Array, from_unit: str, to_unit: str) -> Array:
    """`values` in another unit, of the same floating type.

    Raises:
        ConfigError: an unknown unit (the hint names the nearest), or units of different quantities.
    """
    source, target = _known(from_unit), _known(to_unit)
    if source == target:
        return values
    si = _si(source, target)
    if si is None:
        raise ConfigError(
            f"'{from_unit}' cannot be converted to '{to_unit}'", hint="give the unit of the file's values"
        )
    (_, scale, offset), (_, scale_to, offset_to) = si, _UNITS[target]
    values = np.asarray(values)
    if values.dtype.kind != "f":
        values = values.astype(np.float64)
    if not (offset or offset_to):
        return np.asarray(values * (scale / scale_to))
    return np.asarray((values * scale + (offset - offset_to)) / scale_to)


def _known(text: str) -> str:
    unit = canonical_unit(text)
    if unit is None:
        near = difflib.get_close_matches(text, [*_UNITS, *_BY_SPELLING], n=1, cutoff=0.6)
        guess = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(_UNITS)}"
        raise ConfigError(f"unknown unit '{text}'", hint=guess)
    return unit


def _si(source: str, target: str) -> tuple[str, float, float] | None:
    """The row of `source` in the quantity of `target`: its own, or that of a height as a geopotential."""
    row, wanted = _UNITS[source], _UNITS[target][0]
    if row[0] == wanted:
        return row
    if (row[0], wanted) == ("m", "m2 s-2") and source != "kg m-2":
        return wanted, row[1] * STANDARD_GRAVITY, 0.0
    return None
