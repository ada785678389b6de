"""What is compared with what: grids in any order, labels of levels, sums over cycles, splits and stations."""

from dataclasses import replace

import numpy as np
import pytest

from stormda.errors import InputError
from stormda.grid import Grid
from stormda.metrics.base import Pair, accumulate
from stormda.observations import Observations
from stormda.variables import Channel
from stormda.verification.compare import (
    Part,
    Scoring,
    against_observations,
    against_truth,
    labels_of,
)
from stormda.verification.summary import by_cycle, overview
from stormda.verification.tally import Tally

RNG = np.random.default_rng(8)
GRID = Grid.regular(np.array([50.0, 40.0, 30.0]), np.array([-10.0, 0.0, 10.0, 20.0]))
CYCLE = np.datetime64("2020-01-01T00", "s")
T850 = (Channel("t", 850.0),)


def _observations(n: int, **columns: object) -> Observations:
    base = {
        "report_id": "r",
        "station_id": np.array([f"S{k % 7}" for k in range(n)], dtype=object),
        "platform": "temp",
        "source": "s",
        "variable": "t",
        "level_type": "pressure",
        "level": np.full(n, 850.0),
        "time": np.full(n, CYCLE),
        "latitude": np.full(n, 45.0),
        "longitude": np.full(n, 5.0),
        "value": RNG.normal(size=n),
        "error": np.full(n, 0.5),
    }
    return Observations.of(base | columns)


def test_a_truth_of_another_order_and_range_is_found() -> None:
    other = Grid.regular(np.arange(20.0, 61.0, 5.0), np.arange(0.0, 360.0, 5.0))
    rows, columns = GRID.within(other)
    assert np.array_equal(other.latitude[rows], GRID.latitude)
    assert np.array_equal(np.mod(other.longitude[columns] - GRID.longitude, 360.0), np.zeros(4))


def test_a_truth_that_lacks_a_point_is_an_error() -> None:
    with pytest.raises(InputError, match="does not hold all points"):
        GRID.within(Grid.regular(np.array([50.0, 40.0]), GRID.longitude))


def test_levels_belong_to_the_nearest_channel() -> None:
    channels = (Channel("t", 850.0), Channel("t", 700.0), Channel("msl"))
    observations = _observations(
        5,
        variable=np.array(["t", "t", "t", "msl", "t2m"], dtype=object),
        level=np.array([846.0, 770.0, 300.0, np.nan, np.nan]),
    )
    assert list(labels_of(observations, channels)) == ["t850", "t700", "t300", "msl", "t2m"]


def test_heights_of_radar_are_scored_in_layers() -> None:
    height = np.array([1499.0, 1501.0, 2480.0, 80.0])
    observations = _observations(4, variable="dbz", level_type="height", level=height)
    assert list(labels_of(observations, T850)) == ["dbz1000", "dbz2000", "dbz2000", "dbz0"]
    scoring = Scoring(thresholds={"dbz": (20.0,), "dbz2000": (35.0,)}, variables=frozenset({"dbz"}))
    assert scoring.events("dbz1000") == (20.0,) and scoring.events("dbz2000") == (35.0,)
    assert scoring.wants("dbz1000") and not scoring.wants("t850")


def test_truth_is_weighted_by_area() -> None:
    truth = np.zeros(GRID.shape)
    members = np.broadcast_to(np.array([1.0, 2.0, 3.0])[:, None], GRID.shape) + np.zeros((2, 1, 1, 1))
    (row,) = overview(Tally.of(against_truth("analysis", members, T850, GRID, {"t850": truth}, CYCLE, 0)))
    w = np.cos(np.deg2rad([50.0, 40.0, 30.0]))
    assert row.analysis is not None
    # The mean error of a row is 1, 2, 3 K, weighted by the cosine of latitude; rounding only.
    assert row.analysis.scores["bias"].value == pytest.approx((w * [1, 2, 3]).sum() / w.sum(), rel=1e-13)
    assert row.improvement is None and row.interval == "none" and row.unit == "K"


def test_rejected_and_errorless_values_do_not_count() -> None:
    n = 12
    qc, error = np.zeros(n, dtype=np.int32), np.full(n, 0.5)
    qc[0], error[1] = 20, np.nan
    members = RNG.normal(size=(4, n))
    members[:, 0] = np.nan  # without an operator there is no value
    observations = _observations(n, qc=qc, error=error, withheld=np.arange(n) % 2 == 0)
    (withheld,) = against_observations("withheld", "analysis", members, observations, T850, CYCLE, 0)
    (used,) = against_observations("used", "analysis", members, observations, T850, CYCLE, 0)
    assert withheld.sums.count.sum() == 5 and used.sums.count.sum() == 5


def _part(cycle: int, split: int, side: str, n: int = 20) -> Part:
    members, observations = RNG.normal(size=(5, n)), _observations(n, withheld=np.ones(n, dtype=bool))
    time = CYCLE + np.timedelta64(6 * cycle, "h")
    (part,) = against_observations("withheld", side, members, observations, T850, time, split)
    return part


@pytest.mark.parametrize(("cycles", "kind"), [(2, "stations"), (6, "cycles")])
def test_all_values_of_cycles_and_splits_count_once(cycles: int, kind: str) -> None:
    parts = [_part(c, s, side) for c in range(cycles) for s in range(2) for side in ("background", "analysis")]
    (row,) = overview(Tally.of(parts))
    assert row.n == cycles * 2 * 20 and row.cycles == cycles and row.interval == kind
    squares = sum(p.sums.totals["squared_error"].sum() for p in parts if p.side == "analysis")
    assert row.analysis is not None and row.background is not None and row.improvement is not None
    score = row.analysis.scores["rmse"]
    # The root of the mean over all values, whatever the groups: rounding only.
    assert score.value == pytest.approx(np.sqrt(squares / row.n), rel=1e-12)
    assert score.value is not None and score.low is not None and score.high is not None
    assert score.low < score.value < score.high
    before = row.background.scores["rmse"].value
    assert before is not None
    assert row.improvement.value == pytest.approx(100 * (1 - score.value / before), rel=1e-10)
    assert len(by_cycle(Tally.of(parts))) == len(parts)


def test_no_improvement_is_told_where_sides_differ_in_what_they_saw() -> None:
    parts = [_part(0, 0, "background"), _part(1, 0, "background"), _part(0, 0, "analysis")]
    (row,) = overview(Tally.of(parts))
    assert row.improvement is None and row.n == 40


def test_ensembles_of_two_sizes_can_be_scored_together() -> None:
    large = _part(0, 0, "analysis")
    pair = Pair.of(RNG.normal(size=(3, 1)), np.zeros(1))
    from stormda.verification.compare import _statistics

    sums = accumulate(pair, _statistics(3, "x", ()))
    small = replace(large, split=1, members=3, sums=sums, stations=np.array(["S0"]))
    (row,) = overview(Tally.of([large, small]))
    assert row.analysis is not None and len(row.analysis.ranks) == 6 and row.n == 21
