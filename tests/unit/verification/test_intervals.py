"""Bootstrap intervals cover what they should, and say nothing where there is nothing to say."""

import numpy as np
import pytest

from stormda.metrics.base import Pair, accumulate
from stormda.metrics.deterministic import SquaredError, rmse
from stormda.metrics.probabilistic import Ranks, flatness
from stormda.verification.intervals import FEW, block_bootstrap, flat_limit, intervals, resamples


def test_blocks_are_consecutive_and_as_many_as_before() -> None:
    index = np.concatenate(list(resamples(27, replicates=10)))
    assert index.shape == (10, 27)
    steps = np.diff(index.reshape(10, 9, 3), axis=-1) % 27  # L = 27^(1/3) = 3
    assert (steps == 1).all()


def test_resamples_do_not_depend_on_the_chunk() -> None:
    whole = np.concatenate(list(resamples(5, 1, replicates=100)))
    assert np.array_equal(whole, np.concatenate(list(resamples(5, 1, replicates=100))))


def test_the_interval_of_a_mean_has_the_width_of_theory() -> None:
    values = np.random.default_rng(1).normal(size=400)
    low, high = block_bootstrap(values, lambda v: float(v.mean()), length=1)
    # 2 x 1.96 / sqrt(400) = 0.196 times the sample's sd; 1000 replicates know their 2.5 % quantiles to about 5 %.
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)
    assert low < values.mean() < high


def test_blocks_widen_the_interval_of_a_correlated_series() -> None:
    rng = np.random.default_rng(2)
    noise = rng.normal(size=600)
    series = np.zeros(600)
    for k in range(1, 600):
        series[k] = 0.8 * series[k - 1] + noise[k]
    one, block = (block_bootstrap(series, lambda v: float(v.mean()), length=length) for length in (1, 20))
    # The true widening is sqrt((1 + 0.8) / (1 - 0.8)) = 3; blocks of 20 find most of it.
    assert (block[1] - block[0]) > 2 * (one[1] - one[0])


def test_few_groups_have_no_interval() -> None:
    assert np.isnan(block_bootstrap(np.ones(FEW - 1), lambda v: float(v.mean()))).all()
    pair = Pair.of(np.random.default_rng(0).normal(size=(4, 8)), np.zeros(8))
    sums = accumulate(pair, (SquaredError(), Ranks(4)), np.arange(8) % (FEW - 1), FEW - 1)
    assert np.isnan(intervals(sums, {"rmse": rmse})["rmse"]).all()
    assert np.isnan(flat_limit(sums, 4))


def test_the_flat_limit_separates_calibrated_from_not() -> None:
    rng = np.random.default_rng(4)
    reference = rng.normal(size=3000)
    groups = np.arange(3000) % 100
    for sd, flat in ((1.0, True), (0.7, False)):
        sums = accumulate(Pair.of(sd * rng.normal(size=(9, 3000)), reference), (Ranks(9),), groups, 100)
        assert (flatness(sums.together(), 9)[0] < flat_limit(sums, 9, length=1)) is np.bool_(flat)
