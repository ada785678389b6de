"""Super-observations: means of cells, their number, spread and error; nothing is lost and nothing is mixed."""

import numpy as np
import pytest
from station_reports import NOON, reports

from stormda.config import SuperobConfig
from stormda.grid import Grid
from stormda.observations import QC, Observations
from stormda.quality.superob import superob

GRID = Grid.regular(np.array([48.0, 50.0, 52.0]), np.array([0.0, 2.0, 4.0]))


def test_a_cell_becomes_its_mean() -> None:
    o = reports(value=[280.0, 281.0, 285.0, 290.0], latitude=[50.1, 49.9, 50.3, 52.0], longitude=[1.9, 2.0, 2.4, 4.0])
    out = superob(o, GRID, [SuperobConfig(shared=0.4)])
    assert out["qc"].tolist() == [25, 25, 25, 0, 0]  # the last but one is alone in its cell
    assert (out["value"][:4] == o["value"]).all()
    new = out.where(np.arange(5) == 4)
    assert new["value"][0] == pytest.approx(282.0) and new["latitude"][0] == pytest.approx(50.1)
    assert new["longitude"][0] == pytest.approx(2.1) and new["count"][0] == 3
    assert new["spread"][0] == pytest.approx(np.sqrt(7.0))  # deviations -2, -1, 3: 14 / (3 - 1)
    assert new["error"][0] == pytest.approx(np.sqrt(7.0 / 3.0))  # more than sqrt(0.4 + 0.6/3) = 0.77 K
    calm = superob(o.replace(value=np.full(4, 280.0)), GRID, [SuperobConfig(shared=0.4)])
    assert calm["error"][4] == pytest.approx(np.sqrt(0.4 + 0.6 / 3))


def test_the_error_is_honest() -> None:
    """Errors with a shared part of variance c and an independent one 1 - c: the mean of 9 has c + (1 - c)/9."""
    rng = np.random.default_rng(0)
    trials, n, shared = 2000, 9, 0.3
    error = np.sqrt(shared) * rng.normal(size=(trials, 1)) + np.sqrt(1 - shared) * rng.normal(size=(trials, n))
    latitude = 48.0 + 2.0 * rng.integers(0, 3, trials)
    cells = Grid.regular(np.linspace(-45, 45, 50), np.linspace(0, 39, 40))
    at = [f.ravel() for f in cells.fields]
    where = np.repeat(np.arange(trials), n)
    o = reports(value=280.0 + error.ravel(), latitude=at[0][where], longitude=at[1][where])
    out = superob(o, cells, [SuperobConfig(shared=shared)])
    new = out.where(np.arange(len(out)) >= len(o))
    assert len(new) == len(latitude) and (new["count"] == n).all()
    stated = shared + (1 - shared) / n
    # The variance of 2000 normal errors has a relative standard error of sqrt(2/2000) = 3.2 %; four of them.
    assert new["value"].var() == pytest.approx(stated, rel=0.13)
    # spread^2/9 surpasses the stated 0.378 with c = 0.3 only where spread^2 > 3.4: never for variance 0.7 of 9 values.
    assert new["error"] ** 2 == pytest.approx(np.full(trials, stated))


@pytest.mark.parametrize(
    ("column", "different"),
    [
        ("variable", ["t2m", "d2m"]),
        ("platform", ["synop", "metar"]),
        ("source", ["a", "b"]),
        ("level", [500.0, 850.0]),
        ("interval", [3600.0, 21600.0]),
        ("withheld", [False, True]),
        ("time", np.array([NOON, NOON - np.timedelta64(2, "h")])),
        ("latitude", [50.0, 52.0]),
    ],
)
def test_what_differs_stays_apart(column: str, different: object) -> None:
    assert len(superob(reports(**{column: different}), GRID, [SuperobConfig()])) == 2


def test_flagged_and_unnamed_reports_stay_out() -> None:
    o = reports(value=[280.0, 281.0, 299.0]).flag(np.array([False, False, True]), QC.BACKGROUND)
    out = superob(o, GRID, [SuperobConfig()])
    assert out["qc"].tolist() == [25, 25, 20, 0] and out["value"][3] == pytest.approx(280.5)
    assert len(superob(o, GRID, [SuperobConfig(platforms=("radar",))])) == 3
    assert len(superob(o, GRID, [SuperobConfig(count=3)])) == 3
    assert len(superob(Observations.empty(), GRID, [SuperobConfig()])) == 0


def test_what_is_merged_once_stays_so() -> None:
    o = reports(value=[280.0, 281.0, 282.0], platform=["a", "a", "b"])
    out = superob(o, GRID, [SuperobConfig(platforms=("a",)), SuperobConfig()])
    assert out["qc"].tolist() == [25, 25, 0, 0] and out["count"].tolist() == [1, 1, 1, 2]


def test_across_the_date_line() -> None:
    globe = Grid.regular(np.array([49.0, 50.0, 51.0]), np.arange(0.0, 360.0, 2.0))
    out = superob(reports(longitude=[179.8, -179.6]), globe, [SuperobConfig()])
    assert out["qc"].tolist() == [25, 25, 0] and out["longitude"][2] == pytest.approx(-179.9)
