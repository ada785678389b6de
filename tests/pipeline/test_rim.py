"""From the command line: a coarser model's field at the rim of the domain, learned, read from files, and refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nwp_world import write_netcdf
from tiny_world import FIRST, SD, TIMES, Ended, World, stamp

from stormda.store.analysis import read_analysis

Run = Callable[..., Ended]
RIM = ("storm.rim.width=2", "storm.rim.coarse=2", "storm.rim.error=0.02", "history.frames=1")
TRAINED = (
    *RIM,
    "train.steps=300",
    "train.warm_up=10",
    "train.learning_rate=5e-3",
    "train.validate_every=300",
    "train.members=0",
    "storm.background_modes=0",
)
ALONE = ("assimilate", "--method", "storm", "--ensemble", "8", "--cycle", stamp(FIRST), *RIM)


def background(run: Path) -> np.ndarray:
    stem = str(TIMES[FIRST]).replace("-", "").replace(":", "")[:13]
    return np.asarray(read_analysis(run / "analyses" / "storm" / f"{stem}Z_split00" / "background.nc").state.values)


def test_what_a_coarser_model_says_of_the_rim_is_learned_and_used(run: Run, world: World, tmp_path: Path) -> None:
    ended = run("train", *TRAINED)
    assert ended.code == 0, ended.err
    assert run(*ALONE).code == 0
    truth, without = world.truth[FIRST], background(tmp_path / "run")
    write_netcdf(tmp_path / "coarse.nc", truth[None], FIRST, members=False)
    ended = run(*ALONE, f"assimilate.rim={tmp_path / 'coarse.nc'}")
    assert ended.code == 0, ended.err
    told = background(tmp_path / "run")
    here = np.ones(truth.shape[1:], dtype=bool)
    here[2:-2, 2:-2] = False

    def error(members: np.ndarray) -> float:
        departure = (members.mean(axis=0) - truth) / SD[:, None, None]
        return float(np.sqrt((departure[:, here] ** 2).mean()))

    # At a cold start the rim is unknown but for the season: errors near 1. A short training takes most of them away.
    assert error(told) < 0.7 * error(without)
    facts = next((tmp_path / "run" / "analyses" / "storm").glob("*_split00/provenance.json"))
    assert list(json.loads(facts.read_text())["inputs"]["rim"]) == ["coarse.nc"]
    ended = run(*ALONE, f"assimilate.rim={tmp_path / 'no.nc'}")
    assert ended.code == 3 and "assimilate.rim" in ended.err and "Traceback" not in ended.err
    lead = ("forecast", "--method", "storm", "--cycle", stamp(FIRST), "--lead", "24h", *RIM)
    ended = run(*lead, f"forecast.rim={tmp_path / 'coarse.nc'}")  # not of that time
    assert ended.code in (1, 3) and "forecast.rim" in ended.err and "Traceback" not in ended.err


@pytest.mark.parametrize("method", ["storm", "gaussian"])
def test_a_prior_that_takes_no_rim_says_so(run: Run, world: World, tmp_path: Path, method: str) -> None:
    write_netcdf(tmp_path / "coarse.nc", world.truth[FIRST][None], FIRST, members=False)
    ended = run("train", "train.steps=2", "train.members=0", "storm.background_modes=0")
    assert ended.code == 0, ended.err
    told = f"assimilate.rim={tmp_path / 'coarse.nc'}"
    ended = run("assimilate", "--method", method, "--cycle", stamp(FIRST), told)
    assert ended.code == 2 and "assimilate.rim" in ended.err and "hint" in ended.err
