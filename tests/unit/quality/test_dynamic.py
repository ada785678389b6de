"""The background check has the size that its formula says; withholding is a property of the station."""

import hashlib

import numpy as np
import pytest

from stormda.config import CheckConfig, WithholdConfig
from stormda.errors import InputError
from stormda.observations import QC, Observations
from stormda.quality.dynamic import run_dynamic
from stormda.quality.withhold import uniform, withhold


def table(value: list[float], error: float = 1.0, station: list[str] | None = None) -> Observations:
    n = len(value)
    return Observations.of(
        {
            "report_id": np.full(n, "r", dtype=object),
            "station_id": np.array(station or ["A"] * n, dtype=object),
            "platform": "synop",
            "source": "s",
            "variable": "t2m",
            "time": np.full(n, np.datetime64("2019-02-17T12", "s")),
            "latitude": np.full(n, 50.0),
            "longitude": np.full(n, 5.0),
            "elevation": np.full(n, 100.0),
            "value": np.array(value),
            "error": np.full(n, error),
        }
    )


BACKGROUND = CheckConfig(check="background", limit=2.0)


def test_the_limit_is_that_of_the_formula() -> None:
    # Members 279 and 281: mean 280, variance 2 (ddof 1), so s^2 (1 + 1/2) + 1 = 4 and two standard deviations are 4 K.
    background = np.array([[279.0], [281.0]]) * np.ones(4)
    checked = run_dynamic(table([283.99, 284.01, 276.01, 275.99]), [BACKGROUND], background, None)
    assert checked["qc"].tolist() == [0, 20, 0, 20]


def test_an_honest_ensemble_loses_as_many_as_the_normal_distribution_says() -> None:
    rng = np.random.default_rng(1)
    n, members = 20000, 50
    truth = rng.normal(size=(members + 1, n))  # the truth is one more draw of the ensemble
    observations = table((truth[-1] + 0.5 * rng.normal(size=n)).tolist(), error=0.5)
    checked = run_dynamic(observations, [BACKGROUND], truth[:-1], None)
    share = float((checked["qc"] == QC.BACKGROUND).mean())
    # P(|z| > 2) = 0.0455; the sample variance of 50 members makes it Student-like, about 0.005 more; the standard error
    # of a share of 20000 is sqrt(0.05 0.95 / 20000) = 0.0015. Three of them, and the Student part:
    assert abs(share - 0.0455) < 0.0045 + 0.005


def test_an_unknown_error_counts_as_none() -> None:
    # Without error the standard deviation is sqrt(3): two of them are 3.46 K.
    background = np.array([[279.0], [281.0]]) * np.ones(2)
    checked = run_dynamic(table([283.4, 283.5], error=np.nan), [BACKGROUND], background, None)
    assert checked["qc"].tolist() == [0, 20]


def test_what_the_operator_cannot_map_is_not_finite() -> None:
    background = np.array([[np.nan, 280.0], [280.0, 281.0]])
    assert run_dynamic(table([280.0, 280.0]), [BACKGROUND], background, None)["qc"].tolist() == [43, 0]


def test_station_height_against_the_grid() -> None:
    check = CheckConfig(check="station_height", limit=200.0)
    background = np.zeros((2, 3))
    checked = run_dynamic(table([280.0] * 3), [check], background, np.array([250.0, 350.0, np.nan]))
    assert checked["qc"].tolist() == [0, 5, 5]


def test_static_checks_may_run_again() -> None:
    checked = run_dynamic(table([400.0, 280.0]), [CheckConfig(check="range")], np.zeros((2, 2)), None)
    assert checked["qc"].tolist() == [3, 0]


@pytest.mark.parametrize("shape", [(2, 3), (1, 2), (2,)])
def test_a_background_that_does_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="does not fit"):
        run_dynamic(table([280.0, 280.0]), [BACKGROUND], np.zeros(shape), None)


def test_withholding_is_the_hash_of_station_and_seed() -> None:
    first = hashlib.sha256(b"06260|3").digest()[:8]
    assert uniform("06260", 3) == int.from_bytes(first, "big") / 2**64
    observations = table([280.0] * 3, station=["06260", "06260", "KJFK"])
    for seed in range(8):
        chosen = withhold(observations, WithholdConfig(fraction=0.3), seed)["withheld"]
        expected = [uniform(s, seed) < 0.3 for s in ("06260", "06260", "KJFK")]
        assert chosen.tolist() == expected


def test_the_fraction_is_met() -> None:
    stations = [f"{n:05d}" for n in range(4000)]
    chosen = withhold(table([280.0] * 4000, station=stations), WithholdConfig(fraction=0.3), 7)["withheld"]
    # Binomial: standard error sqrt(0.3 0.7 / 4000) = 0.0072; the draw is fixed, four of them hold for almost any seed.
    assert abs(float(chosen.mean()) - 0.3) < 0.029


def test_named_stations_instead_of_a_fraction() -> None:
    observations = table([280.0] * 3, station=["Chicago", "01027", "Denver"])
    config = WithholdConfig(fraction=0.0, stations=("Chicago", "1027"))
    assert withhold(observations, config, 0)["withheld"].tolist() == [True, True, False]


def test_nothing_is_withheld_by_default_and_an_old_choice_is_forgotten() -> None:
    observations = table([280.0]).replace(withheld=np.array([True]))
    assert withhold(observations, WithholdConfig(), 0)["withheld"].tolist() == [False]
    assert len(withhold(Observations.empty(), WithholdConfig(fraction=0.5), 0)) == 0
