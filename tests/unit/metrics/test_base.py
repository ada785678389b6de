"""Sums merge by addition, masks are explicit, nothing that is not finite slips through."""

import numpy as np
import pytest

from stormda.errors import InputError
from stormda.metrics.base import Pair, Sums, accumulate
from stormda.metrics.deterministic import AbsoluteError, Error, SquaredError, bias, mae, rmse
from stormda.metrics.probabilistic import Crps, Ranks, Variance, crps, frequencies, spread_skill

RNG = np.random.default_rng(3)
STATISTICS = (Error(), AbsoluteError(), SquaredError(), Crps(), Variance(), Ranks(6))


def _pair(n: int = 90) -> Pair:
    return Pair.of(RNG.normal(size=(6, n)), RNG.normal(size=n), variance=0.0, weights=RNG.uniform(0.1, 2, size=n))


def test_sums_of_parts_equal_one_pass() -> None:
    whole = _pair()
    parts = [
        Pair(whole.members[:, s], whole.reference[s], whole.variance[s], whole.weights[s])
        for s in (slice(0, 7), slice(7, 60), slice(60, 90))
    ]
    first, *others = (accumulate(p, STATISTICS) for p in parts)
    merged = sum(others, start=first)
    once = accumulate(whole, STATISTICS)
    for metric in (rmse, bias, mae, crps, spread_skill):
        # Additions in another order: a few units of rounding of 90 terms.
        np.testing.assert_allclose(metric(merged), metric(once), rtol=1e-13)
    # Without observation error, ranks do not depend on how the values were split.
    np.testing.assert_allclose(frequencies(merged, 6), frequencies(once, 6), rtol=1e-13)
    assert merged.count[0] == 90


def test_groups_added_up_are_the_whole() -> None:
    pair = _pair()
    groups = np.arange(90) % 4
    grouped = accumulate(pair, STATISTICS, groups, 5)  # the fifth is empty
    assert np.isnan(rmse(grouped)[4])
    np.testing.assert_allclose(rmse(grouped.together()), rmse(accumulate(pair, STATISTICS)), rtol=1e-13)
    twice = grouped.regrouped(np.array([[1.0, 0, 2, 0, 0]]))
    assert twice.count[0] == grouped.count[0] + 2 * grouped.count[2]


def test_ensembles_of_two_sizes_keep_their_rank_histograms_apart() -> None:
    small, large = RNG.normal(size=(3, 8)), RNG.normal(size=(5, 8))
    reference = RNG.normal(size=8)
    sums = accumulate(Pair.of(small, reference), (SquaredError(), Ranks(3)))
    sums = sums + accumulate(Pair.of(large, reference), (SquaredError(), Ranks(5)))
    assert sums.totals["ranks3"].sum() == sums.totals["ranks5"].sum() == 8
    assert Sums.stack([sums, sums]).totals["ranks5"].shape == (2, 6)


def test_a_mask_hides_what_is_not_finite() -> None:
    members, reference = RNG.normal(size=(4, 3)), np.array([0.5, np.nan, 1.0])
    members[:, 1] = np.nan
    pair = Pair.of(members, reference, mask=np.isfinite(reference))
    assert len(pair) == 2
    with pytest.raises(InputError, match="not all finite"):
        Pair.of(members, reference)


@pytest.mark.parametrize("members", [np.zeros((1, 3)), np.zeros((4, 2))])
def test_shapes_that_do_not_fit(members: np.ndarray) -> None:
    with pytest.raises(InputError):
        Pair.of(members, np.zeros(3))


def test_area_weights_weigh() -> None:
    # Errors 1 and 3 with weights 3 and 1: bias (3 + 3) / 4, mean square (3 + 9) / 4.
    pair = Pair.of(np.array([[1.0, 3.0], [1.0, 3.0]]), np.zeros(2), weights=np.array([3.0, 1.0]))
    sums = accumulate(pair, (Error(), SquaredError(), AbsoluteError()))
    assert bias(sums)[0] == pytest.approx(1.5, abs=1e-15)
    assert rmse(sums)[0] == pytest.approx(np.sqrt(3.0), abs=1e-15)
    assert mae(sums)[0] == pytest.approx(1.5, abs=1e-15)
