"""Checks of radar echoes: each finds what was planted, and leaves rain alone."""

import numpy as np
import pytest

from stormda.config import RadarChecks
from stormda.observations import QC
from stormda.sources.radar_checks import folded, goes_round, speckle, sweep_codes, texture
from stormda.sources.radar_volume import Moment, Sweep
from stormda.types import Array

RAYS, GATES = 120, 80
CHECKS = RadarChecks(nearest=2000.0, highest=6000.0)


def rain(seed: int = 0) -> Array:
    """A smooth field of echoes, 20 to 40 dBZ, with noise of 1 dB."""
    ray, gate = np.meshgrid(np.arange(RAYS) * 2 * np.pi / RAYS, np.arange(GATES) / GATES, indexing="ij")
    field = 30.0 + 10.0 * np.sin(ray) * np.cos(4.0 * gate)
    return np.asarray(field + np.random.default_rng(seed).normal(0.0, 1.0, field.shape))


def wind() -> Array:
    """Radial velocity of a uniform wind of 30 m s-1."""
    azimuth = (np.arange(RAYS) + 0.5) * 2 * np.pi / RAYS
    return np.repeat(30.0 * np.sin(azimuth)[:, None], GATES, axis=1)


def sweep(nyquist: float = float("nan"), **moments: Array) -> Sweep:
    azimuth, distance = (np.arange(RAYS) + 0.5) * 360.0 / RAYS, (np.arange(GATES) + 0.5) * 500.0
    silent = np.zeros((RAYS, GATES), dtype=bool)
    return Sweep(
        azimuth,
        np.full(RAYS, 1.0),
        np.full(RAYS, np.datetime64("2020-07-01", "us")),
        distance,
        {name: Moment(value, silent) for name, value in moments.items()},
        nyquist,
    )


def codes(of: Sweep, checks: RadarChecks = CHECKS, height: float = 1000.0) -> dict[str, Array]:
    return sweep_codes(of, np.full((RAYS, GATES), height), 0.0, checks)


def fold(velocity: Array, nyquist: float) -> Array:
    return (velocity + nyquist) % (2.0 * nyquist) - nyquist


def test_rain_passes_all_checks() -> None:
    found = codes(sweep(40.0, dbz=rain(), vr=wind(), rhohv=np.full((RAYS, GATES), 0.98)))
    for code in found.values():
        assert (code[:, 4:] == QC.USED).all()  # but for the gates nearer than 2 km
        assert (code[:, :4] == QC.BEAM).all()


def test_single_echoes_are_speckle_pairs_of_a_shower_are_not() -> None:
    echo = np.zeros((RAYS, GATES), dtype=bool)
    echo[10, 10] = True
    echo[50:53, 50:53] = True
    echo[[0, 0, -1, -1], [30, 31, 30, 31]] = True  # a shower on both sides of north
    assert np.argwhere(speckle(echo, 2, True)).tolist() == [[10, 10]]
    assert speckle(echo, 2, False).sum() == 5  # without the neighbourhood of the last ray and the first
    assert not speckle(echo, 0, True).any()


def test_planted_speckle_is_found() -> None:
    rng = np.random.default_rng(3)
    field = np.where(np.arange(RAYS)[:, None] < 60, rain(), np.nan)
    planted = np.zeros(field.shape, dtype=bool)
    planted[rng.integers(63, 117, 40), rng.integers(4, GATES, 40)] = True
    code = codes(sweep(dbz=np.where(planted, 25.0, field)))["dbz"]
    assert (code[planted] == QC.SPECKLE).mean() > 0.9  # some of 40 in 4 000 gates are neighbours by chance
    assert (code[np.isfinite(field)] == QC.SPECKLE).mean() < 0.01


def test_ground_clutter_is_rough_and_stands_still() -> None:
    field, velocity = rain(), wind()
    ground = np.zeros(field.shape, dtype=bool)
    ground[20:30, 10:30] = True
    field[ground] += np.random.default_rng(1).normal(0.0, 12.0, field.shape)[ground]  # steps of 288 dB2
    moving = codes(sweep(100.0, dbz=field, vr=velocity))["dbz"]
    standing = codes(sweep(100.0, dbz=field, vr=np.where(ground, 0.0, velocity)))["dbz"]
    assert (standing[ground] == QC.CLUTTER).mean() > 0.9  # at its edges half of the window is rain
    assert (standing[~ground] == QC.CLUTTER).mean() < 0.01
    assert (moving[ground] == QC.CLUTTER).sum() == 0
    assert (codes(sweep(dbz=field))["dbz"][ground] == QC.CLUTTER).mean() > 0.9  # no velocity: low beams
    assert (codes(sweep(dbz=field), height=4000.0)["dbz"][ground] == QC.CLUTTER).sum() == 0


def test_echoes_of_low_correlation_are_no_rain() -> None:
    correlation = np.where(np.arange(GATES)[None, :] < 40, 0.98, 0.5).repeat(RAYS, 0)
    code = codes(sweep(dbz=rain(), rhohv=correlation))["dbz"]
    assert (code[:, 40:] == QC.CLUTTER).all() and (code[:, 4:40] == QC.USED).all()


def test_texture_of_a_slope() -> None:
    slope = np.arange(GATES)[None, :].repeat(RAYS, 0) * 2.0
    np.testing.assert_allclose(texture(slope)[10:20, 10:20], 4.0)
    assert (texture(np.full((RAYS, GATES), np.nan)) == 0.0).all()


def test_high_and_near_beams_are_flagged() -> None:
    assert (codes(sweep(dbz=rain()), height=6001.0)["dbz"] == QC.BEAM).all()


@pytest.mark.parametrize("told", [True, False])
def test_aliased_velocities_are_found(told: bool) -> None:
    nyquist = 25.0
    velocity = fold(wind(), nyquist)  # 30 m s-1 is beyond, in two sectors
    aliased = np.abs(velocity - wind()) > 1.0
    assert 0.2 < aliased.mean() < 0.5
    code = codes(sweep(nyquist if told else float("nan"), dbz=rain(), vr=velocity))["vr"][:, 4:]
    assert (code[aliased[:, 4:]] == QC.FOLDED).all() and (code[~aliased[:, 4:]] == QC.USED).all()
    trusted = codes(sweep(nyquist, dbz=rain(), vr=velocity), CHECKS.model_copy(update={"dealiased": True}))["vr"]
    assert not (trusted == QC.FOLDED).any()


def test_velocities_without_steps_are_left_alone() -> None:
    assert not folded(wind(), 40.0, True).any()
    assert not folded(np.full((RAYS, GATES), np.nan), 40.0, True).any()


def test_sectors_do_not_go_round() -> None:
    whole = sweep(dbz=rain())
    assert goes_round(whole)
    half = Sweep(whole.azimuth / 2, whole.elevation, whole.time, whole.distance, whole.moments, whole.nyquist)
    assert not goes_round(half)
