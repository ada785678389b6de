"""The stage from end to end, on small analyses around a made-up truth, written with the store's own writers."""

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stormda import config as configuration
from stormda.config import Config
from stormda.errors import InputError, InputMissing
from stormda.grid import Grid
from stormda.observations import QC, Observations
from stormda.pipeline.layout import analysis_folder
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
    # Two channels with eight maps, four rank histograms, four series.
    assert len(parsed.images) == 2 * 8 + 4 + 4
    assert all(image["alt"] and len(str(image["alt"])) > 20 for image in parsed.images)
    assert all(link.startswith("data:") for link in parsed.links)  # nothing is fetched
    assert cycle.parent == analysis_folder(config, "gaussian", cycle_times(6)[-1], 0)
    assert len(_Page(cycle.read_text()).images) == 16


def test_a_missing_and_a_broken_file_cost_only_their_part(write_run: WriteRun, truth_file: dict[str, object]) -> None:
    config = write_run(cycles=3, truth=truth_file)
    first, second, _ = (analysis_folder(config, "gaussian", c, 0) for c in cycle_times(3))
    (first / "background.nc").unlink()
    (second / "feedback.nc").write_bytes(b"\x89HDF truncated")
    result = verify(config)
    assert len(result.missing) == 2 and str(first / "background.nc") in result.missing[0]
    assert "truncated" in result.missing[1]
    truth = next(r for r in result.rows if r.target == "truth")
    assert (
        truth.n == 3 * 42 and truth.improvement is None
    )  # the analysis was scored at all three, the background at two
    assert next(r for r in result.rows if r.target == "withheld").n == 2 * 10
    assert "background.nc" in Path(result.files[1]).read_text()


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
