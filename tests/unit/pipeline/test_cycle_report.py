"""The page of an analysis is made of what its folder holds: what is missing costs only its own part."""

from pathlib import Path

import numpy as np
import pytest

from stormda.config import Config, load
from stormda.grid import Grid
from stormda.observations import QC, Observations
from stormda.pipeline.cycle_report import write_report
from stormda.pipeline.cycle_stages import Work
from stormda.pipeline.layout import analysis_folder
from stormda.store.analysis import write_analysis
from stormda.store.feedback import write_feedback
from stormda.store.ledger import Ledger, ledger_path
from stormda.store.publish import write_json
from stormda.time import parse_time
from stormda.variables import Channel

GRID = Grid.regular(np.linspace(60.0, 40.0, 6), np.linspace(-10.0, 10.0, 7))
START, STEP = parse_time("2020-01-01T00Z"), np.timedelta64(6 * 3600, "s")
M, N = 4, 12


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A run of two analyses without withheld stations and without a truth."""
    config = load(None, [f"run_dir={tmp_path}", "verify.against=[withheld]"], {"channels": ["t2m"]})
    for k in range(2):
        cycle, rng = START + k * STEP, np.random.default_rng(k)
        folder = analysis_folder(config, "gaussian", cycle, 0)
        folder.mkdir(parents=True)
        for name in ("background", "analysis"):
            members = 280 + rng.normal(size=(M, 1, *GRID.shape))
            what = {"count": M, "channels": (Channel("t2m"),), "grid": GRID, "time": cycle, "attributes": {}}
            write_analysis(folder / f"{name}.nc", members, **what)  # type: ignore[arg-type]
        seen = Observations.of(
            {
                "report_id": "r", "station_id": np.array([f"S{n}" for n in range(N)], dtype=object), "error": 1.0,
                "platform": "synop", "source": "net", "variable": "t2m", "time": np.full(N, cycle),
                "latitude": np.linspace(42, 58, N), "longitude": np.linspace(-8, 8, N), "value": np.full(N, 280.0),
                "qc": np.where(np.arange(N) == 5, int(QC.BUDDY), 0),
            }
        )  # fmt: skip
        hx = rng.normal(280, 1, (2, M, N))
        write_feedback(folder / "feedback.nc", seen, hx[0], hx[1], {})
        seconds = {"background": 1.25, "posterior": 2.5}
        write_json(folder / "provenance.json", {"members": M, "product": "analysis", "seconds": seconds})
    return config


def page(config: Config) -> str:
    written = write_report(config, START + STEP, 0)
    assert written is not None
    return written.read_text()


def test_departures_come_from_feedback_where_nothing_was_scored(config: Config) -> None:
    text = page(config)
    assert "Departures of t2m, net, 2020-01-01T00:00Z to 2020-01-01T06:00Z" in text  # both analyses
    assert "11 used, 0 withheld, 1 rejected (buddy 1)" in text
    assert "analysis: posterior" in text and "2.50" in text
    assert "Not everything was there" not in text
    assert (config.run / "verification").exists() is False  # nothing else was written


@pytest.mark.parametrize("name", ["background.nc", "feedback.nc", "provenance.json"])
def test_what_is_missing_is_named(config: Config, name: str) -> None:
    (analysis_folder(config, "gaussian", START + STEP, 0) / name).unlink()
    text = page(config)
    assert "Not everything was there" in text and name in text and "Map of the analysis mean" in text


def test_a_damaged_ensemble_has_no_page(config: Config) -> None:
    (analysis_folder(config, "gaussian", START + STEP, 0) / "analysis.nc").write_bytes(b"\x89HDF cut")
    assert write_report(config, START + STEP, 0) is None


def test_a_background_in_the_place_of_an_analysis_is_told_first(config: Config) -> None:
    folder = analysis_folder(config, "gaussian", START + STEP, 0)
    write_json(folder / "provenance.json", {"product": "background", "product_reason": "it took too long"})
    assert "the background is in its place, because it took too long" in page(config)


def test_a_cycle_that_cannot_be_scored_has_its_page_and_the_stages_their_times(config: Config) -> None:
    with Ledger(ledger_path(config.run), "token") as ledger:
        ledger.add(START + STEP)
        cycle = ledger.cycle(START + STEP)
        assert cycle is not None
        ledger.begin(cycle, "assimilate")
        ledger.finish(cycle, "assimilate", seconds=1.0)
    folder = analysis_folder(config, "gaussian", START + STEP, 0)
    (folder / "feedback.nc").unlink()
    note = Work(config).run("verify", START + STEP)
    assert note.startswith("not verified: nothing could be compared")
    text = (folder / "report.html").read_text()
    assert "stage assimilate" in text and "Map of the analysis mean" in text
