"""The ICAO standard atmosphere against its published table."""

import numpy as np
import pytest

from stormda.sources.standard_atmosphere import pressure


@pytest.mark.parametrize(
    ("height", "expected"),
    # ICAO Doc 7488/3, table of pressure by geopotential height; printed with six digits.
    [(0.0, 1013.25), (1000.0, 898.746), (5000.0, 540.199), (11000.0, 226.321), (15000.0, 120.445), (20000.0, 54.7489)],
)
def test_table(height: float, expected: float) -> None:
    # The table's last printed digit: half a unit of the sixth digit.
    assert pressure(np.array([height]))[0] == pytest.approx(expected, rel=5e-6)


def test_outside_is_unknown() -> None:
    assert np.isnan(pressure(np.array([-1001.0, 20001.0, np.nan]))).all()


def test_continuous_and_decreasing() -> None:
    values = pressure(np.linspace(-1000.0, 20000.0, 4201))
    assert (np.diff(values) < 0).all()
    # Steps of 5 m: 9.80665 * 5 / (287.05 * T) <= 0.08 % of the pressure at T >= 216 K, also across the tropopause.
    assert (np.abs(np.diff(np.log(values))) < 8e-4).all()
