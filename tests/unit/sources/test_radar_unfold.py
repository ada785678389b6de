"""Velocities that were folded come back: winds of several Nyquist velocities, a vortex, noise, holes, sectors."""

import numpy as np
import pytest

from stormda.sources.radar_checks import folded
from stormda.sources.radar_unfold import borders
from stormda.sources.radar_unfold import unfold as unfold_
from stormda.types import Array

RAYS, GATES = 180, 60


def unfold(velocity: Array, nyquist: float, wrap: bool) -> Array:
    return unfold_(velocity, nyquist, np.arange(len(velocity)) * 360.0 / RAYS, wrap)


def wind(speed: float, direction: float = 40.0, shear: float = 0.0) -> Array:
    """Radial velocities of a wind that may grow with range, which has no step but that of the rays."""
    azimuth = np.deg2rad(np.arange(RAYS) * 360.0 / RAYS - direction)
    return np.asarray(np.cos(azimuth)[:, None] * (speed + shear * np.linspace(0, 1, GATES))[None, :])


def fold(velocity: Array, nyquist: float) -> Array:
    return np.asarray((velocity + nyquist) % (2 * nyquist) - nyquist)


@pytest.mark.parametrize("speed", [8.0, 15.0, 25.0, 38.0])
def test_a_wind_of_several_nyquist_velocities(speed: float) -> None:
    true = wind(speed, shear=10.0)
    seen = fold(true, 10.0)
    assert np.abs(unfold(seen, 10.0, True) - true).max() < 1e-9


def test_a_vortex_in_a_wind() -> None:
    azimuth, distance = np.meshgrid(np.deg2rad(np.arange(RAYS) * 2.0), np.linspace(0.05, 1.0, GATES), indexing="ij")
    x, y = distance * np.sin(azimuth) - 0.5, distance * np.cos(azimuth)
    around = 30.0 * np.exp(-(x**2 + y**2) / 0.04) * np.hypot(x, y) / 0.14
    u, v = 12.0 - around * y / np.hypot(x, y), around * x / np.hypot(x, y)
    true = u * np.sin(azimuth) + v * np.cos(azimuth)
    seen = fold(true, 14.0)
    assert (np.abs(seen - true) > 1.0).sum() > 300  # of 10800 gates, folded
    assert np.abs(unfold(seen, 14.0, True) - true).max() < 1e-9


def test_noise_and_holes() -> None:
    """Noise of 1 m s-1 against a Nyquist velocity of 12: a step of the true field beyond V would be 8 deviations."""
    rng = np.random.default_rng(2)
    true = wind(30.0) + rng.normal(0.0, 1.0, (RAYS, GATES))
    seen = np.where(rng.random(true.shape) < 0.2, np.nan, fold(true, 12.0))
    got = unfold(seen, 12.0, True)
    wrong = np.abs(got - true)[np.isfinite(seen)] > 1e-6
    assert (np.isnan(got) == np.isnan(seen)).all()
    assert wrong.mean() < 0.002  # single gates that holes cut off from the others


def test_a_sector_does_not_go_round() -> None:
    true = wind(28.0)[:40]
    got = unfold(fold(true, 12.0), 12.0, False)
    # Nothing tells the sector's offset but its largest region: the whole is right up to a multiple of 2 V.
    shift = got - true
    assert np.ptp(shift) < 1e-9 and abs(shift[0, 0] / 24.0 - round(shift[0, 0] / 24.0)) < 1e-9


def test_what_is_not_folded_or_not_known_stays() -> None:
    calm = wind(6.0)
    assert (unfold(calm, 12.0, True) == calm).all()
    seen = fold(wind(30.0), 12.0)
    assert (unfold(seen, float("nan"), True) == seen).all()
    nothing = np.full((4, 5), np.nan, dtype=np.float32)
    assert np.isnan(unfold(nothing, 12.0, True)).all() and unfold(nothing, 12.0, True).dtype == np.float32


def test_a_contradiction_is_left_to_the_check() -> None:
    """A cut of 1.4 V through half of the picture: no multiple of 2 V closes it, so the smaller side is flagged."""
    seen = np.zeros((8, 20))
    seen[2:5, 5:12] = 14.0  # steps of 14 > V: unfolding gives 14 - 20 = -6, which is nearer
    assert unfold(seen, 10.0, False)[3, 7] == -6.0
    ring = np.zeros((6, 30))
    ring[:, 10:20] = 9.0
    ring[:, 20:] = 19.5  # 9 -> 19.5 is beyond V, 0 -> 9 is not
    region, a, b, step = borders(ring, 10.0, False)
    assert len(set(region.tolist())) == 2 and step.tolist() == [10.5] * 6
    assert not folded(unfold(ring, 10.0, False), 10.0, False).any()
