"""Station bias: the running mean is the one of its formula, batch and cycle agree, age and time are respected."""

import numpy as np
import pytest
from station_reports import NOON, reports

from stormda.config import BiasConfig
from stormda.observations import QC, Observations
from stormda.quality.bias import correct, estimate, innovations, learn
from stormda.types import Array

DAY = np.timedelta64(86400, "s")
PLAIN = BiasConfig(variables=("t2m",), hours=None, shrink=0.0, height=False, memory=10 * DAY)


def at(day: float, value: list[float], **columns: object) -> Observations:
    time = NOON + np.timedelta64(round(day * 86400), "s")
    return reports(value=value, time=np.full(len(value), time), **columns)


def of(table: object, observations: Observations, config: BiasConfig = PLAIN, days: float = 30.0) -> list[float]:
    found = estimate(table, observations, NOON + np.timedelta64(round(days * 86400), "s"), config)  # type: ignore[arg-type]
    return [float(b) for b in found]


def test_the_running_mean_forgets_as_it_says() -> None:
    """w <- w exp(-dt/memory) + 1 and m <- m + (d - m)/w, followed by hand."""
    table, w, m, last = None, 0.0, 0.0, 0.0
    for day, d in ((0.0, 1.0), (1.0, 3.0), (4.0, -2.0), (4.5, 0.5)):
        o = at(day, [280.0 + d])
        table = learn(table, innovations(o, np.array([280.0]), PLAIN), PLAIN)
        w = w * np.exp(-(day - last) / 10.0) + 1
        m, last = m + (d - m) / w, day
    assert table is not None
    assert table["weight"][0] == pytest.approx(w) and table["mean"][0] == pytest.approx(m)
    assert of(table, at(30, [280.0])) == [pytest.approx(m)]


def test_one_lesson_is_as_good_as_many() -> None:
    rng = np.random.default_rng(0)
    days = [at(day, (281.0 + rng.normal(size=5)).tolist()) for day in range(9)]  # nine: too few to look for outliers
    table = None
    for o in days:
        table = learn(table, innovations(o, np.full(5, 280.0), PLAIN), PLAIN)
    everything = Observations.concat(days[::-1])
    once = learn(None, innovations(everything, np.full(45, 280.0), PLAIN), PLAIN)
    assert table is not None
    for column in ("weight", "mean", "variance"):
        np.testing.assert_allclose(once[column], table[column], rtol=1e-9)


def test_a_correction_is_remembered_and_not_learned_away() -> None:
    """The value of a corrected row has its bias subtracted: the innovation is that of the report as it came."""
    o = at(0, [283.0])
    table = learn(None, innovations(o, np.array([280.0]), PLAIN), PLAIN)
    o = at(1, [283.0])
    o = correct(o, estimate(table, o, o["time"][0], PLAIN))
    assert o["value"][0] == pytest.approx(280.0) and o["bias"][0] == pytest.approx(3.0)
    again = learn(table, innovations(o, np.array([280.0]), PLAIN), PLAIN)
    assert again["mean"][0] == pytest.approx(3.0)


def test_little_is_known_from_little() -> None:
    config = PLAIN.model_copy(update={"shrink": 3.0, "memory": 10000 * DAY})
    table = learn(None, innovations(at(0, [282.0]), np.array([280.0]), config), config)
    assert of(table, at(30, [280.0]), config) == [pytest.approx(2.0 * 1 / 4)]


def test_neither_the_future_nor_what_is_too_old() -> None:
    table = learn(None, innovations(at(10, [283.0]), np.array([280.0]), PLAIN), PLAIN)
    o = at(30, [280.0])
    assert of(table, o, days=10.0) == [0.0]  # at the same time: this very report taught it
    assert of(table, o, days=5.0) == [0.0]
    assert of(table, o, days=10.25) == [pytest.approx(3.0)]
    assert of(table, o, days=70.0) == [pytest.approx(3.0)] and of(table, o, days=71.0) == [0.0]


def test_nothing_is_learned_from_withheld_and_rejected_rows() -> None:
    o = at(0, [283.0, 284.0, 285.0, 286.0], station_id=["10000", "10001", "10002", ""])
    o = o.replace(withheld=np.array([True, False, False, False]))
    o = o.flag(np.array([False, True, False, False]), QC.BACKGROUND)
    new = innovations(o, np.full(4, 280.0), PLAIN)
    assert new["station_id"].tolist() == ["10002"]
    assert len(innovations(o, np.full(4, np.nan), PLAIN)) == 0
    assert len(innovations(o, np.full(4, 280.0), BiasConfig(variables=("msl",)))) == 0


def test_parts_of_the_day_and_levels_are_apart() -> None:
    config = PLAIN.model_copy(update={"hours": np.timedelta64(6 * 3600, "s")})
    both = Observations.concat([at(0, [285.0]), at(0.5, [279.0])])  # noon and midnight
    table = learn(None, innovations(both, np.full(2, 280.0), config), config)
    new = Observations.concat([at(20, [280.0]), at(20.5, [280.0]), at(20.25, [280.0]), at(20 + 2.9 / 24, [280.0])])
    assert of(table, new, config) == [pytest.approx(5.0), pytest.approx(-1.0), 0.0, pytest.approx(5.0)]
    upper = {"variable": "t", "level_type": "pressure"}
    t = PLAIN.model_copy(update={"variables": ("t",)})
    table = learn(None, innovations(at(0, [282.0], level=[850.0], **upper), np.array([280.0]), t), t)
    levels = at(20, [280.0] * 3, level=[840.0, 500.0, np.nan], station_id=["10000"] * 3, **upper)
    assert of(table, levels, t) == [pytest.approx(2.0), 0.0, 0.0]


def test_a_new_station_is_guessed_from_its_height() -> None:
    """Twelve stations with bias 1 - 0.006 h; no line reaches further than its stations."""
    config = PLAIN.model_copy(update={"height": True})
    h = np.linspace(0, 1100, 12)
    o = at(0, (280.0 + 1.0 - 0.006 * h).tolist(), elevation=h)
    table = learn(None, innovations(o, np.full(12, 280.0), config), config)
    new = at(20, [280.0] * 4, station_id=["A", "B", "C", "D"], elevation=[0.0, 500.0, 3000.0, np.nan])
    assert of(table, new, config) == [pytest.approx(1.0), pytest.approx(-2.0), pytest.approx(1.0 - 6.6), 0.0]
    assert of(table, new, PLAIN) == [0.0] * 4
    assert of(table, at(20, [280.0], variable="msl"), config) == [0.0]


def test_an_outlier_teaches_nothing() -> None:
    value = [281.0, 281.1, 280.9, 281.2, 280.8, 281.0, 281.1, 280.9, 281.0, 330.0]
    o = at(0, value, station_id=["10000"] * 10)
    table = learn(None, innovations(o, np.full(10, 280.0), PLAIN), PLAIN)
    assert of(table, at(20, [280.0])) == [pytest.approx(1.0)]


def test_no_rows() -> None:
    nothing = learn(None, innovations(Observations.empty(), np.zeros(0), PLAIN), PLAIN)
    assert len(nothing) == 0 and of(nothing, at(0, [280.0])) == [0.0]
    empty: Array = estimate(nothing, Observations.empty(), NOON, PLAIN)
    assert empty.shape == (0,)
    after = learn(nothing, innovations(at(0, [283.0]), np.array([280.0]), PLAIN), PLAIN)
    assert of(after, at(20, [280.0])) == [pytest.approx(3.0)]
    table = learn(None, innovations(at(0, [283.0]), np.array([280.0]), PLAIN), PLAIN)
    assert learn(table, innovations(Observations.empty(), np.zeros(0), PLAIN), PLAIN) is table
