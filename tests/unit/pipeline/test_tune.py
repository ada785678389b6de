"""Runs of twin experiments are computed once, and a search finds the best of what it may look at."""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import yaml

from stormda.config import Config, load
from stormda.errors import ConfigError
from stormda.pipeline import cycling, tune
from stormda.pipeline.cycling import Runs, fingerprint
from stormda.pipeline.tune import climb
from stormda.pipeline.twin import twin
from stormda.pipeline.worlds import simulated_archive, world_config
from stormda.types import silent


def configuration(folder: Path, *overrides: str) -> Config:
    """Lorenz-96 with 12 variables, 4 members, 6 cycles."""
    base = {
        "channels": ["x0"],
        "run_dir": str(folder),
        "assimilate": {"ensemble": 4},
        "sampler": {"steps": 4},
        "twin": {
            "world": {"kind": "lorenz96", "dimension": 12},
            "network": {"count": 12},
            "cycles": 6,
            "spin_up": 2,
            "methods": ["letkf"],
            "tune": {"cycles": 4, "spin_up": 2},
            "train_steps": 60,
        },
    }
    return load(None, overrides, base)


def test_a_search_ends_where_no_step_helps() -> None:
    """On (x - 3)^2 + (y - x)^2 / 4 from (0, 5): the one minimum, each setting asked once."""
    asked: list[tuple[float, float]] = []

    def score(s: Mapping[str, float]) -> float:
        asked.append((s["x"], s["y"]))
        return (s["x"] - 3) ** 2 + (s["y"] - s["x"]) ** 2 / 4

    ladder = tuple(float(n) for n in range(7))
    assert climb({"x": 0.0, "y": 5.0}, {"x": ladder, "y": ladder}, score) == {"x": 3.0, "y": 3.0}
    assert len(asked) == len(set(asked)) < 49
    assert climb({"x": 2.5}, {"x": ladder}, lambda s: abs(s["x"] - 2.4)) == {"x": 2.5}  # between two rungs
    assert climb({"x": 2.5}, {"x": ladder}, lambda s: np.inf) == {"x": 2.5}  # everything diverges


def test_a_run_is_computed_once_and_a_damaged_file_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configuration(tmp_path)
    first = twin(config).scores
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "twin" / "series").iterdir()}
    assert len(times) == 1
    monkeypatch.setattr(cycling, "_cycle", None)  # calling it would fail
    assert str(twin(config).scores) == str(first)  # intervals of four cycles are NaN
    # Another method later costs no more than itself.
    monkeypatch.undo()
    both = twin(configuration(tmp_path, "twin.methods=[oi, letkf]")).scores
    assert both["letkf"]["rmse"]["value"] == first["letkf"]["rmse"]["value"] and "oi" in both
    assert {p: p.stat().st_mtime_ns for p in times} == times
    (path,) = times
    path.write_text(path.read_text()[:100])
    assert twin(config).scores["letkf"]["rmse"]["value"] == first["letkf"]["rmse"]["value"]
    assert set(json.loads(path.read_text())) == {f.name for f in fields(cycling.Series)}


def test_a_fingerprint_is_of_what_scores_follow_from(tmp_path: Path) -> None:
    config = world_config(configuration(tmp_path))
    simulated_archive(config, silent)
    own = fingerprint(config, "letkf")
    for same in ("name=other", "twin.seeds=5", "twin.methods=[kf]", "ensf.steps=5", "train.steps=7", "storm.width=32"):
        assert fingerprint(world_config(configuration(tmp_path, same)), "letkf") == own, same
    for other in (
        "letkf.rtps=0.5",
        "twin.cycles=7",
        "twin.network.error=2",
        "assimilate.ensemble=5",
        "gaussian.modes=5",
    ):
        assert fingerprint(world_config(configuration(tmp_path, other)), "letkf") != own, other


def test_tuning_writes_what_can_be_pasted_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tune._LADDERS, "letkf", {"radius": (0.25, 0.5, 1.0), "rtps": (0.0, 0.3)})
    monkeypatch.setitem(tune._LADDERS, "ensf", {"bandwidth": (0.025, 0.1)})
    config = configuration(tmp_path, "twin.methods=[letkf, ensf, oi]", "ensf.steps=3")
    result = tune.tune(config)
    assert set(result.best) == {"letkf", "ensf"}
    for name, best in result.best.items():
        mine = [t for t in result.tried if t["method"] == name]
        assert min(mine, key=lambda t: t["crps"])["setting"] == best
    pasted = yaml.safe_load((tmp_path / "twin" / "tuned.yaml").read_text())
    assert pasted == result.best
    load(
        None,
        [f"{name}={yaml.safe_dump(s, default_flow_style=True).strip()}" for name, s in pasted.items()],
        {"channels": ["x0"]},
    )
    assert "letkf: {radius:" in result.table()[0] and len(result.table()[2]) == len(result.tried)
    monkeypatch.setattr(cycling, "_cycle", None)
    assert tune.tune(config).best == result.best


def test_a_setting_that_diverges_is_never_the_best(tmp_path: Path) -> None:
    """Inflated by 10^30 a cycle, members leave the range of numbers: a score of infinity, not a traceback."""
    config = world_config(configuration(tmp_path, "twin.network.count=1", "letkf.radius=1.0"))
    simulated_archive(config, silent)
    search = tune._Search(Runs(tmp_path / "series"), config, "letkf", 1000)
    assert search._crps({"inflation": 1e30}) == np.inf
    assert search._crps({"inflation": 1.0}) < 10


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("twin.methods=[kf]", "twin.methods"),
        ("twin.seeds=[0, 1000]", "twin.tune.seed"),
        ("twin.world={kind: archive}", "twin.tune"),  # two cycles of spin-up
    ],
)
def test_nothing_is_tuned_on_what_is_scored(tmp_path: Path, override: str, key: str) -> None:
    with pytest.raises(ConfigError) as error:
        tune.tune(configuration(tmp_path, override))
    assert error.value.key == key


@pytest.mark.parametrize(
    ("start", "fits"), [("2001-01-10T06Z", False), ("2001-01-09T12Z", True), ("2001-01-11T12Z", True)]
)
def test_a_period_of_an_archive_must_not_be_scored(tmp_path: Path, start: str, fits: bool) -> None:
    """Scored are 2001-01-10T12Z to 2001-01-11T06Z; four cycles end 18 hours after their start."""
    config = configuration(
        tmp_path, "twin.world={kind: archive}", "twin.start=2001-01-10T00Z", f"twin.tune.start={start}"
    )
    if fits:
        assert tune._unscored(config).twin.cycles == 4
    else:
        with pytest.raises(ConfigError, match="is scored"):
            tune._unscored(config)
