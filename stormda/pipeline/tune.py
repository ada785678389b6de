"""Stage `twin --tune`: search the settings of a baseline where it is not scored.

A classical filter is worth what its inflation and localisation are, so it is tuned before it is compared: by the CRPS
of all channels together over a truth of its own (`twin.tune.seed`) in simulated worlds; in an archive over another
period (`twin.tune.start`), or over the second half of the spin-up. Network and members are those of the experiment.

The search goes along one setting after another, from value to value of a short ladder while the score falls, until no
step along any of them helps; a valley that runs askew to all of them may end it early. Scores are kept as those of the
experiment are: a search that was killed goes on.
"""

__all__ = ["TuneResult", "tune"]

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import yaml

from stormda import config as configuration
from stormda.assimilation.baselines.localisation import default_radius
from stormda.config import ArchiveWorld, Config
from stormda.errors import ConfigError, StormdaError
from stormda.pipeline.cycling import Runs, Series, together
from stormda.pipeline.networks import describe
from stormda.pipeline.twin import units
from stormda.pipeline.worlds import simulated_archive, world_config
from stormda.store.provenance import provenance
from stormda.store.publish import write_json, write_text
from stormda.types import Array, Progress, silent

log = logging.getLogger(__name__)

_SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_LADDERS: dict[str, dict[str, tuple[float, ...]]] = {
    "letkf": {
        "radius": (0.12, 0.18, 0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0),  # of the default radius
        "rtps": _SHARES,
        "inflation": (1.0, 1.01, 1.02, 1.03, 1.04, 1.06, 1.08, 1.1, 1.15, 1.2, 1.3, 1.4),
    },
    "ensf": {"bandwidth": (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2), "rtps": _SHARES},
}

Setting = Mapping[str, float]


@dataclass(frozen=True)
class TuneResult:
    """The best setting of each method, and all that were tried."""

    world: str
    network: str
    cycles: int
    best: dict[str, dict[str, float]]
    tried: list[dict[str, Any]] = field(default_factory=list)
    files: tuple[str, ...] = ()

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people: the best first."""
        paste = yaml.safe_dump(self.best, default_flow_style=True, sort_keys=False).strip()
        title = f"tuned on {self.cycles} analyses: {self.world}, {self.network}\n{paste}"
        rows = [
            [t["method"], ", ".join(f"{k} {v:g}" for k, v in t["setting"].items()), *(_text(t[s]) for s in _SCORES)]
            for t in sorted(self.tried, key=lambda t: (t["method"], t["crps"]))
        ]
        return title, ["method", "setting", "CRPS", "RMSE", "spread/skill"], rows


_SCORES = ("crps", "rmse", "spread_skill")


def _text(value: float) -> str:
    return f"{value:.4g}" if np.isfinite(value) else "diverged"


def tune(config: Config, *, dry_run: bool = False, progress: Progress = silent) -> TuneResult:
    """Tune those methods of the section `twin` that have something to tune.

    Writes `<run_dir>/twin/tuned.yaml`, to be pasted into the configuration, and `tune.json` with all that was tried.

    Raises:
        ConfigError: nothing to tune, or a period that would be scored.
    """
    config = world_config(config)
    names = [name for name in config.twin.methods if name in _LADDERS]
    if not names:
        hint = " or ".join(f"--method {name}" for name in _LADDERS)
        raise ConfigError("none of the methods has anything to tune", key="twin.methods", hint=hint)
    config, seed = _unscored(config), config.twin.tune.seed
    scored = config.twin.cycles - config.twin.spin_up
    words = config.twin.world.kind, describe(config), scored
    if dry_run:
        return TuneResult(*words, {})
    if config.twin.world.kind != "archive":
        simulated_archive(config, progress)
    runs = Runs(config.run / "twin" / "series", progress)
    best: dict[str, dict[str, float]] = {}
    tried: list[dict[str, Any]] = []
    for name in names:
        search = _Search(runs, config, name, seed)
        best[name] = search.best()
        tried += search.tried
    folder = config.run / "twin"
    write_text(folder / "tuned.yaml", yaml.safe_dump(best, sort_keys=False))
    write_json(
        folder / "tune.json", {"best": best, "tried": tried, "provenance": provenance(configuration.dump(config))}
    )
    return TuneResult(*words, best, tried, (str(folder / "tuned.yaml"), str(folder / "tune.json")))


def _unscored(config: Config) -> Config:
    """The experiment on cycles that are not scored."""
    twin, period = config.twin, config.twin.tune
    if not isinstance(twin.world, ArchiveWorld):
        if period.seed in twin.seeds:
            what = f"the truth of seed {period.seed} is scored"
            raise ConfigError(what, key="twin.tune.seed", hint="a seed that is not in twin.seeds")
        changes: dict[str, Any] = {"cycles": period.cycles, "spin_up": period.spin_up}
    elif period.start is None:
        if twin.spin_up < 4:
            hint = "twin.tune.start with a period of its own, or a longer twin.spin_up"
            raise ConfigError(f"{twin.spin_up} cycles of spin-up are too few to tune on", key="twin.tune", hint=hint)
        changes = {"cycles": twin.spin_up, "spin_up": twin.spin_up // 2}
    else:
        step = config.assimilate.step
        offset = np.inf if twin.start is None else (period.start - twin.start) / step  # in cycles
        if twin.spin_up - period.cycles < offset < twin.cycles:
            raise ConfigError("the period to tune on is scored", key="twin.tune.start", hint="an earlier one")
        changes = {"start": period.start, "cycles": period.cycles, "spin_up": period.spin_up}
    changed = config.model_copy(update={"twin": twin.model_copy(update=changes)})
    changed._folder = config._folder
    return changed


@dataclass(eq=False)
class _Search:
    """Along the ladders of one method; `tried` holds the scores of every setting that was looked at."""

    runs: Runs
    config: Config
    method: str
    seed: int
    tried: list[dict[str, Any]] = field(default_factory=list)

    def best(self) -> dict[str, float]:
        """The setting from which no step helps."""
        ladders = dict(_LADDERS[self.method])
        unit = default_radius(self.runs.prior(self.config, self.method).grid)
        if "radius" in ladders:
            ladders["radius"] = tuple(float(f"{unit * share:.2g}") for share in ladders["radius"])
        given = getattr(self.config, self.method)
        start = {name: unit if name == "radius" and given.radius is None else getattr(given, name) for name in ladders}
        return climb(start, ladders, self._crps)

    def _crps(self, setting: Setting) -> float:
        scores = self._scores(setting)
        self.tried.append({"method": self.method, "setting": dict(setting), **scores})
        return scores["crps"]

    def _scores(self, setting: Setting) -> dict[str, float]:
        """Of a setting; infinite where the members leave the world."""
        section = getattr(self.config, self.method).model_copy(update=dict(setting))
        changed = self.config.model_copy(update={self.method: section})
        changed._folder = self.config._folder
        try:
            series = self.runs(changed, self.method, self.seed)
        except (StormdaError, torch.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
            if isinstance(error, ConfigError):
                raise
            log.warning("%s with %s diverged: %s", self.method, dict(setting), error)
            return dict.fromkeys(_SCORES, np.inf)
        return _summary(series, self.config.twin.spin_up, units(self.runs.prior(self.config, self.method))[0])


def _summary(series: Series, first: int, scale_C: Array) -> dict[str, float]:
    mse, variance = (together([series], name, first, scale_C, 2).mean() for name in ("mse", "variance"))
    crps = float(together([series], "crps", first, scale_C).mean())
    found = {"crps": crps, "rmse": float(np.sqrt(mse)), "spread_skill": float(np.sqrt(variance / mse))}
    return found if np.isfinite(crps) else dict.fromkeys(_SCORES, np.inf)


def climb(
    start: Setting, ladders: Mapping[str, tuple[float, ...]], score: Callable[[Setting], float]
) -> dict[str, float]:
    """Go down along one ladder after another while the score falls, until no step along any of them helps.

    Args:
        start: a value for each ladder; those between two rungs are tried as they are.
        ladders: values by name, rising.
        score: to be small; asked once a setting.
    """
    known: dict[tuple[float, ...], float] = {}

    def at(setting: Setting) -> float:
        key = tuple(setting[name] for name in ladders)
        if key not in known:
            known[key] = score(setting)
        return known[key]

    here = {name: float(start[name]) for name in ladders}
    moved = True
    while moved:
        moved = False
        for name, ladder in ladders.items():
            for rungs in (ladder, ladder[::-1]):
                ahead = [v for v in rungs if (v > here[name] if rungs is ladder else v < here[name])]
                for value in ahead:
                    there = {**here, name: value}
                    if not at(there) < at(here):
                        break
                    here, moved = there, True
    return here
