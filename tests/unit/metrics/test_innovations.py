"""Departures tell the errors that made them: an optimal scalar analysis is consistent, a wrong one is found wrong."""

import numpy as np
import pytest

from stormda.metrics.base import Pair, Sums, accumulate
from stormda.metrics.innovations import INNOVATIONS, departures

N, M = 4000, 40
B, R = 4.0, 1.0


def _departures(assumed: float) -> Sums:
    """Scalar analyses with gain B / (B + assumed R) of backgrounds with error B, observed with error R."""
    rng = np.random.default_rng(2)
    truth = rng.normal(size=N)
    y = truth + np.sqrt(R) * rng.normal(size=N)
    mean = truth + np.sqrt(B) * rng.normal(size=N)
    deviations = rng.normal(size=(M, N))
    deviations -= deviations.mean(axis=0)  # members about exactly that mean; the unbiased variance stays 1
    background = mean + np.sqrt(B) * deviations
    gain = B / (B + assumed)
    analysed = mean + gain * (y - mean)
    analysis = analysed + np.sqrt((1 - gain) * B) * deviations
    variance = np.full(N, assumed)
    pair = Pair.of(analysis, y, variance=variance)
    return accumulate(pair, departures(y, variance, background, analysis))


def _value(sums: Sums, name: str) -> float:
    return float(INNOVATIONS[name](sums)[0])


def test_an_optimal_analysis_is_consistent() -> None:
    sums = _departures(R)
    # d_ob ~ N(0, B + R), and each product is a multiple of d_ob^2: relative sd of a mean sqrt(2 / N) = 2.2 %, of its
    # root half of that; four of them are 4.5 %.
    assert _value(sums, "error_desroziers") == pytest.approx(np.sqrt(R), rel=0.045)
    assert _value(sums, "background_desroziers") == pytest.approx(np.sqrt(B), rel=0.045)
    assert _value(sums, "analysis_desroziers") == pytest.approx(np.sqrt(B * R / (B + R)), rel=0.045)
    assert _value(sums, "error_assumed") == pytest.approx(np.sqrt(R), rel=1e-12)
    # The spread of 40 members: relative sd of a variance sqrt(2 / 39), of its mean over N 0.4 %.
    assert _value(sums, "analysis_spread") == pytest.approx(np.sqrt(B * R / (B + R)), rel=0.02)
    # (1 + 1/M) s_b^2 of a mean without error of sampling is 2.5 % of B too large.
    assert _value(sums, "chi_square") == pytest.approx((B + R) / (1.025 * B + R), rel=0.09)
    # The trace of the gain, B / (B + R) an observation.
    assert _value(sums, "signal_per_observation") == pytest.approx(B / (B + R), rel=0.02)
    assert _value(sums, "degrees_of_freedom") == pytest.approx(N * B / (B + R), rel=0.02)


def test_an_error_assumed_too_large_is_found_too_large() -> None:
    sums = _departures(4 * R)
    # mean d_oa d_ob = (1 - K)(B + R) = 4 / 8 x 5 = 2.5 with K = 4 / 8: between the truth, 1, and what was assumed, 4.
    assert _value(sums, "error_desroziers") == pytest.approx(np.sqrt(2.5), rel=0.045)
    assert _value(sums, "error_assumed") == pytest.approx(2.0, rel=1e-12)
    assert _value(sums, "chi_square") < 0.75


def test_by_hand() -> None:
    # y = 3, background members 0 and 2, analysis members 1 and 3: d_ob = 2, d_oa = 1, d_ab = 1, s_b^2 = s_a^2 = 2.
    background, analysis = np.array([[0.0], [2.0]]), np.array([[1.0], [3.0]])
    y, variance = np.array([3.0]), np.array([4.0])
    sums = accumulate(Pair.of(analysis, y, variance=variance), departures(y, variance, background, analysis))
    assert _value(sums, "o_minus_b") == 2.0 and _value(sums, "o_minus_a") == 1.0
    assert _value(sums, "error_desroziers") == pytest.approx(np.sqrt(2.0))
    assert _value(sums, "chi_square") == pytest.approx(4 / (1.5 * 2 + 4)) and _value(sums, "degrees_of_freedom") == 0.5


def test_signal_is_that_of_one_analysis_however_many_there_are() -> None:
    once = _departures(R)
    assert _value(once + _departures(R), "degrees_of_freedom") == pytest.approx(_value(once, "degrees_of_freedom"))


def test_a_mean_of_products_below_zero_has_no_root() -> None:
    # The analysis went past the observation: d_oa d_ob < 0.
    y, variance = np.array([1.0]), np.array([1.0])
    background, analysis = np.array([[0.0], [0.1]]), np.array([[2.0], [2.1]])
    sums = accumulate(Pair.of(analysis, y, variance=variance), departures(y, variance, background, analysis))
    assert np.isnan(_value(sums, "error_desroziers"))
