"""Units: values by hand, spellings of providers, no guesses."""

import numpy as np
import pytest

from stormda.errors import ConfigError
from stormda.sources.units import _SPELLINGS, _UNITS, canonical_unit, compatible, convert
from stormda.variables import VOCABULARY


@pytest.mark.parametrize(
    ("value", "unit", "to", "expected"),
    [
        (25.0, "degC", "K", 298.15),
        (-40.0, "degF", "degC", -40.0),
        (212.0, "degF", "K", 373.15),
        (1013.25, "hPa", "Pa", 101325.0),
        (29.92, "inHg", "hPa", 1013.2075888),
        (1.0, "knot", "m s-1", 1852 / 3600),
        (10.0, "mph", "m s-1", 4.4704),
        (36.0, "km h-1", "m s-1", 10.0),
        (5500.0, "gpm", "m2 s-2", 5500 * 9.80665),
        (5500.0, "m", "m2 s-2", 5500 * 9.80665),
        (550.0, "gpdam", "m2 s-2", 5500 * 9.80665),
        (50.0, "%", "1", 0.5),
        (2.0, "mm", "m", 0.002),
        (2.0, "kg m-2", "m", 0.002),
        (8.0, "g kg-1", "kg kg-1", 0.008),
        (1000.0, "ft", "m", 304.8),
    ],
)
def test_by_hand(value: float, unit: str, to: str, expected: float) -> None:
    # Two or three roundings in float64: 1e-15 each; 29.92 * 33.86389 is written with eleven digits.
    np.testing.assert_allclose(convert(np.array([value]), unit, to), [expected], rtol=1e-8)


@pytest.mark.parametrize(
    ("spelling", "unit"),
    [
        ("m s**-1", "m s-1"),
        ("m/s", "m s-1"),
        ("m s^-1", "m s-1"),
        ("m**2 s**-2", "m2 s-2"),
        ("Celsius", "degC"),
        ("degK", "K"),
        ("millibars", "hPa"),
        ("kg kg**-1", "kg kg-1"),
        (" hPa ", "hPa"),
        ("(0 - 1)", "1"),
        ("KT", "knot"),
    ],
)
def test_spellings(spelling: str, unit: str) -> None:
    assert canonical_unit(spelling) == unit


def test_table_is_closed() -> None:
    assert set(_SPELLINGS) == set(_UNITS)
    every = [s for spellings in _SPELLINGS.values() for s in spellings]
    assert len(every) == len(set(every)), "one spelling, one unit"
    assert all(s == s.lower() and "**" not in s and "^" not in s for s in every if s != "sfcWind")
    for variable in VOCABULARY.values():
        assert canonical_unit(variable.unit) == variable.unit


def test_type_and_identity() -> None:
    x = np.array([1.0], dtype=np.float32)
    assert convert(x, "K", "kelvin") is x
    assert convert(x, "degC", "K").dtype == np.float32
    assert convert(np.array([10]), "hPa", "Pa").dtype == np.float64


def test_no_guesses() -> None:
    with pytest.raises(ConfigError, match="did you mean 'hpa'|did you mean 'hPa'"):
        convert(np.zeros(1), "hPas", "Pa")
    with pytest.raises(ConfigError, match="cannot be converted"):
        convert(np.zeros(1), "Pa", "K")
    with pytest.raises(ConfigError, match="cannot be converted"):
        convert(np.zeros(1), "kg m-2", "m2 s-2")
    assert not compatible("", "K") and not compatible("furlong", "m") and compatible("mb", "Pa")
