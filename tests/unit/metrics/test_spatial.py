"""FSS by a second implementation (`scores`) and by hand; powers add up to the variance and lie at their wavelength."""

import numpy as np
import pytest
import xarray as xr
from scores.spatial import fss_2d

from stormda.metrics.base import Given, Pair, accumulate
from stormda.metrics.spatial import fss, fss_terms, power, spectra, wavelengths

NO = (False, False)


def _score(terms: np.ndarray) -> float:
    pair = Pair.of(np.zeros((2, terms.shape[0] * terms.shape[1])), np.zeros(terms.shape[0] * terms.shape[1]))
    return float(fss(accumulate(pair, (Given("fss", terms.reshape(-1, 3)),)), "fss")[0])


@pytest.mark.parametrize("width", [1, 3, 5])
def test_fss_is_that_of_scores_inside(width: int) -> None:
    rng = np.random.default_rng(width)
    forecast, truth = rng.normal(size=(14, 17)), rng.normal(size=(14, 17))
    theirs = fss_2d(
        xr.DataArray(forecast, dims=("y", "x")),
        xr.DataArray(truth, dims=("y", "x")),
        event_threshold=0.5,
        window_size=(width, width),
        spatial_dims=("y", "x"),
        threshold_operator=np.greater_equal,
    )
    # `scores` takes whole windows alone: those of the points that are half a window or more from each edge.
    inner = slice(width // 2, -(width // 2) or None)
    terms = fss_terms(np.stack([forecast, forecast]), truth, 0.5, width, NO)[inner, inner]
    assert _score(terms) == pytest.approx(float(theirs), abs=1e-12)  # sums of some hundred fractions


def test_a_shower_one_point_off_is_right_near_by() -> None:
    forecast, truth = np.zeros((2, 14, 15)), np.zeros((14, 15))
    forecast[:, 6, 6], truth[6, 7] = 1.0, 1.0
    near = [_score(fss_terms(forecast, truth, 1.0, width, NO)) for width in (1, 3, 5)]
    # The neighbourhoods that hold one but not the other over those that hold either: 2 of 2; 6 of 18; 10 of 50.
    assert near == pytest.approx([0.0, 1 - 6 / 18, 1 - 10 / 50], abs=1e-12)


def test_fss_of_a_perfect_and_of_an_empty_forecast() -> None:
    truth = np.random.default_rng(0).normal(size=(6, 7))
    assert _score(fss_terms(np.stack([truth, truth]), truth, 0.0, 3, NO)) == pytest.approx(1.0, abs=1e-12)
    assert np.isnan(_score(fss_terms(np.zeros((2, 6, 7)), np.zeros((6, 7)), 1.0, 3, NO)))


def test_a_periodic_neighbourhood_wraps_and_an_edge_ends() -> None:
    field = np.zeros((5, 8))
    field[2, 0] = 1.0
    wrapped, ended = (fss_terms(field[None], field, 1.0, 3, (False, w))[..., 2] for w in (True, False))
    assert wrapped[2, 7] == pytest.approx(1 / 81) and ended[2, 7] == 0.0
    assert ended[2, 0] == pytest.approx((1 / 6) ** 2)  # at the edge six points are there


@pytest.mark.parametrize("periodic", [(False, False), (False, True), (True, True)])
@pytest.mark.parametrize("shape", [(11, 13), (16, 16), (25, 53), (1, 40)])
def test_powers_add_up_to_the_variance(shape: tuple[int, int], periodic: tuple[bool, bool]) -> None:
    fields = np.random.default_rng(4).normal(size=(3, *shape))
    found = power(fields, periodic)
    assert found.shape == (3, len(wavelengths(shape, periodic)))
    np.testing.assert_allclose(found.sum(axis=-1), fields.var(axis=(-2, -1)), rtol=1e-12)  # Parseval: rounding


@pytest.mark.parametrize(("periodic", "waves"), [((True, True), 4), ((False, False), 4)])
def test_a_wave_has_its_power_at_its_wavelength(periodic: tuple[bool, bool], waves: int) -> None:
    n = 32
    x = (
        np.arange(n) if periodic[1] else np.arange(n) + 0.5
    )  # cosines of the transform have their crest half a point off
    field = np.cos(2 * np.pi * waves * x / n)[None, :] + np.zeros((n, 1))
    found = power(field, periodic)
    k = int(found.argmax())
    assert found[k] == pytest.approx(0.5, abs=1e-12) and wavelengths((n, n), periodic)[k] == pytest.approx(n / waves)


def test_a_calibrated_ensemble_has_the_power_of_the_truth_at_every_scale() -> None:
    rng = np.random.default_rng(5)
    sums: dict[str, np.ndarray] = {}
    for _ in range(200):
        draws = rng.normal(size=(9, 12, 12))  # eight members and the truth are alike
        for name, value in spectra(draws[:8], draws[8], NO).items():
            sums[name] = sums.get(name, 0.0) + value
    # Bin k of K = 11 has some 1.5 k coefficients or more, from 2 on: of 200 fields the relative sd of a mean of squares
    # is sqrt(2 / (2 x 200)) = 7 % at most for the truth, less for the members; four of them.
    np.testing.assert_allclose(sums["members"] / sums["truth"], 1.0, atol=0.28)
    np.testing.assert_allclose(sums["spread"] / sums["error"], 1.0, atol=0.28)


def test_the_shortest_wave_of_a_channel_has_its_wavelength() -> None:
    """(-1)^j along the direction that wraps has a variance of 1 at 2 points; rounding of 40 numbers."""
    found = power((-1.0) ** np.arange(40) + np.zeros((24, 1)), (False, True))
    assert found.argmax() == len(found) - 1 and found[-1] == pytest.approx(1.0, abs=1e-12)
    assert wavelengths((24, 40), (False, True))[-1] == pytest.approx(2.0)


@pytest.mark.parametrize("waves", [1, 7, 20])
def test_a_ring_of_points_wraps_whatever_its_other_direction_does(waves: int) -> None:
    """cos(k x) with 1/2 of variance, at the Nyquist wavelength of 2 points with 1; rounding of 40 numbers."""
    for periodic in ((False, True), (True, True)):
        found = power(np.cos(2 * np.pi * waves * np.arange(40) / 40)[None], periodic)
        k = int(found.argmax())
        assert len(found) == 20 and found[k] == pytest.approx(1.0 if waves == 20 else 0.5, abs=1e-12)
        assert wavelengths((1, 40), periodic)[k] == pytest.approx(40 / waves)
