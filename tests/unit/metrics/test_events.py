"""Scores of events by a second implementation (`scores`), by hand, and from parts that are added up."""

import numpy as np
import pytest
import xarray as xr
from scores.categorical import ThresholdEventOperator
from scores.probability import brier_score_for_ensemble, roc_auc, roc_curve_data

from stormda.metrics.base import Pair, Sums, accumulate
from stormda.metrics.events import CATEGORICAL, Event, auc, brier, brier_skill, categorical, reliability, roc
from stormda.types import Array

M, N, THRESHOLD = 9, 400, 0.7
NAME = Event(THRESHOLD, M).name


def _values() -> tuple[Array, Array]:
    rng = np.random.default_rng(21)
    centre = rng.normal(size=N)
    return centre + 0.6 * rng.normal(size=(M, N)), centre + 0.6 * rng.normal(size=N)


def _sums(members: Array, reference: Array, weights: Array | float = 1.0) -> Sums:
    return accumulate(Pair.of(members, reference, weights=weights), (Event(THRESHOLD, M),))


def _arrays(members: Array, reference: Array) -> tuple[xr.DataArray, xr.DataArray]:
    return xr.DataArray(members, dims=("member", "value")), xr.DataArray(reference, dims="value")


def test_the_brier_score_is_that_of_scores() -> None:
    members, reference = _values()
    theirs = brier_score_for_ensemble(*_arrays(members, reference), "member", THRESHOLD, fair_correction=True)
    # Sums of 400 numbers below 1 in another order: 1e-13.
    assert brier(_sums(members, reference), NAME)[0] == pytest.approx(float(theirs.squeeze()), abs=1e-13)


def test_the_roc_curve_and_its_area_are_those_of_scores() -> None:
    members, reference = _values()
    forecast, observed = _arrays(members, reference)
    probability, happened = (forecast >= THRESHOLD).mean("member"), (observed >= THRESHOLD).astype(float)
    thresholds = (np.arange(M, -1, -1) - 0.5) / M  # between the probabilities k / M: no tie to settle
    theirs = roc_curve_data(probability, happened, sorted(thresholds), check_args=False).sortby(
        "threshold", ascending=False
    )
    false, hit = roc(_sums(members, reference), NAME)
    # Quotients of the same whole numbers.
    np.testing.assert_allclose(false[0], theirs.POFD, atol=1e-15)
    np.testing.assert_allclose(hit[0], theirs.POD, atol=1e-15)
    # Trapezia against the rank statistic: the same number but for rounding.
    assert auc(_sums(members, reference), NAME)[0] == pytest.approx(float(roc_auc(probability, happened)), abs=1e-12)


def test_yes_or_no_scores_are_those_of_scores() -> None:
    members, reference = _values()
    forecast, observed = _arrays(members, reference)
    # With 9 members half or more are 5 or more, so that the median has the event.
    manager = ThresholdEventOperator(default_event_threshold=THRESHOLD).make_contingency_manager(
        forecast.median("member"), observed
    )
    ours = categorical(_sums(members, reference), NAME)
    for name, theirs in CATEGORICAL.items():
        assert ours[name][0] == pytest.approx(float(getattr(manager.transform(), theirs)()), abs=1e-14)


def test_a_table_by_hand() -> None:
    # Two members: 2 of 2 and it happened, 1 of 2 and it did not, 0 of 2 and it happened, 0 of 2 and it did not.
    members = np.array([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    sums = accumulate(Pair.of(members, np.array([1.0, 0.0, 1.0, 0.0])), (Event(0.5, 2),))
    name = Event(0.5, 2).name
    # Squares 0, 1/4, 1, 0; the fair correction k (M - k) / (M^2 (M - 1)) is 1/4 for the second: (0 + 0 + 1 + 0) / 4.
    assert brier(sums, name)[0] == pytest.approx(0.25, abs=1e-15)
    assert brier_skill(sums, name)[0] == pytest.approx(0.0, abs=1e-15)  # the sample's climatology scores 1/2 * 1/2
    found = categorical(sums, name)  # a = 1, b = 1, c = 1, d = 1
    assert found["pod"][0] == found["far"][0] == 0.5 and found["csi"][0] == pytest.approx(1 / 3)
    assert found["hss"][0] == pytest.approx(0.0) and found["frequency_bias"][0] == 1.0
    p, observed, share = reliability(sums, name)
    assert list(p) == [0, 0.5, 1] and list(observed[0]) == [0.5, 0.0, 1.0] and list(share[0]) == [0.5, 0.25, 0.25]


def test_parts_add_up_and_weights_count() -> None:
    members, reference = _values()
    weights = np.random.default_rng(1).uniform(0.1, 2, size=N)
    whole = _sums(members, reference, weights)
    parts = [_sums(members[:, s], reference[s], weights[s]) for s in (slice(0, 30), slice(30, N))]
    for metric in (brier, brier_skill, auc):
        # Additions of 400 numbers in another order.
        np.testing.assert_allclose(metric(parts[0] + parts[1], NAME), metric(whole, NAME), rtol=1e-12)
    assert brier(whole, NAME)[0] != pytest.approx(brier(_sums(members, reference), NAME)[0], rel=1e-3)


def test_an_event_that_never_happened_has_no_curve() -> None:
    sums = _sums(np.zeros((M, 5)), np.zeros(5))
    assert np.isnan(auc(sums, NAME)).all() and np.isnan(brier_skill(sums, NAME)).all()
    assert brier(sums, NAME)[0] == 0.0 and np.isnan(categorical(sums, NAME)["pod"][0])


def test_probabilities_that_are_right_are_reliable() -> None:
    rng = np.random.default_rng(3)
    p = rng.uniform(size=20_000)
    members = (rng.uniform(size=(10, p.size)) < p).astype(float)
    sums = accumulate(Pair.of(members, (rng.uniform(size=p.size) < p).astype(float)), (Event(0.5, 10),))
    probability, observed, share = reliability(sums, "event10:0.5")
    # Given k of 10 members and p uniform, the event happens with (k + 1) / 12; each frequency is within 4 binomial sd.
    expected = (10 * probability + 1) / 12
    sd = np.sqrt(expected * (1 - expected) / (share[0] * p.size))
    assert (np.abs(observed[0] - expected) < 4 * sd).all()
