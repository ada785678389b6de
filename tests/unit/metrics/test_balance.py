"""Fields that are balanced by construction are found balanced; others are as far from it as they were made."""

import numpy as np
import pytest

from stormda.grid import Grid
from stormda.metrics.balance import geostrophic, hydrostatic, imbalance, tendencies
from stormda.metrics.base import Sums

OMEGA, RADIUS = 7.292115e-5, 6_371_229.0
GLOBE = Grid.regular(np.linspace(80, -80, 161), np.arange(0.0, 360.0, 1.0))
REGION = Grid.regular(np.linspace(70, 30, 81), np.linspace(-20, 20, 81))


def _geostrophic(grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """z = A cos(latitude)^2 sin(2 longitude) and its geostrophic wind, differentiated by hand."""
    phi, lam = (np.deg2rad(x) for x in grid.fields)
    a, f = 2000.0, 2 * OMEGA * np.sin(phi)
    z = a * np.cos(phi) ** 2 * np.sin(2 * lam)
    with np.errstate(divide="ignore", invalid="ignore"):  # at the equator, which does not count
        u = a * np.sin(2 * phi) * np.sin(2 * lam) / (RADIUS * f)
        v = 2 * a * np.cos(phi) * np.cos(2 * lam) / (RADIUS * f)
    return z, u, v


def _sums(off: np.ndarray, whole: np.ndarray) -> Sums:
    return Sums(np.ones(1), np.ones(1), {"off": np.array([off.sum()]), "whole": np.array([whole.sum()])})


@pytest.mark.parametrize("grid", [GLOBE, REGION])
def test_a_geostrophic_wind_is_balanced(grid: Grid) -> None:
    found = geostrophic(*_geostrophic(grid), grid)
    assert found is not None
    off, whole, counts = found
    # Centred differences of a wave of wave number 2 at 1 degree: (2 x 0.0175)^2 / 6 = 2e-4 of the wind.
    assert imbalance(_sums(off, whole))[0] < 5e-4
    assert not counts[np.abs(grid.fields[0]) < 20].any() and counts[1:-1].any()
    assert bool(counts[:, 0].any()) is (grid is GLOBE)  # around the globe there is no edge


def test_no_wind_where_there_should_be_and_half_of_it() -> None:
    z, u, v = _geostrophic(REGION)
    for share, expected in ((0.5, 1.0), (2.0, 0.5)):
        found = geostrophic(z, share * u, share * v, REGION)
        assert found is not None
        # |s v - v| / |s v| = |s - 1| / s.
        assert imbalance(_sums(*found[:2]))[0] == pytest.approx(expected, rel=2e-3)


def test_a_plane_has_no_latitude() -> None:
    plane = Grid(np.linspace(30, 60, 8), np.linspace(0, 315, 8), (True, True), plane=True)
    flat = np.zeros((8, 8))
    assert geostrophic(flat, flat, flat, plane) is None


def test_an_isothermal_layer_has_its_thickness() -> None:
    # 1000 to 500 hPa at 273.15 K: R_d T ln 2 = 287.0597 x 273.15 x 0.693147 = 54350 m2 s-2, 5542 m.
    thickness = 287.0597 * 273.15 * np.log(2.0)
    assert thickness / 9.80665 == pytest.approx(5542, abs=1)
    t, z = np.full((2, 2), 273.15), np.full((2, 2), 1000.0)
    off, whole = hydrostatic(z, z + thickness, t, t, 1000.0, 500.0)
    assert imbalance(_sums(off, whole))[0] < 1e-7  # the root of rounding of squares of 5e4
    off, whole = hydrostatic(z, z + 2 * thickness, t, t, 1000.0, 500.0)
    assert imbalance(_sums(off, whole))[0] == pytest.approx(0.5, rel=1e-12)


def test_steps_of_one_length_are_no_shock() -> None:
    x0 = np.random.default_rng(0).normal(size=(4, 3, 5))
    step = np.random.default_rng(1).normal(size=(4, 3, 5))
    assert imbalance(_sums(*tendencies(x0, x0 + step, x0 + 2 * step)))[0] == pytest.approx(1.0, rel=1e-12)
    assert imbalance(_sums(*tendencies(x0, x0 + 3 * step, x0 + 4 * step)))[0] == pytest.approx(3.0, rel=1e-12)
    assert np.isnan(imbalance(_sums(np.zeros(1), np.zeros(1)))[0])
