"""Checks along the series of one station: what stays too long, what jumps and comes back, what comes twice."""

import numpy as np
import pytest
from station_reports import HOUR, NOON, reports, series

from stormda.config import CheckConfig
from stormda.errors import ConfigError
from stormda.observations import QC, Observations
from stormda.quality.static import reach, run_static

STUCK, SPIKE = CheckConfig(check="stuck"), CheckConfig(check="spike")


def codes(observations: Observations, *checks: CheckConfig) -> list[int]:
    return [int(c) for c in run_static(observations, checks)["qc"]]


def test_what_stays_for_a_day_is_stuck() -> None:
    assert codes(series([280.0] + [281.3] * 25 + [282.0]), STUCK) == [0] + [7] * 25 + [0]
    assert codes(series([281.3] * 24), STUCK) == [0] * 24  # 23 hours


def test_a_run_needs_six_values_and_the_time_that_is_asked_for() -> None:
    assert codes(series([281.3] * 5, hours=6.0), STUCK) == [0] * 5  # 24 hours, five values
    assert codes(series([281.3] * 7), CheckConfig(check="stuck", span=6 * HOUR)) == [7] * 7


def test_calm_dry_and_saturated_air_may_last() -> None:
    for variable, value in (("ws10", 0.0), ("tp", 0.0), ("rh2m", 1.0)):
        assert codes(series([value] * 30, variable=variable), STUCK) == [0] * 30
    assert codes(series([0.83] * 30, variable="rh2m"), STUCK) == [7] * 30


def test_stations_and_sources_do_not_mix() -> None:
    two = Observations.concat([series([281.3] * 15), series([281.3] * 15, station="10001")])
    assert codes(two, CheckConfig(check="stuck", span=20 * HOUR)) == [0] * 30


def test_order_of_rows_does_not_matter() -> None:
    o = series([280.0, 281.0, 310.0, 282.0, *[282.5] * 26])
    order = np.random.default_rng(0).permutation(len(o))
    there = run_static(o, [SPIKE, STUCK])["qc"]
    assert (run_static(o.take(order), [SPIKE, STUCK])["qc"] == there[order]).all()
    assert there.tolist() == [0, 0, 8, 0] + [7] * 26


def test_a_spike_comes_back_and_a_front_does_not() -> None:
    assert codes(series([280.0, 281.0, 292.0, 281.5, 281.0]), SPIKE) == [0, 0, 8, 0, 0]
    assert codes(series([280.0, 281.0, 271.0, 270.5, 270.0]), SPIKE) == [0] * 5
    assert codes(series([280.0, 281.0, 288.0, 281.5]), SPIKE) == [0] * 4  # 6.5 K are no more than 8
    assert codes(series([280.0, 281.0, 288.0, 281.5]), CheckConfig(check="spike", steps={"t2m": 6.0})) == [0, 0, 8, 0]


def test_the_last_value_and_one_after_a_gap_are_no_spikes() -> None:
    assert codes(series([280.0, 281.0, 310.0]), SPIKE) == [0] * 3
    assert codes(series([280.0, 310.0, 281.0], hours=4.0), SPIKE) == [0] * 3
    assert codes(series([280.0, 310.0, 281.0], hours=4.0), CheckConfig(check="spike", span=5 * HOUR)) == [0, 8, 0]


def test_a_value_that_is_flagged_already_is_no_neighbour() -> None:
    o = series([280.0, 400.0, 281.0, 295.0, 281.0])  # 400 K is out of range: 281 K beside it is no spike downwards
    assert codes(o, CheckConfig(check="range"), SPIKE) == [0, 3, 0, 8, 0]


def test_reach_is_what_the_longest_check_looks_back() -> None:
    assert reach([CheckConfig(check="range")]) is None
    assert reach([CheckConfig(check="duplicates"), SPIKE]) == 3 * HOUR
    assert reach([CheckConfig(check="stuck", span=48 * HOUR), SPIKE]) == 48 * HOUR


def copies(sources: list[str], minutes: list[int], **more: object) -> Observations:
    times = NOON - np.array(minutes).astype("timedelta64[m]")
    return reports(source=sources, station_id=["KJFK"] * len(sources), time=times, **more)


def test_one_report_of_three_sources_is_used_once_from_the_best() -> None:
    o = copies(["isd", "madis", "metar"], [0, 9, 9])
    both = CheckConfig(check="duplicates", span=np.timedelta64(10, "m"), prefer=("metar", "madis"))
    assert codes_dynamic(o, both) == [4, 4, 0]
    assert codes_dynamic(o, CheckConfig(check="duplicates", prefer=("metar",))) == [0, 4, 0]  # the same time alone
    assert codes_dynamic(o, CheckConfig(check="duplicates", span=np.timedelta64(10, "m"))) == [0, 4, 4]


def codes_dynamic(o: Observations, check: CheckConfig) -> list[int]:
    from stormda.quality.dynamic import run_dynamic

    return [int(c) for c in run_dynamic(o, [check], np.zeros((2, len(o))), None)["qc"]]


def test_a_source_that_reports_every_minute_repeats_nothing() -> None:
    o = copies(["awos"] * 4, [0, 1, 2, 3])
    assert codes(o, CheckConfig(check="duplicates", span=np.timedelta64(10, "m"))) == [0] * 4


def test_the_preferred_that_is_flagged_hides_no_good_one() -> None:
    o = copies(["metar", "isd"], [0, 0], value=[400.0, 280.0])
    prefer = CheckConfig(check="duplicates", prefer=("metar", "isd"))
    o = run_static(o, [CheckConfig(check="range")])
    assert codes_dynamic(o, prefer) == [3, 0]


def test_what_is_stored_cannot_be_taken_back() -> None:
    with pytest.raises(ConfigError, match="comes first") as error:
        run_static(Observations.empty(), [CheckConfig(check="duplicates", prefer=("metar",))])
    assert error.value.key == "quality.static.0.prefer"


def test_duplicates_against_pairs_one_by_one() -> None:
    """The same as comparing every pair in the order of preference."""
    rng = np.random.default_rng(3)
    n, span = 60, 10
    source, minute, station = rng.integers(0, 3, n), rng.integers(0, 40, n), rng.integers(0, 3, n)
    o = reports(
        source=[f"s{k}" for k in source],
        station_id=[f"{k:05d}" for k in station],
        time=NOON + minute.astype("timedelta64[m]"),
    )
    check = CheckConfig(check="duplicates", span=np.timedelta64(span, "m"), prefer=("s2", "s0"))
    rank = np.array([1, 2, 0])[source]
    order = np.argsort(rank, kind="stable")
    same_time_first: dict[tuple[int, int], int] = {}
    gone = np.zeros(n, dtype=bool)
    for i in order:  # an exact repetition first, whatever the source
        gone[i] = (station[i], minute[i]) in same_time_first
        same_time_first.setdefault((station[i], minute[i]), i)
    kept: list[int] = []
    for i in order[~gone[order]]:
        near = any(
            station[j] == station[i] and source[j] != source[i] and abs(minute[j] - minute[i]) <= span for j in kept
        )
        gone[i] |= near
        if not near:
            kept.append(int(i))
    assert (np.array(codes_dynamic(o, check)) == np.where(gone, QC.DUPLICATE, 0)).all()
