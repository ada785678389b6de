"""The stage from end to end, on small analyses around a made-up truth, written with the store's own writers."""

import json
import shutil
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scores import continuous
from scores.probability import crps_for_ensemble

from stormda import config as configuration
from stormda.config import Config, GriddedSource
from stormda.errors import InputError, InputMissing
from stormda.grid import Grid
from stormda.observations import QC, Observations
from stormda.pipeline.layout import analysis_folder, forecast_folder
from stormda.pipeline.verify import VerifyResult, verify
from stormda.store.analysis import write_analysis
from stormda.store.feedback import write_feedback
from stormda.types import Array
from stormda.variables import Channel

WriteRun = Callable[..., Config]

GRID = Grid.regular(np.linspace(55.0, 30.0, 6), np.linspace(-15.0, 15.0, 7))
CHANNELS = (Channel("msl"), Channel("t", 850.0))
SD = np.array([300.0, 2.0])[:, None, None]
CENTRE = np.array([101325.0, 275.0])[:, None, None]
START = np.datetime64("2019-02-17T12", "s")
MEMBERS, STATIONS = 8, 30


def cycle_times(count: int) -> list[np.datetime64]:
    """Twelve hours apart."""
    return [START + np.timedelta64(12 * k, "h") for k in range(count)]


def truth_of(cycle: np.datetime64) -> Array:
    """[C, H, W], a pure function of the time."""
    rng = np.random.default_rng(int(cycle.astype(np.int64)))
    return np.asarray(CENTRE + SD * rng.normal(size=(len(CHANNELS), *GRID.shape)))


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    """Writes analyses of some cycles and splits whose error is half of the background's; returns the configuration."""

    def write(cycles: int = 2, splits: int = 1, **verify: object) -> Config:
        base = {
            "channels": ["msl", "t850"],
            "run_dir": str(tmp_path / "run"),
            "quality": {"withhold": {"fraction": 0.3, "seeds": list(range(splits))}},
            "verify": verify,
        }
        config = configuration.load(None, base=base)
        for cycle in cycle_times(cycles):
            for split in range(splits):
                _write_analysis(config, cycle, split)
        return config

    return write


def _write_analysis(config: Config, cycle: np.datetime64, split: int) -> None:
    rng = np.random.default_rng([int(cycle.astype(np.int64)), split])
    folder = analysis_folder(config, "gaussian", cycle, split)
    truth, observations, at = truth_of(cycle), *_observations(rng, cycle)
    hx: dict[str, Array] = {}
    for name, error in (("background", 1.0), ("analysis", 0.5)):
        centre = truth + error * SD * rng.normal(size=truth.shape)
        members = centre + error * SD * rng.normal(size=(MEMBERS, *truth.shape))
        hx[name] = members[(slice(None), *at)]
        write_analysis(
            folder / f"{name}.nc", iter(members), count=MEMBERS, channels=CHANNELS, grid=GRID, time=cycle, attributes={}
        )
    exact = truth[at]
    value = exact + observations["error"] * rng.normal(size=len(exact))
    value[-1] += 50 * observations["error"][-1]
    observations = observations.replace(value=value).flag(np.arange(len(exact)) == len(exact) - 1, QC.BACKGROUND)
    write_feedback(folder / "feedback.nc", observations, hx["background"], hx["analysis"], {})


def _observations(rng: np.random.Generator, cycle: np.datetime64) -> tuple[Observations, tuple[Array, Array, Array]]:
    """Every station reports both channels at a grid point; a third is withheld."""
    row, column = rng.integers(GRID.shape[0], size=STATIONS), rng.integers(GRID.shape[1], size=STATIONS)
    at = (np.repeat([0, 1], STATIONS), np.tile(row, 2), np.tile(column, 2))
    station = np.array([f"S{n:02d}" for n in range(STATIONS)], dtype=object)
    observations = Observations.of(
        {
            "report_id": np.tile(station, 2),
            "station_id": np.tile(station, 2),
            "platform": "synop",
            "source": "made-up",
            "variable": np.repeat(np.array(["msl", "t"], dtype=object), STATIONS),
            "level_type": np.repeat(np.array(["surface", "pressure"], dtype=object), STATIONS),
            "level": np.repeat([np.nan, 846.0], STATIONS),
            "time": np.full(2 * STATIONS, cycle),
            "latitude": GRID.latitude[at[1]],
            "longitude": GRID.longitude[at[2]],
            "value": np.zeros(2 * STATIONS),
            "error": np.repeat([60.0, 0.4], STATIONS),
            "withheld": np.tile(np.arange(STATIONS) % 3 == 0, 2),
        }
    )
    return observations, at


@pytest.fixture
def truth_file(tmp_path: Path) -> dict[str, object]:
    """Gridded truth of six cycles as a NetCDF file, and its section of the configuration."""
    times = cycle_times(6)
    fields = np.stack([truth_of(t) for t in times])
    dims = ("time", "latitude", "longitude")
    data = {
        "msl": (dims, fields[:, 0], {"units": "Pa"}),
        "t850": (dims, fields[:, 1], {"units": "K"}),
    }
    coordinates = {
        "time": np.array(times).astype("datetime64[ns]"),
        "latitude": ("latitude", GRID.latitude, {"units": "degrees_north"}),
        "longitude": ("longitude", GRID.longitude, {"units": "degrees_east"}),
    }
    xr.Dataset(data, coordinates).to_netcdf(tmp_path / "truth.nc", engine="netcdf4")
    return {"files": [str(tmp_path / "truth.nc")], "variables": {"msl": "msl", "t850": "t850"}}


class _Page(HTMLParser):
    """Counts pictures and remembers their texts and addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[dict[str, str | None]] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "img":
            self.images.append(attributes)
        self.links += [v for k, v in attrs if k in ("src", "href") and v]


def _values(result: VerifyResult, target: str, variable: str) -> tuple[float, float]:
    row = next(r for r in result.rows if (r.target, r.variable) == (target, variable))
    assert row.background is not None and row.analysis is not None
    before, after = (s.scores["rmse"].value for s in (row.background, row.analysis))
    assert before is not None and after is not None
    return before, after


def test_scores_report_and_table(write_run: WriteRun, truth_file: dict[str, object]) -> None:
    config = write_run(cycles=6, splits=2, truth=truth_file, against=["truth", "withheld", "used"])
    result = verify(config)
    assert result.missing == () and result.members == 8 and len(result.cycles) == 6 and result.splits == (0, 1)
    assert [(r.target, r.variable) for r in result.rows] == [
        (target, v) for target in ("withheld", "truth", "used") for v in ("msl", "t850")
    ]
    # Errors of centre and mean of 8 members: sd sqrt(1 + 1/8) times 300 Pa, half of it after analysis; with 504 values
    # of the grid the relative standard error is 1/sqrt(2 x 504) = 3 %, taken four times.
    before, after = _values(result, "truth", "msl")
    assert before == pytest.approx(300 * np.sqrt(1 + 1 / 8), rel=0.13)
    assert after == pytest.approx(150 * np.sqrt(1 + 1 / 8), rel=0.13)
    row = next(r for r in result.rows if r.target == "truth")
    assert row.analysis is not None and row.interval == "cycles"
    assert row.analysis.scores["spread_skill"].value == pytest.approx(1.0, abs=0.15)
    title, columns, rows = result.table()
    assert len(rows) == 6 and all(len(r) == len(columns) for r in rows) and "6 cycles" in title

    scores, page, cycle = map(Path, result.files)
    stored = json.loads(scores.read_text())
    assert stored["scores"]["rows"][0]["analysis"]["scores"]["rmse"]["value"] == pytest.approx(
        _values(result, "withheld", "msl")[1]
    )
    assert len(stored["by_cycle"]) == 6 * 2 * 3 * 2 * 2
    parsed = _Page(page.read_text())
    # Two channels with eight maps; of each against two targets a rank histogram, a series and hours; maps of the bias
    # and the RMSE of stations; departures and spectra, two each; and the events that happened, but not always.
    events = {(e.target, e.variable, e.threshold) for e in result.more.events if 0 < (e.frequency or 0) < 1}
    shown = len([e for e in events if e[0] != "used"])
    assert shown >= 2 and len(parsed.images) == 2 * 8 + 4 + 4 + 4 + 4 + 2 + 2 + shown
    assert all(image["alt"] and len(str(image["alt"])) > 20 for image in parsed.images)
    assert all(link.startswith(("data:", "#")) for link in parsed.links)  # nothing is fetched
    assert cycle.parent == analysis_folder(config, "gaussian", cycle_times(6)[-1], 0)
    # Two channels with eight maps, one source, departures of two variables, four rank histograms.
    assert len(_Page(cycle.read_text()).images) == 16 + 1 + 2 + 4


def test_a_missing_and_a_broken_file_cost_only_their_part(write_run: WriteRun, truth_file: dict[str, object]) -> None:
    config = write_run(cycles=3, truth=truth_file)
    first, second, _ = (analysis_folder(config, "gaussian", c, 0) for c in cycle_times(3))
    (first / "background.nc").unlink()
    (second / "feedback.nc").write_bytes(b"\x89HDF truncated")
    result = verify(config)
    assert len(result.missing) == 3 and str(first / "background.nc") in result.missing[0]
    assert "truncated" in result.missing[1]
    uneven = "msl, t850: against the truth the background is missing at 1 time, which is left out"
    assert result.missing[2] == uneven  # so the two columns of the table are of the same times
    truth = next(r for r in result.rows if r.target == "truth")
    assert truth.n == 2 * 42 and truth.cycles == 2 and truth.improvement is not None
    assert next(r for r in result.rows if r.target == "withheld").n == 2 * 10
    assert "background.nc" in Path(result.files[1]).read_text()


def test_what_has_no_other_side_at_any_time_is_scored_alone(write_run: WriteRun, truth_file: dict[str, object]) -> None:
    config = write_run(cycles=2, truth=truth_file, against=["truth"], report=False)
    for cycle in cycle_times(2):
        (analysis_folder(config, "gaussian", cycle, 0) / "background.nc").unlink()
    assert all(row.background is None and row.n == 2 * 42 for row in verify(config).rows)


def test_what_was_scored_before_a_file_was_damaged_stays(write_run: WriteRun, truth_file: dict[str, object]) -> None:
    config = write_run(cycles=2, truth=truth_file, report=False)
    first = verify(config)
    file = analysis_folder(config, "gaussian", cycle_times(2)[1], 0) / "background.nc"
    whole = file.read_bytes()
    file.write_bytes(b"\x89HDF truncated")
    for _ in range(2):
        damaged = verify(config)
        assert damaged.rows == first.rows and any("background.nc" in line for line in damaged.missing)
    file.write_bytes(whole)
    assert verify(config).missing == ()


def test_a_damaged_newest_analysis_is_told_of_once(
    write_run: WriteRun, truth_file: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    config = write_run(cycles=2, truth=truth_file)
    (analysis_folder(config, "gaussian", cycle_times(2)[1], 0) / "analysis.nc").write_bytes(b"\x89HDF truncated")
    with caplog.at_level("WARNING"):
        verify(config)
    assert len([r for r in caplog.records if "analysis.nc" in r.getMessage()]) == 1


def test_withheld_observations_alone(write_run: WriteRun) -> None:
    config = write_run(cycles=1, against=["withheld"])
    result = verify(config)
    assert {r.target for r in result.rows} == {"withheld"} and result.missing == ()
    assert result.rows[0].interval == "stations"  # one cycle
    assert result.rows[0].n == 10


def test_without_a_report(write_run: WriteRun) -> None:
    result = verify(write_run(cycles=1, against=["withheld"], report=False))
    assert [Path(f).name for f in result.files] == ["scores.json"]


def test_a_cycle_without_truth_is_told(write_run: WriteRun) -> None:
    result = verify(write_run(cycles=1, report=False))  # neither verify.truth nor an archive
    assert any("no gridded truth at 1 of 1 cycles" in line for line in result.missing)
    assert {r.target for r in result.rows} == {"withheld"}


def test_a_truth_that_is_not_there_costs_only_its_part(write_run: WriteRun, tmp_path: Path) -> None:
    result = verify(write_run(cycles=1, report=False, truth={"files": [str(tmp_path / "absent.nc")]}))
    assert "absent.nc" in result.missing[0] and {r.target for r in result.rows} == {"withheld"}


def test_nothing_to_verify(write_run: WriteRun) -> None:
    config = write_run(cycles=1)
    with pytest.raises(InputMissing, match="no analysis of method gaussian at these cycles"):
        verify(config, [np.datetime64("2001-01-01T00", "s")])
    folder = analysis_folder(config, "gaussian", cycle_times(1)[0], 0)
    for file in folder.glob("*.nc"):
        file.unlink()
    with pytest.raises(InputError, match="nothing could be compared"):
        verify(config)


def test_an_absent_cycle_is_named_and_the_others_are_scored(write_run: WriteRun) -> None:
    config = write_run(cycles=2, against=["withheld"], report=False)
    wanted = [*cycle_times(2), np.datetime64("2001-01-01T00", "s")]
    result = verify(config, wanted)
    assert result.missing == ("no analysis 20010101T0000Z",) and len(result.cycles) == 2


def _forecast(config: Config, start: np.datetime64, leads: Sequence[int]) -> None:
    """Forecasts whose mean is the truth of their valid time plus 1 K (300 Pa for pressure) a 12 hours."""
    rng = np.random.default_rng(3)
    for lead in leads:
        time = start + np.timedelta64(lead, "h")
        centre = truth_of(time) + np.array([300.0, 1.0])[:, None, None] * lead / 12
        noise = rng.normal(size=(MEMBERS, *centre.shape))
        members = centre + SD * (noise - noise.mean(axis=0))
        write_analysis(
            forecast_folder(config, "gaussian", start, 0) / f"forecast_{lead:03d}h.nc",
            iter(members), count=MEMBERS, channels=CHANNELS, grid=GRID, time=time, attributes={},
        )  # fmt: skip


def _verifying(config: Config, **keys: object) -> Config:
    """The same run with other keys of `verify`."""
    return config.model_copy(update={"verify": config.verify.model_copy(update=keys)})


def test_forecasts_are_scored_when_they_are_valid(write_run: WriteRun, truth_file: dict[str, object]) -> None:
    config = write_run(cycles=3, truth=truth_file, report=False)
    _forecast(config, START, (12, 24, 36))
    result = verify(config)
    assert result.missing == () and len(result.cycles) == 4  # at the last one there is only the forecast
    found = {(line.target, line.variable, line.lead): line for line in result.more.by_lead if line.side == "forecast"}
    assert {lead for _, _, lead in found} == {12.0, 24.0, 36.0}
    for lead in (12.0, 24.0, 36.0):
        # The mean of the members is what was written, to the 4-byte floats of the files: 275 K * 2^-24 = 2e-5.
        assert found["truth", "t850", lead].scores["bias"].value == pytest.approx(lead / 12, abs=1e-4)
    # Stations are at grid points and report at that time; 10 of them, of 60 Pa: 60 / sqrt(10) = 19 Pa, four times.
    assert found["withheld", "msl", 24.0].scores["bias"].value == pytest.approx(600.0, abs=76)
    assert ("withheld", "msl", 36.0) not in found  # nothing was observed there
    assert any("+24 h" in row[0] for row in result.table()[2])
    assert {b.kind for b in result.more.balance} == {"shock msl", "shock t850"}
    chosen = verify(_verifying(config, leads=(np.timedelta64(24 * 3600, "s"),)))
    assert {line.lead for line in chosen.more.by_lead if line.side == "forecast"} == {24.0}
    far = verify(_verifying(config, leads=(np.timedelta64(36 * 3600, "s"),)))
    assert {line.lead for line in far.more.by_lead if line.side == "forecast"} == {36.0}
    assert {b.kind for b in far.more.balance} == {"shock msl", "shock t850"}  # of the first two steps all the same


def test_a_forecast_that_is_broken_costs_only_its_part(write_run: WriteRun, truth_file: dict[str, object]) -> None:
    config = write_run(cycles=2, truth=truth_file, report=False)
    _forecast(config, START, (12, 24))
    folder = forecast_folder(config, "gaussian", START, 0)
    (folder / "forecast_012h.nc").write_bytes(b"\x89HDF truncated")
    (folder / "forecast_024h.nc").rename(folder / "forecast_018h.nc")
    result = verify(config)
    assert [r.target for r in result.rows] == ["withheld"] * 2 + ["truth"] * 2 and result.more.by_lead == ()
    assert any("forecast_012h.nc" in line for line in result.missing)
    assert any("is valid at 2019-02-18T12:00Z, not as its name says" in line for line in result.missing)


def test_a_period_from_daily_files_is_one_run_over_it(write_run: WriteRun, truth_file: dict[str, object]) -> None:
    config = write_run(cycles=6, splits=2, truth=truth_file, report=False, against=["truth", "withheld", "used"])
    root = config.run / "verification" / "gaussian"
    for day in range(3):  # each day by itself, as a process of its own would
        verify(config, cycle_times(6)[2 * day : 2 * day + 2])
    written = {f.name: f.stat().st_mtime_ns for f in (root / "statistics").iterdir()}
    assert len(written) == 12
    merged = verify(config)
    assert {f.name: f.stat().st_mtime_ns for f in (root / "statistics").iterdir()} == written  # nothing was made twice
    again = verify(_verifying(config, reuse=False))
    assert again.rows == merged.rows and again.more == merged.more  # the same sums in the same order: every digit


def test_a_period_is_all_its_values_in_one_piece(write_run: WriteRun, truth_file: dict[str, object]) -> None:
    config = write_run(cycles=6, splits=2, truth=truth_file, report=False)
    row = next(r for r in verify(config).rows if (r.target, r.variable) == ("truth", "t850"))
    assert row.analysis is not None
    members, truth = [], []
    for cycle in cycle_times(6):
        for split in range(2):
            with xr.open_dataset(analysis_folder(config, "gaussian", cycle, split) / "analysis.nc") as file:
                members.append(file["t850"].to_numpy().astype(float))
            truth.append(truth_of(cycle)[1].astype(np.float32).astype(float))  # as fields are read
    weights = np.broadcast_to(GRID.weights, (12, *GRID.shape))
    w, m, y = (
        xr.DataArray(v, dims=tuple(d)) for v, d in ((weights, "tyx"), (np.stack(members, 1), "mtyx"), (truth, "tyx"))
    )
    error = float(continuous.rmse(m.mean("m"), y, weights=w))
    spread = np.sqrt(np.average((1 + 1 / MEMBERS) * m.var("m", ddof=1).to_numpy(), weights=weights))
    # Sums of 504 numbers in another order, of differences of numbers near 275 K: 275 * 2^-53 * 504 = 2e-11 at most.
    assert row.analysis.scores["rmse"].value == pytest.approx(error, rel=1e-10)
    assert row.analysis.scores["bias"].value == pytest.approx(float(((m.mean("m") - y) * w).mean()), rel=1e-9)
    whole = float(crps_for_ensemble(m, y, "m", method="fair", weights=w))
    assert row.analysis.scores["crps"].value == pytest.approx(whole, rel=1e-10)
    assert row.analysis.scores["spread_skill"].value == pytest.approx(spread / error, rel=1e-10)


def test_one_cycle_overwrites_nothing(write_run: WriteRun, truth_file: dict[str, object]) -> None:
    config = write_run(cycles=3, truth=truth_file, report=False)
    whole = Path(verify(config).files[0])
    before = whole.read_bytes()
    (one,) = verify(config, cycle_times(3)[:1]).files
    assert Path(one) == whole.parent / "20190217T1200Z" / "scores.json"
    (two,) = verify(config, cycle_times(3)[:2]).files
    assert Path(two).parent.name == "20190217T1200Z--20190218T0000Z" and whole.read_bytes() == before


def test_statistics_outlive_their_analysis_and_follow_its_changes(
    write_run: WriteRun, truth_file: dict[str, object]
) -> None:
    config = write_run(cycles=3, truth=truth_file, report=False)
    first = verify(config)
    shutil.rmtree(analysis_folder(config, "gaussian", cycle_times(3)[0], 0))  # what retention does
    assert verify(config).rows == first.rows
    folder = analysis_folder(config, "gaussian", cycle_times(3)[1], 0)
    shutil.copy(folder / "background.nc", folder / "analysis.nc")  # another analysis
    changed = verify(config)
    assert _values(changed, "truth", "t850")[1] > _values(first, "truth", "t850")[1]
    assert any("made with other settings" in line for line in verify(_verifying(config, scales=(1,))).missing)


def test_what_comes_late_is_scored_then(write_run: WriteRun, truth_file: dict[str, object]) -> None:
    config = write_run(cycles=2, report=False)
    assert {r.target for r in verify(config).rows} == {"withheld"}
    late = _verifying(config, truth=GriddedSource.model_validate(truth_file))
    assert {r.target for r in verify(late).rows} == {"withheld", "truth"}


def test_a_truth_that_comes_late_is_used_also_where_there_is_only_a_forecast(
    write_run: WriteRun, truth_file: dict[str, object], tmp_path: Path
) -> None:
    there = Path(str(truth_file["files"][0]))  # type: ignore[index]
    with xr.open_dataset(there) as whole:
        whole.load().isel(time=slice(0, 2)).to_netcdf(tmp_path / "early.nc", engine="netcdf4")
    complete = there.read_bytes()
    shutil.copy(tmp_path / "early.nc", there)
    config = write_run(cycles=2, truth=truth_file, report=False, against=["truth"])
    _forecast(config, START, (12, 36))
    early = verify(config)
    assert {line.lead for line in early.more.by_lead} == {0.0, 12.0} and early.missing == ()
    there.write_bytes(complete)
    assert {line.lead for line in verify(config).more.by_lead} == {0.0, 12.0, 36.0}


def test_a_damaged_statistics_file_is_made_again(write_run: WriteRun, truth_file: dict[str, object]) -> None:
    config = write_run(cycles=2, truth=truth_file, report=False)
    first = verify(config)
    file = next((config.run / "verification" / "gaussian" / "statistics").iterdir())
    file.write_bytes(file.read_bytes()[:100])
    result = verify(config)
    assert result.rows == first.rows and any(file.name in line for line in result.missing)
    assert verify(config).missing == ()


def test_a_region_is_scored_beside_the_whole(write_run: WriteRun, truth_file: dict[str, object]) -> None:
    regions = {"south": {"latitude": [25, 42]}}
    result = verify(write_run(cycles=1, truth=truth_file, report=False, regions=regions, variables=["msl"]))
    lines = {(line.target, line.region): line.n for line in result.more.by_region if line.side == "analysis"}
    assert lines["truth", "all"] == 42 and lines["truth", "south"] == 21 and 0 < lines["withheld", "south"] < 10
    assert {r.variable for r in result.rows} == {"msl"}


def test_a_variable_stands_for_all_of_its_levels(write_run: WriteRun, truth_file: dict[str, object]) -> None:
    config = write_run(cycles=2, truth=truth_file, report=False, variables=["t"])
    assert {(r.target, r.variable) for r in verify(config).rows} == {("withheld", "t850"), ("truth", "t850")}
    again = verify(config)  # from the statistics files
    assert {r.variable for r in again.rows} == {"t850"} and again.missing == ()
