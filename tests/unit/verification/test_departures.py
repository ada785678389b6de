"""Departures along time from sums are those of the observations themselves; coverage names every check."""

import numpy as np

from stormda.grid import Grid
from stormda.observations import QC, Observations
from stormda.time import parse_time
from stormda.verification.compare import Part, innovations
from stormda.verification.coverage import by_status, coverage_section, status_of
from stormda.verification.departures import departure_figure, departures_of, departures_section
from stormda.verification.plots import png
from stormda.verification.tally import Tally

START, STEP = parse_time("2020-01-01T00Z"), np.timedelta64(6 * 3600, "s")
M, N = 5, 40


def observations(cycle: np.datetime64, **columns: object) -> Observations:
    rng = np.random.default_rng(int(cycle.astype(np.int64)) % 9973)
    own = {
        "report_id": "r", "station_id": np.array([f"S{k}" for k in range(N)], dtype=object), "platform": "synop",
        "source": "net", "variable": "t2m", "time": np.full(N, cycle), "latitude": rng.uniform(40, 50, N),
        "longitude": rng.uniform(0, 10, N), "value": 280 + rng.normal(size=N), "error": rng.uniform(0.5, 2, N),
    }  # fmt: skip
    return Observations.of(own | columns)


def test_means_and_roots_are_those_of_the_observations() -> None:
    parts: list[Part] = []
    exact = []
    for k in range(4):
        cycle = START + k * STEP
        rng = np.random.default_rng(k)
        own = observations(cycle)
        before, after = own["value"] + rng.normal(0.3, 2, (M, N)), own["value"] + rng.normal(-0.1, 1, (M, N))
        parts += innovations(before, after, own, (), cycle, 0)
        o_b, o_a = own["value"] - before.mean(axis=0), own["value"] - after.mean(axis=0)
        expected = np.mean((1 + 1 / M) * before.var(axis=0, ddof=1)) + np.mean(own["error"] ** 2)
        exact.append([o_b.mean(), o_a.mean(), np.sqrt(np.mean(o_b**2)), np.sqrt(np.mean(o_a**2)), np.sqrt(expected)])
    (found,) = departures_of(Tally.of(parts))
    assert found.name == "t2m, net" and found.count.tolist() == [N] * 4
    series = np.stack([found.mean_ob, found.mean_oa, found.rms_ob, found.rms_oa, found.expected], axis=1)
    # Differences of sums of products of order 1: rounding of 1e-16 times 40 values, with room for the roots.
    np.testing.assert_allclose(series, exact, rtol=0, atol=1e-12)
    assert png(departure_figure(found)).startswith(b"\x89PNG")
    section = departures_section(Tally.of(parts))
    assert len(section.pictures) == 1 and section.tables[0].rows[0][:2] == ("net", "t2m [K]")
    one = departures_section(Tally.of(parts[:1]))  # a single time is a row, not a line
    assert one.pictures == () and len(one.tables[0].rows) == 1


def test_every_check_is_told_and_rare_ones_together() -> None:
    codes = [QC.USED] * 10 + [QC.BACKGROUND] * 8 + [QC.BUDDY] * 7 + [QC.RANGE] * 6 + [QC.THINNED] * 5
    codes += [QC.SPIKE, QC.STUCK, QC.STUCK, QC.OUTSIDE_GRID]
    own = observations(START, qc=np.array(codes, dtype=np.int32), withheld=np.arange(N) < 3)
    places = {name: len(latitude) for name, (latitude, _) in by_status(own).items()}
    assert places == {
        "used": 7, "withheld": 3, "background": 8, "buddy": 7, "range": 6, "thinned": 5, "other checks": 3
    }  # fmt: skip
    assert list(status_of(own)[[0, 9, 10, 39]]) == ["withheld", "used", "background", "outside grid"]
    section = coverage_section(Grid.regular(np.linspace(40, 50, 5), np.linspace(0, 10, 5)), own, "now")
    assert "7 used, 3 withheld, 29 rejected (background 8, buddy 7" in section.pictures[0].alt
    assert sum(int(row[3]) for row in section.tables[0].rows) == N  # those outside the grid are in the table
    assert ("net", "t2m", "not used: outside grid", "1") in section.tables[0].rows


def test_no_observation_is_no_fault() -> None:
    grid = Grid.regular(np.linspace(40, 50, 5), np.linspace(0, 10, 5))
    section = coverage_section(grid, Observations.empty(), "now")
    assert section.pictures == () and section.tables == () and "no observation" in section.text
