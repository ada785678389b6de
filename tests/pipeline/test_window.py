"""Windows on disk: the past is drawn again beside the analyses, nearer to the truth, and labelled with what it saw."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_world import FIRST, TIMES, Ended, World, stamp, visible

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
    # A window more: the third time has seen two later analyses now, and only its scores change.
    assert run("assimilate", "--cycle", stamp(FIRST + 4), *options).code == 0
    again = json.loads(run("verify", *options, "--json").out)["more"]["by_lead"]
    counts = {(x["side"], x["lead"]): x["cycles"] for x in again if x["target"] == "truth"}
    assert (counts["reanalysis", -12.0], counts["reanalysis", -6.0]) == (3, 1)


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
def test_what_has_no_window_says_so(run: Callable[..., Ended], arguments: tuple[str, ...], words: str) -> None:
    ended = run("assimilate", "--cycle", stamp(FIRST), *arguments, "window.frames=3")
    assert ended.code == 2 and words in ended.err


def test_a_time_without_observations_is_part_of_a_window(run: Callable[..., Ended], tmp_path: Path) -> None:
    ended = run("assimilate", "--from", stamp(FIRST + 2), "--to", stamp(FIRST + 5), "--method", "kf", "window.frames=3")
    assert ended.code == 0, ended.err
    drawn, before = (analyses(tmp_path, "kf", f"{name}.nc") for name in ("reanalysis", "analysis"))
    assert [a.attributes["later_analyses"] for a in drawn] == ["2", "2", "1"]
    # Nothing was seen after the second time: the third frame says what its background said, whose mean is that of eight
    # draws, uncertain by a third of the spread, and a history that starts a cycle earlier.
    off = (drawn[2].mean - before[2].mean) / before[2].spread
    assert np.sqrt((off**2).mean()) < 1
