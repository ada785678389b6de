"""The statistics file keeps every digit; what is not one is told."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stormda.errors import InputError
from stormda.grid import Grid
from stormda.observations import Observations
from stormda.variables import Channel
from stormda.verification.compare import (
    Part,
    Scoring,
    against_observations,
    against_truth,
    innovations,
    power_spectra,
)
from stormda.verification.regions import Region
from stormda.verification.statistics import Record, read_record, write_record
from stormda.verification.summary import overview, summarise
from stormda.verification.tally import Tally

GRID = Grid.regular(np.linspace(60.0, 40.0, 5), np.linspace(-10.0, 10.0, 6))
CYCLE = np.datetime64("2020-01-01T00", "s")
CHANNELS = (Channel("t2m"),)
SCORING = Scoring(thresholds={"t2m": (280.0,)}, scales=(1, 3), regions={"north": Region((50.0, 90.0))})
M, N = 6, 24


def parts_of(cycle: np.datetime64) -> list[Part]:
    """Everything that can be scored: truth, observations, innovations, spectra, a forecast."""
    rng = np.random.default_rng(int(cycle.astype(np.int64)) % 2**31)
    truth = 280 + 3 * rng.normal(size=GRID.shape)
    members = truth + rng.normal(size=(M, 1, *GRID.shape))
    observations = Observations.of(
        {
            "report_id": "r",
            "station_id": np.array([f"S{n % 7}" for n in range(N)], dtype=object),
            "platform": "synop",
            "source": np.array([f"net{n % 2}" for n in range(N)], dtype=object),
            "variable": "t2m",
            "time": np.full(N, cycle),
            "latitude": 40 + 20 * rng.random(N),
            "longitude": -10 + 20 * rng.random(N),
            "value": 280 + 3 * rng.normal(size=N),
            "error": np.full(N, 1.0),
            "withheld": np.arange(N) % 3 == 0,
        }
    )
    hx = observations["value"] + rng.normal(size=(M, N))
    parts: list[Part] = []
    lead = np.timedelta64(6, "h")
    climatology = {"t2m": np.full(GRID.shape, 280.0)}
    for side, ahead in (("background", 0), ("analysis", 0), ("forecast", 1)):
        field = side, members, CHANNELS, GRID, {"t2m": truth}, cycle, 0
        parts += against_truth(*field, scoring=SCORING, climatology=climatology, lead=lead * ahead)
        parts += power_spectra(*field, scoring=SCORING, lead=lead * ahead)
        for target in ("withheld", "used"):
            parts += against_observations(
                target, side, hx, observations, CHANNELS, cycle, 0, scoring=SCORING, lead=lead * ahead
            )
    return parts + innovations(
        hx, 0.5 * (hx + observations["value"]), observations, CHANNELS, cycle, 0, scoring=SCORING
    )


def test_a_file_keeps_every_digit(tmp_path: Path) -> None:
    record = Record(CYCLE, 0, tuple(parts_of(CYCLE)), ("no gridded truth at noon",), "settings:files")
    write_record(tmp_path / "a.parquet", record)
    found = read_record(tmp_path / "a.parquet")
    assert (found.cycle, found.split, found.missing, found.fingerprint) == (CYCLE, 0, record.missing, "settings:files")
    assert len(found.parts) == len(record.parts) > 20
    for own, other in zip(record.parts, found.parts, strict=True):
        for name in ("target", "variable", "unit", "side", "cycle", "split", "members", "lead", "region", "source"):
            assert getattr(own, name) == getattr(other, name)
        assert list(own.stations) == list(other.stations)
        assert np.array_equal(own.sums.count, other.sums.count) and np.array_equal(own.sums.weight, other.sums.weight)
        assert set(own.sums.totals) == set(other.sums.totals)
        for name, total in own.sums.totals.items():
            assert total.shape == other.sums.totals[name].shape and np.array_equal(total, other.sums.totals[name])


def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    write_record(tmp_path / "a.parquet", Record(CYCLE, 3, (), ("nothing",), "a:b"))
    assert read_record(tmp_path / "a.parquet").parts == () and read_record(tmp_path / "a.parquet").split == 3


def test_a_damaged_file_and_another_one_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_record(path, Record(CYCLE, 0, tuple(parts_of(CYCLE)), (), "a:b"))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="cannot be read"):
        read_record(path)
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(InputError, match="not a statistics file"):
        read_record(path)


def test_a_period_is_the_sum_of_its_files_however_they_were_made(tmp_path: Path) -> None:
    times = [CYCLE + np.timedelta64(12 * k, "h") for k in range(8)]
    made = [parts_of(t) for t in times]
    whole, merged = Tally.of(p for parts in made for p in parts), Tally()
    for time, parts in zip(times, made, strict=True):
        write_record(tmp_path / f"{time}.parquet", Record(time, 0, tuple(parts), (), "a:b"))
    for time in times:
        merged.add(read_record(tmp_path / f"{time}.parquet").parts)
    # The same numbers added in the same order: equal to the last digit, intervals too.
    assert overview(merged) == overview(whole) and summarise(merged) == summarise(whole)


def test_a_summary_is_divided_by_all_that_it_should_be() -> None:
    times = [CYCLE + np.timedelta64(12 * k, "h") for k in range(8)]
    summary = summarise(Tally.of(p for t in times for p in parts_of(t)))
    assert {(line.target, line.side, line.lead) for line in summary.by_lead} == {
        (t, s, h)
        for t in ("withheld", "truth", "used")
        for s, h in (("background", 0), ("analysis", 0), ("forecast", 6))
    }
    assert {line.region for line in summary.by_region} == {"all", "north"}
    assert {line.hour for line in summary.by_hour} == {0, 12}
    assert {line.station for line in summary.by_station} == {f"S{n}" for n in range(7)}
    assert all(40 < (line.latitude or 0) < 60 for line in summary.by_station)
    assert {(e.threshold, len(e.observed), len(e.hit)) for e in summary.events} == {(280.0, M + 1, M + 2)}
    assert {(f.width, f.threshold) for f in summary.fractions} == {(1, 280.0), (3, 280.0)}
    assert {i.source for i in summary.innovations} == {"net0", "net1"} and sum(
        i.n for i in summary.innovations
    ) == 8 * 16
    assert {len(s.wavelength) for s in summary.spectra} == {4}
    line = next(line for line in summary.by_lead if line.target == "truth" and line.side == "analysis")
    assert line.scores["acc"].value is not None and line.scores["rmse"].low is not None
    # Hours divide the times: their squares, weighted by their numbers, are the whole.
    hours = [h for h in summary.by_hour if (h.target, h.side) == ("truth", "analysis")]
    squares = sum(h.n * (h.scores["rmse"].value or 0) ** 2 for h in hours) / sum(h.n for h in hours)
    assert squares == pytest.approx((line.scores["rmse"].value or 0) ** 2, rel=1e-12)  # sums of 8 numbers


def test_what_must_not_be_read_side_by_side_is_told() -> None:
    later = CYCLE + np.timedelta64(6, "h")
    parts = parts_of(CYCLE) + parts_of(later)
    assert Tally.of(parts).unlike() == []
    smaller = [replace(p, members=4) if p.cycle == later else p for p in parts]
    assert Tally.of(smaller).unlike() == ["ensembles of 4, 6 members: ranks and events are those of the largest"]
    once = [p for p in parts if not (p.side == "background" and p.target == "truth" and p.cycle == later)]
    told = "t2m: against the truth the background is scored 1 times, the analysis 2 times"
    assert Tally.of(once).unlike() == [told]
