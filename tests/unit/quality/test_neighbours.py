"""Checks in space: buddies against an independent dense computation, isolation, thinning, climatology."""

import numpy as np
import pytest
from station_reports import NOON, reports

from stormda.config import CheckConfig
from stormda.observations import QC, Observations
from stormda.quality.climatology import Climate
from stormda.quality.dynamic import run_dynamic
from stormda.quality.places import positions
from stormda.types import Array

DEGREE = 6371.0 * np.pi / 180  # km


def network(n: int, seed: int, noise: float = 0.5) -> tuple[Observations, Array]:
    """Stations over 8 x 8 degrees with smooth departures of 2 K, and members of that size."""
    rng = np.random.default_rng(seed)
    latitude, longitude = rng.uniform(46, 54, n), rng.uniform(0, 8, n)
    k, phase = rng.normal(size=(31, 100, 2)) / 4.0, rng.uniform(0, 2 * np.pi, (31, 100, 1))
    fields = 2.0 * np.sqrt(0.02) * np.cos(k @ np.stack([latitude, longitude]) + phase).sum(axis=1)
    value = 280.0 + fields[0] + noise * rng.normal(size=n)
    o = reports(value=value, latitude=latitude, longitude=longitude, error=np.full(n, noise))
    return o, 280.0 + fields[1:]


def codes(o: Observations, background: Array, **options: object) -> Array:
    check = CheckConfig.model_validate({"check": "buddy"} | options)
    return run_dynamic(o, [check], background, None)["qc"]


def test_the_score_is_the_conditional_distribution_of_the_departure() -> None:
    """Twelve stations, all within the radius: the dense conditional mean and variance, from the inverse covariance.

    1/[C^-1]_ii is the variance and [C^-1 d]_i/[C^-1]_ii the deviation of d_i given all others: another formula than the
    one of the check. The value moves through its limit by a thousandth of a standard deviation. Errors of 2 K, as large
    as the spread, let no neighbour look worse than the one that is moved.
    """
    o, background = network(12, 0, noise=2.0)
    s = np.sqrt(background.var(axis=0, ddof=1) * (1 + 1 / 30))
    xyz = positions(o, 3000.0)
    distance = np.sqrt(((xyz[:, None] - xyz) ** 2).sum(axis=2)) / 1000.0  # in correlation lengths
    covariance = np.outer(s, s) * (1 + distance) * np.exp(-distance) + 4.0 * np.eye(12)
    precision = np.linalg.inv(covariance)
    d = o["value"] - background.mean(axis=0)
    others = (precision @ d - precision.diagonal() * d) / -precision.diagonal()  # the mean of d_i given the others
    for i in (0, 5, 11):
        for sign in (-1, 1):
            for limit, bad in ((5.001, True), (4.999, False)):
                moved = d.copy()
                moved[i] = others[i] + sign * limit / np.sqrt(precision[i, i])
                near = o.replace(value=background.mean(axis=0) + moved)
                flagged = codes(near, background, radius=3000.0, limit=5.0) == QC.BUDDY
                assert flagged[i] == bad and flagged.sum() == bad


def test_a_bad_value_does_not_take_its_neighbours_along() -> None:
    o, background = network(150, 1)
    value = o["value"].copy()
    bad = np.arange(0, 150, 12)
    value[bad] += 8.0  # K: within the limit of the background check, sqrt(4 + 0.25) 5 = 10 K
    o = o.replace(value=value)
    flagged = np.flatnonzero(codes(o, background) == QC.BUDDY)
    assert flagged.tolist() == bad.tolist()
    alone = run_dynamic(o, [CheckConfig(check="background", limit=5.0)], background, None)["qc"]
    assert (alone == QC.BACKGROUND).sum() < len(bad) / 2


def test_a_station_is_no_buddy_of_itself() -> None:
    """Ten equal reports of a broken station do not vouch for each other."""
    o, background = network(60, 2)
    again = o.take(np.zeros(10, dtype=int)).replace(value=np.full(10, o["value"][0] + 9.0))
    both = Observations.concat([o, again])
    hx = np.concatenate([background, background[:, [0] * 10]], axis=1)
    assert (np.flatnonzero(codes(both, hx)) >= 60).sum() == 10


def test_withheld_stations_are_judged_and_judge_nobody() -> None:
    o, background = network(150, 3)
    withheld = np.arange(150) % 3 == 0
    value = o["value"].copy()
    value[0] += 9.0
    plain = codes(o.replace(withheld=withheld), background)
    spoilt = codes(o.replace(withheld=withheld, value=value), background)
    assert spoilt[0] == QC.BUDDY
    assert (plain[1:] == spoilt[1:]).all()
    moved = np.where(withheld, o["value"] + 30.0, o["value"])  # all of them wrong: the others do not care
    assert (codes(o.replace(withheld=withheld, value=moved), background)[~withheld] == plain[~withheld]).all()


def test_too_few_buddies_leave_a_value_alone() -> None:
    o = reports(value=[280.0, 299.0], latitude=[50.0, 50.1])
    background = 280.0 + np.array([[-2.0, -2.0], [2.0, 2.0]])
    assert codes(o, background).tolist() == [0, 0]
    assert QC.BUDDY in codes(o, background, count=1)


def test_a_front_is_no_error() -> None:
    """A jump of 6 K between two halves of a network, of which the background knows nothing: three times its spread."""
    o, background = network(400, 4)
    front = np.where(o["longitude"] > 4.0, 3.0, -3.0)
    flagged = codes(o.replace(value=o["value"] + front), background) == QC.BUDDY
    # Near the front a station may have nobody on its side; 50 km away, where it has, nobody may be lost.
    away = np.abs(o["longitude"] - 4.0) * DEGREE * np.cos(np.deg2rad(50)) > 50.0
    assert not flagged[away].any() and flagged[~away].mean() < 0.25


def published_buddy(d: Array, place: Array, radius: float, threshold: float, least: float, rounds: int) -> Array:
    """The buddy check as titanlib publishes it: |d - mean| > threshold sd of the buddies (sd at least `least`)."""
    bad = np.zeros(len(d), dtype=bool)
    distance = np.sqrt(((place[:, None] - place) ** 2).sum(axis=2))
    for _ in range(rounds):
        was = bad.copy()
        for i in np.flatnonzero(~was):
            buddies = np.flatnonzero((distance[i] < radius) & ~was & (np.arange(len(d)) != i))
            if len(buddies) >= 5:
                sd = max(float(d[buddies].std()), least)
                bad[i] = abs(d[i] - d[buddies].mean()) > threshold * sd
        if (bad == was).all():
            break
    return bad


@pytest.mark.parametrize("seed", range(3))
def test_at_least_as_good_as_the_published_check(seed: int) -> None:
    rng = np.random.default_rng(seed)
    o, background = network(300, 10 + seed)
    gross = rng.uniform(size=300) < 0.05
    off = np.where(gross, rng.uniform(5, 25, 300) * rng.choice([-1, 1], 300), 0.0)  # 10 to 50 times the error of 0.5 K
    o = o.replace(value=o["value"] + off)
    d = o["value"] - background.mean(axis=0)
    theirs = published_buddy(d, positions(o, 600.0)[:, :3], 300.0, 3.0, 1.0, 5)
    ours = codes(o, background) == QC.BUDDY
    assert (ours & gross).sum() >= (theirs & gross).sum() and (ours & gross).sum() >= 0.95 * gross.sum()
    assert (ours & ~gross).sum() <= (theirs & ~gross).sum() and (ours & ~gross).sum() <= 0.01 * 300


def test_isolation_counts_other_stations() -> None:
    o = reports(latitude=[50.0, 50.5, 50.5, 40.0], station_id=["10000", "10001", "10001", "10002"])
    hx = np.zeros((2, 4))

    def alone(**options: object) -> list[int]:
        check = CheckConfig.model_validate({"check": "isolation", "radius": 100.0} | options)
        return [int(c) for c in run_dynamic(o, [check], hx, None)["qc"]]

    assert alone() == [0, 0, 0, 23]
    assert alone(count=2) == [23] * 4  # two reports of one station are one
    assert alone(radius=0.5 * DEGREE - 0.1) == [23] * 4
    assert alone(radius=0.5 * DEGREE + 0.1) == [0, 0, 0, 23]


def test_thinning_keeps_the_best_and_covers_the_rest() -> None:
    rng = np.random.default_rng(7)
    n, radius = 300, 80.0
    o = reports(latitude=rng.uniform(48, 52, n), longitude=rng.uniform(2, 8, n), error=rng.uniform(0.5, 1.5, n))
    qc = run_dynamic(o, [CheckConfig(check="thinning", radius=radius)], np.zeros((2, n)), None, time=NOON)["qc"]
    place = positions(o, radius)
    distance = np.sqrt(((place[:, None] - place) ** 2).sum(axis=2))
    kept = np.flatnonzero(qc == 0)
    assert (distance[np.ix_(kept, kept)][~np.eye(len(kept), dtype=bool)] > radius).all()
    for i in np.flatnonzero(qc == QC.THINNED):  # a better one nearby is the reason
        near = kept[distance[i, kept] <= radius]
        assert o["error"][near].min() <= o["error"][i]
    assert qc[o["error"].argmin()] == 0


def test_thinning_takes_the_nearest_in_time_and_leaves_the_withheld() -> None:
    times = NOON + np.array([-90, -5, 30]).astype("timedelta64[m]")
    o = reports(time=times)
    thin = CheckConfig(check="thinning")
    assert run_dynamic(o, [thin], np.zeros((2, 3)), None, time=NOON)["qc"].tolist() == [24, 0, 24]
    held = o.replace(withheld=np.array([False, True, False]))
    assert run_dynamic(held, [thin], np.zeros((2, 3)), None, time=NOON)["qc"].tolist() == [24, 0, 0]
    hour = CheckConfig(check="thinning", span=np.timedelta64(1, "h"))
    assert run_dynamic(o, [hour], np.zeros((2, 3)), None, time=NOON)["qc"].tolist() == [0, 0, 24]


def test_climatology_in_its_own_standard_deviations() -> None:
    # sqrt(3^2 + 4^2) = 5 K; six of them are 30 K.
    o = reports(value=[309.9, 310.1, 250.1, 249.9], error=[4.0] * 4)
    climate = Climate(np.full(4, 280.0), np.full(4, 3.0))
    check = CheckConfig(check="climatology")
    assert run_dynamic(o, [check], np.zeros((2, 4)), None, climate)["qc"].tolist() == [0, 21, 0, 21]
