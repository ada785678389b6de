"""Decorrelated observations have the likelihood of correlated ones; rows without correlation are left alone."""

import numpy as np
import torch

from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.linearise import linearise
from stormda.observations import Observations
from stormda.operators.correlate import Decorrelation, decorrelation

LEVELS = np.array([850.0, 500.0, 1000.0, 700.0, 850.0, 500.0, np.nan, 850.0])
REPORTS = np.array(["a", "a", "a", "b", "b", "a", "a", "c"], dtype=object)
VARIABLES = np.array(["t", "t", "t", "t", "t", "u", "t", "t"], dtype=object)
SD = np.array([0.5, 1.0, 0.25, 2.0, 1.0, 3.0, 1.0, 0.7])
VARIANCE = torch.as_tensor(SD**2)


def table(**more: object) -> Observations:
    n = len(LEVELS)
    same = {"station_id": "x", "platform": "temp", "source": "sondes", "level_type": "pressure", "elevation": np.nan}
    place = {"latitude": np.zeros(n), "longitude": np.zeros(n), "time": np.full(n, np.datetime64("2020-01-01"))}
    own = {"report_id": REPORTS, "variable": VARIABLES, "level": LEVELS, "value": np.zeros(n)}
    return Observations.of({**same, **place, **own, **more})


def covariance(length: float) -> np.ndarray:
    """R, by hand: a b and c are reports; t is correlated, u is not, nor is what has no level."""
    c = np.eye(len(SD))
    for i, j in [(0, 1), (0, 2), (1, 2), (3, 4)]:
        c[i, j] = c[j, i] = 0.99 * np.exp(-abs(np.log(LEVELS[i] / LEVELS[j])) / length)
    return c * np.outer(SD, SD)


def matrix(apart: Decorrelation) -> np.ndarray:
    return np.asarray(apart(torch.eye(len(SD), dtype=torch.float64)).T)


def test_errors_become_uncorrelated_with_the_same_standard_deviations() -> None:
    w = matrix(decorrelation(table(), VARIANCE, {("sondes", "t"): 0.4}))
    # Cholesky factors of matrices of two and three rows, condition numbers below 10.
    np.testing.assert_allclose(w @ covariance(0.4) @ w.T, np.diag(SD**2), atol=1e-13)


def test_rows_without_correlation_are_the_same_bits() -> None:
    y = torch.randn(3, len(SD), generator=torch.Generator().manual_seed(0))
    turned = decorrelation(table(), VARIANCE, {("sondes", "t"): 0.4})(y)
    assert torch.equal(turned[:, 5:], y[:, 5:])
    assert decorrelation(table(), VARIANCE, {("sondes", "t"): 0.0}).blocks == ()
    assert decorrelation(table(), VARIANCE, {("ships", "t"): 1.0})(y) is y


def test_the_posterior_is_that_of_the_full_covariance() -> None:
    g = torch.Generator().manual_seed(1)
    prior = Gaussian(torch.zeros(1, 1, 5).double(), torch.eye(5).double(), torch.diag(torch.arange(1.0, 6.0)).double())
    h, y = torch.randn(8, 5, generator=g, dtype=torch.float64), torch.randn(8, generator=g, dtype=torch.float64)
    apart = decorrelation(table(), VARIANCE, {("sondes", "t"): 0.4})
    mean, p = prior.posterior(lambda x: apart(x.flatten(1) @ h.T), apart(y), VARIANCE)
    s, r = prior.covariance, torch.as_tensor(covariance(0.4))
    gain = s @ h.T @ torch.linalg.inv(h @ s @ h.T + r)
    # Two forms of one formula in double precision, condition numbers below 1e3.
    torch.testing.assert_close(mean.flatten(), gain @ y, atol=1e-11, rtol=0)
    torch.testing.assert_close(p, s - gain @ h @ s, atol=1e-11, rtol=0)


def test_adjoint_of_the_whole_operator() -> None:
    apart = decorrelation(table(), VARIANCE, {("sondes", "t"): 1.0})
    g = torch.Generator().manual_seed(2)
    v, w = torch.randn(8, generator=g, dtype=torch.float64), torch.randn(8, generator=g, dtype=torch.float64)
    h = linearise(lambda x: apart(x.flatten(1)), torch.zeros(1, 1, 1, 8, dtype=torch.float64))
    # <W v, w> = <v, W^T w>, and W v itself, in double precision.
    torch.testing.assert_close(h.forward(v.view(1, 1, 1, 8))[0], apart(v), atol=1e-14, rtol=1e-14)
    torch.testing.assert_close(apart(v) @ w, v @ h.transpose(w[None]).flatten(), atol=1e-13, rtol=1e-13)


def test_a_block_number_goes_before_the_report_and_one_level_twice_is_no_certainty() -> None:
    blocks = np.array([7, -1, -1, -1, 7, -1, -1, 7])  # 850, 850 and 850 hPa
    w = matrix(decorrelation(table(block=blocks), VARIANCE, {("sondes", "t"): 0.4}))
    c = np.full((3, 3), 0.99) + 0.01 * np.eye(3)
    rows = [0, 4, 7]
    r = c * np.outer(SD[rows], SD[rows])
    # Condition number 300.
    np.testing.assert_allclose(w[np.ix_(rows, rows)] @ r @ w[np.ix_(rows, rows)].T, np.diag(SD[rows] ** 2), atol=1e-12)
