"""One method cycled over one truth: what a twin experiment is made of, and its scores by cycle and channel.

Every cycle a network observes the truth; the method makes its background and its analysis, which is the past of the
next. A run is computed once: its scores are kept below `<run_dir>/twin/series` as soon as they exist, under a name that
holds a hash of all that they follow from (configuration, archive, weights, program), and are read where that agrees. So
an experiment that was killed goes on, and one more method costs no more than itself. Forecasts from the analyses
(`stormda.pipeline.twin_forecast`) are kept beside them.
"""

__all__ = ["Runs", "Series", "together"]

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
import torch

import stormda
from stormda.assimilation import methods
from stormda.assimilation.ensemble_prior import EnsemblePrior
from stormda.assimilation.prior import Prior
from stormda.assimilation.smoother import Frame
from stormda.assimilation.storm_prior import StormPrior, bounded
from stormda.config import Config
from stormda.diffusion.history import History
from stormda.errors import ConfigError
from stormda.pipeline import build
from stormda.pipeline.networks import Reports, network_of
from stormda.pipeline.onestep import one_step_errors
from stormda.pipeline.train import rim_of
from stormda.pipeline.twin_forecast import CommonModel, Forecaster, Forecasts, common_model
from stormda.pipeline.twin_scores import area_mean, ensemble_scores
from stormda.pipeline.twin_window import redrawer
from stormda.pipeline.worlds import World, world_of
from stormda.random import stream
from stormda.store.provenance import digest
from stormda.store.publish import write_json
from stormda.time import format_time
from stormda.training.rim import coarse
from stormda.types import Array, Progress, silent

_ELSEWHERE = {
    "name",
    "run_dir",
    "train",
    "verify",
    "quality",
    "nwp",
    "forecast",
    "parallel",
}  # sections that no twin reads
_PROGRAM = ("assimilation", "diffusion", "metrics", "nature", "operators")
_STAGES = ("cycling", "networks", "onestep", "twin_scores", "twin_window", "worlds")


@dataclass(frozen=True, eq=False)
class Series:
    """Scores of one method and seed by cycle and channel: arrays [T, C], and rank counts [M + 1] of scored cycles.

    Args:
        mse, crps, background_mse: of the analysis mean, the analysis and the background mean, by area.
        variance: (1 + 1/M) of that of the members.
        one_step_mse: of the prior from the true past, of scored cycles; empty for a method without a forecast.
        ranks: of the truth among the members.
        seconds: an analysis took.
        window: scores of frames that were drawn again (`twin_window.Redrawer`), [T, L, 3, C]; empty without windows.
    """

    mse: Array
    crps: Array
    variance: Array
    background_mse: Array
    one_step_mse: Array
    ranks: Array
    seconds: float
    window: Array


_Kept = TypeVar("_Kept", Series, Forecasts)


@dataclass(eq=False)
class Runs:
    """The runs of an experiment.

    Args:
        folder: where their scores are kept.
        progress: told about the work.
    """

    folder: Path
    progress: Progress = silent
    _priors: dict[str, Prior] = field(default_factory=dict)
    _world: tuple[str, World] | None = None
    _common: CommonModel | None = None

    def __call__(self, config: Config, method: str, seed: int) -> Series:
        """The run of a method over the truth of a seed, computed or read."""
        path = self.folder / f"{method}-{seed}-{fingerprint(config, method)}.json"
        if (known := _read(path, Series)) is not None:
            return known
        series = _cycle(config, self.prior(config, method), self._truth(config, seed), method, seed, self.progress)
        write_json(path, asdict(series))
        return series

    def forecasts(self, config: Config, method: str, seed: int) -> Forecasts:
        """Forecasts from the analyses of a run, computed (and the run with them) or read."""
        path = self.folder / f"{method}-{seed}-forecast-{fingerprint(config, method, forecasts=True)}.json"
        if (known := _read(path, Forecasts)) is not None:
            return known
        truth = self._truth(config, seed)
        forecaster = Forecaster(config, truth, self._model(config))
        series = _cycle(config, self.prior(config, method), truth, method, seed, self.progress, forecaster)
        write_json(self.folder / f"{method}-{seed}-{fingerprint(config, method)}.json", asdict(series))
        write_json(path, asdict(forecasts := forecaster.result()))
        return forecasts

    def _model(self, config: Config) -> CommonModel:
        if self._common is None:
            self._common = common_model(config)
        return self._common

    def prior(self, config: Config, method: str) -> Prior:
        """The prior of a method, built once; methods on the Gaussian prior share it."""
        for name in ("prior", "background"):
            if getattr(config.assimilate, name) is not None:
                what = "a twin experiment makes all that its methods know"
                raise ConfigError(what, key=f"assimilate.{name}", hint="leave it out")
        key = "gaussian" if method in ("gaussian", "kf", "oi") else method
        if key not in self._priors:
            self._priors[key] = build.prior(config, method)
        return self._priors[key]

    def _truth(self, config: Config, seed: int) -> World:
        key = f"{seed} {config.twin.start} {config.twin.cycles}"
        if self._world is None or self._world[0] != key:
            self._world = key, world_of(config, seed, self.progress)
        return self._world[1]


def fingerprint(config: Config, method: str, forecasts: bool = False) -> str:
    """A hash of what the scores of a method, or of the forecasts from its analyses, follow from, but for the seed."""
    tree = config.model_dump(mode="json", exclude=_ELSEWHERE)
    for name in ("methods", "seeds", "tune", *(() if forecasts else ("forecast",))):
        tree["twin"].pop(name)
    for name in ("method", "limit", "prior", "background"):
        tree["assimilate"].pop(name)
    for name in set(methods.FILTERS) - {method}:
        tree.pop(name)
    if method not in methods.FILTERS:
        tree["twin"].pop("model")
    network = method == "storm" or (method in methods.FILTERS and build.forecast_model(config, method) == "storm")
    weights = digest(build.weights_path(config)) if network else None
    if not network:
        tree.pop("storm")
    facts = [tree, weights, build.archive(config).provenance, _program(network, forecasts)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def together(runs: list[Series], name: str, first: int, scale_C: Array, power: int = 1) -> Array:
    """A score of all channels together by cycle [T], from cycle `first` of each run on, each divided by its scale."""
    values = np.concatenate([getattr(run, name)[first:] for run in runs])
    return np.asarray((values / scale_C**power).mean(axis=1))


@lru_cache
def _program(network: bool, forecasts: bool) -> str:
    """A hash of the source of what computes scores."""
    root = Path(stormda.__file__).parent
    folders = (*_PROGRAM, "nn") if network else _PROGRAM
    files = sorted(path for name in folders for path in (root / name).rglob("*.py"))
    files += [root / "pipeline" / f"{name}.py" for name in (*_STAGES, *(["twin_forecast"] if forecasts else []))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _read(path: Path, kind: type[_Kept]) -> _Kept | None:
    """Scores that were kept; None where they are not there or not whole."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        kept: dict[str, Any] = {f.name: np.asarray(tree[f.name], dtype=float) for f in fields(kind)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return kind(**kept)


def _cycle(
    config: Config,
    prior: Prior,
    world: World,
    method: str,
    seed: int,
    progress: Progress,
    forecaster: Forecaster | None = None,
) -> Series:
    """Cycle one method over one truth, and forecast from its analyses."""
    settings = methods.Settings.of(config, build.sampler(config))
    shape = (len(prior.channels), *prior.grid.shape)
    where = prior.grid.within(world.grid)
    history = History.none(prior.frames, shape)
    weights = prior.grid.weights
    observe = network_of(config, prior.grid, prior.channels, seed)
    rim = _rim(config, prior, seed) if method == "storm" and config.twin.rim else None
    again = redrawer(config, method, prior, settings, len(world.times))
    rows: list[Array] = []
    ranks = np.zeros(settings.members + 1)
    seconds = 0.0
    for k, time in enumerate(world.times):
        progress(f"{method}, seed {seed}", k, len(world.times))
        decode, truth = prior.normaliser.decoder(time), world.values[k][:, where[0][:, None], where[1]]
        reports = observe(k, truth)
        start = perf_counter()
        told = prior if rim is None else rim(prior, truth, time)
        background = methods.background(told, history, time, settings)

        def standardised(z: torch.Tensor, reports: Reports = reports, decode: Any = decode) -> torch.Tensor:
            return reports.operator(decode(z))

        problem = methods.Problem(time, history, standardised, reports.y, reports.variance, background, reports.places)
        ensemble, carry = methods.analysis(method, told, problem, settings)
        x, b = decode(ensemble).double().numpy(), decode(background).double().numpy()
        background_mse = area_mean((b.mean(axis=0) - truth) ** 2, weights)
        rows.append(np.stack([*ensemble_scores(x, truth, weights), background_mse]))
        if k >= config.twin.spin_up:
            ranks += np.bincount((x < truth).sum(axis=0).ravel(), minlength=settings.members + 1)
        history = methods.remember(prior, history, ensemble, carry)
        seconds += (perf_counter() - start) / len(world.times)
        if again is not None:
            again(k, Frame(problem, ensemble, prior=told), decode, truth)
        if forecaster is not None and forecaster.wants(k):
            forecaster(k, decode(ensemble), prior.grid)
    progress(f"{method}, seed {seed}", len(world.times), len(world.times))
    mse, crps, spread, background_mse = np.stack(rows, axis=1)
    no_forecast = method == "oi" or (isinstance(prior, EnsemblePrior) and prior.base is None)
    one_step = mse[:0] if no_forecast else one_step_errors(prior, world, config.twin.spin_up)
    window = np.zeros(0) if again is None else again.scores
    return Series(mse, crps, spread, background_mse, one_step, ranks, seconds, window)


def _rim(config: Config, prior: Prior, seed: int) -> Callable[[Prior, Array, np.datetime64], Prior]:
    """Tells the prior a coarse field of the truth, as it was trained with."""
    if not isinstance(prior, StormPrior):
        raise ConfigError("only the network of method storm takes a field at its rim", key="twin.rim")
    made, normaliser = rim_of(config, prior.grid), prior.normaliser

    def tell(prior: Prior, truth_CHW: Array, time: np.datetime64) -> Prior:
        assert isinstance(prior, StormPrior)
        z = torch.as_tensor(normaliser.encode(truth_CHW[None], np.asarray([time]))).float()
        g = torch.Generator().manual_seed(stream("rim", seed, format_time(time)))
        return bounded(prior, coarse(z, made.factor, made.error, g, made.periodic)[0])

    return tell
