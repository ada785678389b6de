"""Scores of the mean by a second implementation (`scores`), and the anomaly correlation by hand."""

import numpy as np
import pytest
import xarray as xr
from scores import continuous

from stormda.metrics.base import Given, Pair, accumulate
from stormda.metrics.deterministic import AbsoluteError, Anomalies, Error, SquaredError, acc, bias, mae, rmse


def test_scores_are_those_of_scores() -> None:
    rng = np.random.default_rng(9)
    members, reference, weights = rng.normal(size=(5, 300)), rng.normal(size=300), rng.uniform(0.1, 2, size=300)
    sums = accumulate(Pair.of(members, reference, weights=weights), (Error(), AbsoluteError(), SquaredError()))
    mean, observed, w = (xr.DataArray(v, dims="value") for v in (members.mean(axis=0), reference, weights))
    # Sums of 300 numbers in another order: 1e-13.
    assert bias(sums)[0] == pytest.approx(float(continuous.additive_bias(mean, observed, weights=w)), abs=1e-13)
    assert mae(sums)[0] == pytest.approx(float(continuous.mae(mean, observed, weights=w)), abs=1e-13)
    assert rmse(sums)[0] == pytest.approx(float(continuous.rmse(mean, observed, weights=w)), abs=1e-13)


def test_anomaly_correlation_is_the_correlation_of_anomalies_without_a_mean() -> None:
    rng = np.random.default_rng(10)
    climatology = 280 + 10 * rng.normal(size=200)
    anomaly = rng.normal(size=200)
    observed, forecast = (a - a.mean() for a in (anomaly, anomaly + 0.5 * rng.normal(size=200)))
    pair = Pair.of(np.stack([climatology + forecast - 1, climatology + forecast + 1]), climatology + observed)
    found = acc(accumulate(pair, (Anomalies(climatology),)))[0]
    # Values near 280 leave 1e-13 of an anomaly near 1; the quotient of sums of 200 keeps 1e-12.
    assert found == pytest.approx(np.corrcoef(forecast, observed)[0, 1], abs=1e-12)


def test_climatology_has_no_anomaly_correlation() -> None:
    pair = Pair.of(np.ones((2, 3)), np.array([0.0, 1.0, 2.0]))
    assert np.isnan(acc(accumulate(pair, (Anomalies(np.ones(3)),)))).all()
    assert np.isnan(acc(accumulate(pair, (Error(),)))).all()  # nobody knew a climatology


def test_a_given_statistic_fits_its_pair() -> None:
    pair = Pair.of(np.zeros((2, 3)), np.zeros(3), weights=np.array([1.0, 2.0, 3.0]))
    assert accumulate(pair, (Given("x", np.array([1.0, 1.0, 2.0])),)).mean("x")[0] == pytest.approx(9 / 6)
    with pytest.raises(Exception, match="x of 2 values beside a pair of 3"):
        accumulate(pair, (Given("x", np.zeros(2)),))
