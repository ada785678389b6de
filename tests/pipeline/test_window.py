"""Windows on disk: the past is drawn again beside the analyses, nearer to the truth, and labelled with what it saw."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cycle_world import Project
from tiny_world import FIRST, TIMES, Ended, World, stamp, visible

from stormda.config import Config
from stormda.errors import InputMissing
from stormda.pipeline import assimilate, window
from stormda.pipeline.cycle import run_cycle
from stormda.pipeline.cycle_session import Session
from stormda.pipeline.cycle_stages import Work
from stormda.pipeline.deadline import OutOfTime
from stormda.store.analysis import Analysis, read_analysis

FEW = "quality.withhold.fraction=0.85", "assimilate.ensemble=24"  # nine stations: there is something left to learn
CYCLES = "--from", stamp(FIRST), "--to", stamp(FIRST + 3)


def analyses(folder: Path, method: str, name: str, split: int = 0) -> list[Analysis]:
    """The files of one name, by time."""
    found = sorted((folder / "run" / "analyses" / method).glob(f"*_split{split:02d}/{name}"))
    return [read_analysis(path) for path in found]


@pytest.mark.parametrize("method", ["kf", "gaussian"])
def test_later_observations_come_in(run: Callable[..., Ended], world: World, tmp_path: Path, method: str) -> None:
    ended = run("assimilate", *CYCLES, "--method", method, "--json", "window.frames=3", *FEW)
    assert ended.code == 0, ended.err
    told = [c["redrawn"] for c in json.loads(ended.out)["cycles"] if c["split"] == 0]
    assert [len(r) for r in told] == [0, 1, 2, 2]
    again = analyses(tmp_path, method, "reanalysis.nc")
    assert [a.attributes["later_analyses"] for a in again] == ["2", "2", "1"]
    assert [a.time for a in again] == list(TIMES[FIRST : FIRST + 3])
    again += analyses(tmp_path, method, "reanalysis.nc", split=1)
    first = [a for split in (0, 1) for a in analyses(tmp_path, method, "analysis.nc", split)[:3]]
    truth = world.truth[FIRST : FIRST + 3]
    scale = world.truth.std(axis=(0, 2, 3))[:, None, None]

    def error(found: list[Analysis]) -> float:
        return float(
            np.mean([(((a.mean - x) / scale) ** 2).mean() for a, x in zip(found, [*truth, *truth], strict=True)])
        )

    assert error(again) < error(first)
    # Every posterior variance shrinks with more observations; a sample of 24 is uncertain by 30 % at a point, by far
    # less over 96 points and three times.
    assert np.mean([(a.spread / scale) ** 2 for a in again]) < np.mean([(a.spread / scale) ** 2 for a in first])


def test_reanalyses_are_scored(run: Callable[..., Ended], world: World, tmp_path: Path) -> None:
    options = "--method", "kf", "window.frames=3", *FEW
    assert run("assimilate", *CYCLES, *options).code == 0
    ended = run("verify", *options, "--json")
    assert ended.code == 0, ended.err
    lines = [line for line in json.loads(ended.out)["more"]["by_lead"] if line["side"] == "reanalysis"]
    # The first two times were drawn again with two later analyses, the third with one: twelve and six hours.
    seen = {(line["target"], line["lead"]): line["cycles"] for line in lines}
    assert seen == {(target, lead): n for target in ("truth", "withheld") for lead, n in ((-12.0, 2), (-6.0, 1))}
    (line,) = (x for x in lines if (x["target"], x["variable"], x["lead"]) == ("truth", "t2m", -12.0))
    found = [a for split in (0, 1) for a in analyses(tmp_path, "kf", "reanalysis.nc", split)[:2]]
    error = np.array([a.mean[1] - x for a, x in zip(found, [*world.truth[FIRST : FIRST + 2, 1]] * 2, strict=True)])
    weight = np.cos(np.deg2rad(np.asarray(found[0].state.grid.latitude)))[:, None] * np.ones(error.shape[1:])
    wanted = np.sqrt(np.average((error**2).mean(axis=0), weights=weight))
    # Weights are areas of boxes between middle latitudes, the cosine to 1 %; files are rounded to 1e-3 of the error.
    assert line["scores"]["rmse"]["value"] == pytest.approx(wanted, rel=0.01)
    table = run("verify", *options).out
    assert "withheld reanalysis, 2 later" in table and "truth reanalysis, 1 later" in table
    # A window more: the third time has seen two later analyses now, and only its scores change. Nothing is observed at
    # the fifth, so the fourth is not drawn again.
    assert run("assimilate", "--cycle", stamp(FIRST + 4), *options).code == 0
    again = json.loads(run("verify", *options, "--json").out)["more"]["by_lead"]
    counts = {(x["side"], x["lead"]): x["cycles"] for x in again if x["target"] == "truth"}
    assert {lead: n for (side, lead), n in counts.items() if side == "reanalysis"} == {-12.0: 3}


def test_analyses_are_those_of_the_filter(run: Callable[..., Ended], tmp_path: Path) -> None:
    assert run("assimilate", *CYCLES, "--method", "kf", "window.frames=3", "window.stride=2").code == 0
    windowed = [a.mean for a in analyses(tmp_path, "kf", "analysis.nc")]
    # A window every second cycle: the frames between have seen one later analysis only.
    later = [a.attributes["later_analyses"] for a in analyses(tmp_path, "kf", "reanalysis.nc")]
    assert later in (["1", "2", "1"], ["2", "1"])
    assert run("assimilate", *CYCLES, "--method", "kf").code == 0
    plain = [a.mean for a in analyses(tmp_path, "kf", "analysis.nc")]
    np.testing.assert_array_equal(plain, windowed)
    assert not any("reanalysis" in name for name in visible(tmp_path / "run"))  # a folder is replaced as a whole


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--method", "oi"), "cannot draw its past again"),
        (("--method", "kf", "history.source=archive"), "history from archive"),
        (("--method", "kf", "window.stride=4"), "stride is at most frames"),
    ],
)
def test_what_has_no_window_says_so(
    run: Callable[..., Ended], tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    ended = run("assimilate", "--cycle", stamp(FIRST), *arguments, "window.frames=3")
    assert ended.code == 2 and words in ended.err
    assert not (tmp_path / "run" / "analyses").exists()


def test_a_time_without_observations_is_part_of_a_window(run: Callable[..., Ended], tmp_path: Path) -> None:
    cycles = "--from", stamp(FIRST + 2), "--to", stamp(FIRST + 5)
    ended = run("assimilate", *cycles, "--method", "kf", "window.frames=3", "--json")
    assert ended.code == 0, ended.err
    # Nothing was seen after the second time: what is known of it, and of the times after it, its analyses know.
    (drawn,) = analyses(tmp_path, "kf", "reanalysis.nc")
    assert (drawn.time, drawn.attributes["later_analyses"]) == (TIMES[FIRST + 2], "2")
    told = [c["redrawn"] for c in json.loads(ended.out)["cycles"] if c["split"] == 0]
    assert [len(r) for r in told] == [0, 1, 1, 0]


def broken(*_: object) -> None:
    raise RuntimeError("the covariance is singular")


def test_a_window_that_fails_is_a_warning(
    run: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "redraw", broken)
    ended = run("assimilate", "--from", stamp(FIRST), "--to", stamp(FIRST + 1), "--method", "kf", "window.frames=2")
    assert ended.code == 0 and len(analyses(tmp_path, "kf", "analysis.nc")) == 2
    words = "the window of 2019-02-10T06:00Z is not drawn: RuntimeError: the covariance is singular"
    assert ended.err.count(words) == 2  # two splits


def test_each_frame_has_the_rim_of_its_time(run: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[object]] = []

    def told(config: Config, prior: object, text: object, time: np.datetime64, key: str) -> object:
        return time

    def kept(method: str, prior: object, frames: list[Any], settings: object) -> list[None]:
        seen.append([frame.prior for frame in frames])
        return [None] * len(frames)

    monkeypatch.setattr(window, "told_rim", told)
    monkeypatch.setattr(window, "redraw", kept)
    cycles = "--from", stamp(FIRST), "--to", stamp(FIRST + 2)
    ended = run("assimilate", *cycles, "--method", "kf", "window.frames=3", "quality.withhold.seeds=0")
    assert ended.code == 0 and "not drawn" not in ended.err, ended.err
    assert seen == [[None, TIMES[FIRST + 1]], [None, *TIMES[FIRST + 1 : FIRST + 3]]]  # no step ends at the first


def test_a_rim_that_is_missing_later_does_not_keep_the_first_cycle_back(
    run: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(config: Config, prior: object, text: object, time: np.datetime64, key: str) -> object:
        if time == TIMES[FIRST + 1]:
            raise InputMissing("no such file", key=key)
        return prior

    monkeypatch.setattr(assimilate, "told_rim", told)
    ended = run("assimilate", "--from", stamp(FIRST), "--to", stamp(FIRST + 1), "--method", "kf")
    assert ended.code == 3 and "no such file" in ended.err
    assert {a.time for a in analyses(tmp_path, "kf", "analysis.nc")} == {TIMES[FIRST]}


# --- in cycles -------------------------------------------------------------------------------------------------------


def drawn(project: Project, k: int) -> bool:
    return (project.product(k) / window.REANALYSIS).is_file()


@pytest.fixture
def project(world: World, tmp_path: Path) -> Project:
    """A window of two frames; its first cycle is done, the observations of the second are there."""
    project = Project(world, tmp_path / "project", {"timeout": "60s"}, window={"frames": 2})
    project.deliver(FIRST)
    assert run_cycle(project.config(), now=TIMES[FIRST]).cycles[0].state == "done" and not drawn(project, FIRST)
    project.deliver(FIRST + 1)
    return project


@pytest.mark.parametrize("error", [RuntimeError("singular"), OutOfTime(60.0)])
def test_the_analysis_stays_where_its_window_fails(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(window, "redraw", fails)
    (line,) = run_cycle(project.config(), now=TIMES[FIRST + 1]).cycles
    assert (line.state, line.product) == ("done", "analysis") and not drawn(project, FIRST)
    assert project.provenance(FIRST + 1)["product"] == "analysis"
    assert "the window of 2019-02-10T06:00Z is not drawn" in caplog.text


@pytest.mark.parametrize("stage", ["assimilate", "window"])
def test_a_window_is_drawn_after_a_kill(project: Project, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    """Killed where the analysis is published and the ledger has not heard of it; or within the window."""
    with monkeypatch.context() as patch:
        if stage == "assimilate":

            def killed(*_: object) -> None:
                raise KeyboardInterrupt

            patch.setattr(Session, "_published", killed)
        else:

            def cut(work: Work, cycle: np.datetime64) -> str:
                raise KeyboardInterrupt

            patch.setattr(Work, "_window", cut)
        with pytest.raises(KeyboardInterrupt):
            run_cycle(project.config(), now=TIMES[FIRST + 1])
    before = (project.product(FIRST + 1) / "analysis.nc").stat().st_mtime_ns
    assert not drawn(project, FIRST)
    (line,) = run_cycle(project.config(), now=TIMES[FIRST + 1]).cycles
    assert line.state == "done" and drawn(project, FIRST)
    assert (project.product(FIRST + 1) / "analysis.nc").stat().st_mtime_ns == before


def test_the_background_in_the_place_of_an_analysis_has_no_window(project: Project, monkeypatch: Any) -> None:
    def refused(*_: object) -> None:
        raise RuntimeError("no solution")

    monkeypatch.setattr("stormda.assimilation.methods.analysis", refused)
    (line,) = run_cycle(project.config(), now=TIMES[FIRST + 1]).cycles
    assert (line.state, line.product) == ("done", "background") and not drawn(project, FIRST)


def test_a_launched_analysis_leaves_its_window_to_the_cycle(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    (line,) = run_cycle(project.config("cycle.launch=[env]"), now=TIMES[FIRST + 1]).cycles
    assert line.state == "done" and drawn(project, FIRST)
    assert caplog.text.count("frames before 2019-02-10T06:00Z drawn again") == 1
