"""Axes: times in every encoding, longitudes made increasing, levels recognised by unit."""

from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from stormda.errors import InputError
from stormda.sources.axes import Axis, decode_times, order_longitudes, pressure_levels
from stormda.types import Array

FILE = Path("x.nc")
WANTED = np.array(["2020-02-29T06:00:00", "2020-03-01T00:00:00"], "datetime64[s]")


@pytest.mark.parametrize(
    ("values", "attributes"),
    [
        ([1582956000, 1583020800], {"units": "seconds since 1970-01-01"}),
        ([1053318.0, 1053336.0], {"units": "hours since 1900-01-01 00:00:00.0", "calendar": "gregorian"}),
        ([59.25, 60.0], {"units": "days since 2020-01-01"}),
        ([43888.25, 43889.0], {"units": "days since 1900-01-01", "calendar": "proleptic_gregorian"}),
        # A third of a day and back: the float is not exact, the second is.
        ([8 / 3 - 2 / 3 - 1.75, 1.0 / 3 * 3], {"units": "days since 2020-02-29"}),
        ([20200229.25, 20200301.0], {"units": "day as %Y%m%d.%f"}),
        ([2020022906, 2020030100], {}),
    ],
)
def test_numbers(values: list[float], attributes: dict[str, str]) -> None:
    assert np.array_equal(decode_times(Axis("time", ("time",), np.array(values), attributes), FILE), WANTED)


@pytest.mark.parametrize(
    "values",
    [
        WANTED.astype("datetime64[ns]"),
        np.array(["2020-02-29T06:00Z", "2020-03-01 00:00:00"]),
        np.array([b"2020-02-29T06", b"2020-03-01T00"]),
    ],
)
def test_dates_and_texts(values: Array) -> None:
    assert np.array_equal(decode_times(Axis("time", ("time",), values), FILE), WANTED)


@pytest.mark.parametrize(
    ("values", "attributes", "words"),
    [
        ([1.0], {"units": "days since 2000-01-01", "calendar": "noleap"}, "calendar 'noleap'"),
        ([1.0], {"units": "days since 2000-01-01", "calendar": "360_day"}, "calendar '360_day'"),
        ([1.0], {"units": "fortnights"}, "unit 'fortnights'"),
        ([1.0], {}, "no unit"),
        ([20201301], {}, "no unit"),
        ([1.0, np.nan], {"units": "days since 2000-01-01"}, "missing times"),
        ([1e9], {"units": "days since 2000-01-01"}, "cannot be understood"),
    ],
)
def test_times_that_cannot_be_understood(values: list[float], attributes: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        decode_times(Axis("time", ("time",), np.array(values), attributes), FILE)
    assert caught.value.file == "x.nc"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.arange(200, 331, 2.5), np.arange(200, 331, 2.5)),  # as it is
        (np.arange(0, 360, 2.5), np.arange(0, 360, 2.5)),
        (np.arange(-180, 180, 2.5), np.arange(-180, 180, 2.5)),
        (np.r_[345:360:2.5, 0:16:2.5], np.arange(-15, 16, 2.5)),  # across Greenwich
        (np.r_[0:16:2.5, 345:360:2.5], np.arange(-15, 16, 2.5)),  # the same, sorted and split by a file
        (np.r_[170:180:2.5, -180:-169:2.5], np.arange(170, 191, 2.5)),  # across the date line
        (np.arange(345, 376, 2.5), np.arange(-15, 16, 2.5)),  # beyond 360
        (np.arange(15, -16, -2.5), np.arange(-15, 16, 2.5)),  # decreasing
        (np.r_[0:181:2.5, -177.5:0:2.5], np.arange(-177.5, 181, 2.5)),  # the globe, wrapped at the date line
        (np.arange(0, 361, 2.5), np.arange(0, 360, 2.5)),  # the first column again
        (np.array([12.5]), np.array([12.5])),
    ],
)
def test_longitudes(given: Array, expected: Array) -> None:
    line, column = order_longitudes(given)
    np.testing.assert_allclose(line, expected, atol=1e-9)  # sums of a few float64 of size 360
    np.testing.assert_allclose(np.mod(given[column] - line + 180, 360), 180, atol=1e-9)


@given(start=st.integers(-720, 720), count=st.integers(2, 143), roll=st.integers(0, 200))
def test_any_region_comes_back_whole_wherever_it_is_cut(start: int, count: int, roll: int) -> None:
    region = np.mod(start + 2.5 * np.arange(count), 360.0)
    line, column = order_longitudes(np.roll(region, roll % count))
    # An unbroken region: every step is the grid's. One that holds both Greenwich and the date line fits neither range.
    np.testing.assert_allclose(np.diff(line), 2.5, atol=1e-9)
    assert len(column) == count and (-180 <= line[0] < 180 or line[-1] <= 360)


def test_same_meridian_twice() -> None:
    with pytest.raises(InputError, match="twice"):
        order_longitudes(np.array([0.0, 10.0, 10.0, 20.0]))


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        (Axis("pressure_level", ("pressure_level",), np.array([500.0]), {"units": "hPa"}), [500]),
        (Axis("level", ("level",), np.array([1000, 850]), {"units": "millibars"}), [1000, 850]),
        (Axis("plev", ("plev",), np.array([50000.0]), {"units": "Pa"}), [500]),
        (Axis("isobaricInhPa", (), np.array(850.0)), [850]),
        (Axis("isobaricInPa", (), np.array(10.0)), [0.1]),
        (Axis("level", ("level",), np.array([1, 2])), None),
        (Axis("height", (), np.array(2.0), {"units": "m"}), None),
        (Axis("expver", ("time",), np.array(["0001"])), None),
    ],
)
def test_pressure_levels(axis: Axis, expected: list[float] | None) -> None:
    levels = pressure_levels(axis)
    assert (None if levels is None else levels.tolist()) == expected
