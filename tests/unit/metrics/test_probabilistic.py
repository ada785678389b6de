"""CRPS by hand and by a second way; calibrated ensembles are found calibrated, others are not."""

import numpy as np
import pytest

from stormda.metrics.base import Pair, Sums, accumulate
from stormda.metrics.deterministic import SquaredError
from stormda.metrics.probabilistic import Ranks, Variance, crps_fair, flatness, frequencies, spread_skill

M, N = 19, 20_000


def _crps_of_pairs(members: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The definition: mean |x_i - y| - sum_ij |x_i - x_j| / (2 M (M - 1))."""
    size = len(members)
    skill = np.abs(members - reference).mean(axis=0)
    spread = np.abs(members[:, None] - members[None]).sum(axis=(0, 1)) / (2 * size * (size - 1))
    return np.asarray(skill - spread)


def _calibrated(sd: float = 1.0, error: float = 0.0) -> Pair:
    """Members N(m, sd^2), truth N(m, 1) of the same centre m, observed with an error."""
    rng = np.random.default_rng(11)
    centre = rng.normal(scale=3, size=N)
    members = centre + sd * rng.normal(size=(M, N))
    reference = centre + rng.normal(size=N) + error * rng.normal(size=N)
    return Pair.of(members, reference, variance=error**2)


def _sums(pair: Pair) -> Sums:
    return accumulate(pair, (SquaredError(), Variance(), Ranks(M, "test")))


def test_crps_by_hand() -> None:
    # Members 1, 2, 4 and truth 3: mean |x - y| = (2 + 1 + 1) / 3; sum over pairs |x_i - x_j| = 2 (1 + 3 + 2) = 12,
    # divided by 2 M (M - 1) = 12: 4/3 - 1 = 1/3.
    assert crps_fair(np.array([1.0, 2.0, 4.0]), np.array(3.0)) == pytest.approx(1 / 3, abs=1e-15)


def test_crps_equals_its_definition() -> None:
    rng = np.random.default_rng(5)
    members, reference = rng.normal(size=(12, 4, 5)), rng.normal(size=(4, 5))
    # Sums of 144 numbers of size 1 in double precision: 1e-13.
    np.testing.assert_allclose(crps_fair(members, reference), _crps_of_pairs(members, reference), atol=1e-13)


def test_crps_keeps_its_digits_on_large_values() -> None:
    rng = np.random.default_rng(6)
    members, reference = rng.normal(size=(8, 50)), rng.normal(size=50)
    shifted = crps_fair(members + 101325.0, reference + 101325.0)
    # Adding 1e5 costs 1e5 * 2^-53 = 1e-11 in every value.
    np.testing.assert_allclose(shifted, crps_fair(members, reference), atol=1e-10)


def test_fair_crps_does_not_depend_on_the_size_of_the_ensemble() -> None:
    # Members and truth from N(0, 1): E CRPS = E|X - Y| - E|X - X'| / 2 = 1/sqrt(pi), for every M.
    rng = np.random.default_rng(7)
    for size in (2, 5):
        values = crps_fair(rng.normal(size=(size, N)), rng.normal(size=N))
        # Four standard errors of the mean.
        assert values.mean() == pytest.approx(1 / np.sqrt(np.pi), abs=4 * values.std() / np.sqrt(N))


@pytest.mark.parametrize("error", [0.0, 0.7])
def test_spread_skill_of_a_calibrated_ensemble_is_one(error: float) -> None:
    # The ratio's square is a quotient of means of N values; the squared error has relative sd sqrt(2), the variance
    # sqrt(2 / (M - 1)), so the root has a standard error of sqrt(2 + 2/18) / (2 sqrt(N)) = 0.0051; four of them.
    assert spread_skill(_sums(_calibrated(error=error)))[0] == pytest.approx(1.0, abs=4 * 0.0051)


def test_spread_skill_by_hand() -> None:
    # Members 0 and 2, observation 3, R = 1: s^2 = 2, (1 + 1/2) 2 + 1 = 4; error (3 - 1)^2 = 4.
    pair = Pair.of(np.array([[0.0], [2.0]]), np.array([3.0]), variance=1.0)
    assert spread_skill(accumulate(pair, (SquaredError(), Variance())))[0] == pytest.approx(1.0, abs=1e-15)


@pytest.mark.parametrize("error", [0.0, 0.7])
def test_the_rank_histogram_of_a_calibrated_ensemble_is_flat(error: float) -> None:
    f = frequencies(_sums(_calibrated(error=error)), M)[0]
    # Each count is binomial (N, p = 1/20): sd of the frequency sqrt(p (1 - p) / N) = 0.0015; 20 bins stay within 4 sd.
    p = 1 / (M + 1)
    assert np.abs(f - p).max() < 4 * np.sqrt(p * (1 - p) / N)
    assert f.sum() == pytest.approx(1.0, abs=1e-12)


def test_too_little_spread_is_found() -> None:
    sums = _sums(_calibrated(sd=0.5))
    # Mean of s^2 is 1/4, the mean squared error 1 + 1/76: ratio sqrt(20/19 / 4 / (1 + 1/76)) = 0.51.
    assert spread_skill(sums)[0] == pytest.approx(0.51, abs=0.01)
    f = frequencies(sums, M)[0]
    assert f[0] > 3 / (M + 1) and f[-1] > 3 / (M + 1)
    assert flatness(sums, M)[0] > 0.3


def test_observation_noise_belongs_to_the_ranks() -> None:
    noisy = _calibrated(error=2.0)
    without = Pair.of(noisy.members, noisy.reference)
    # With half or more of the variance unaccounted for, the outer ranks fill up.
    assert flatness(_sums(noisy), M)[0] < 0.05 < 0.5 < flatness(_sums(without), M)[0]


def test_ranks_are_the_same_every_time_and_differ_by_purpose() -> None:
    pair = _calibrated(error=1.0)
    first, again, other = Ranks(M, "a")(pair), Ranks(M, "a")(pair), Ranks(M, "b")(pair)
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_equal_values_are_ranked_at_random() -> None:
    # Dry everywhere, observed and forecast: every rank is equally likely.
    pair = Pair.of(np.zeros((3, 8000)), np.zeros(8000))
    f = frequencies(accumulate(pair, (Ranks(3),)), 3)[0]
    assert np.abs(f - 0.25).max() < 4 * np.sqrt(0.25 * 0.75 / 8000)
