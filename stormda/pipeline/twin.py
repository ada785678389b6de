"""Stage `twin`: cycle several methods on the same truth and the same simulated observations, and score them.

Every cycle a network of random grid points observes the truth with a known error. All methods get the same numbers, the
same ensemble size and the same scores: RMSE of the ensemble mean, CRPS (fair) and spread/skill over all grid points,
weighted by area, with intervals from a block bootstrap over cycles.
"""

__all__ = ["TwinResult", "twin"]

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from stormda import config as configuration
from stormda.assimilation import methods
from stormda.assimilation.memory import remember
from stormda.config import Config
from stormda.diffusion.history import History
from stormda.metrics.probabilistic import crps_fair
from stormda.operators.gridpoint import GridPoints
from stormda.pipeline import build
from stormda.pipeline.worlds import World, simulated_archive, world_config, world_of
from stormda.random import normal, stream, uniform
from stormda.store.provenance import provenance
from stormda.store.publish import write_bytes, write_json
from stormda.types import Array, Progress, silent
from stormda.verification.intervals import block_bootstrap
from stormda.verification.plots import rank_histogram, time_series

_BINS = "rank_counts"


@dataclass(frozen=True)
class TwinResult:
    """Scores by method, and where the details are."""

    world: str
    network: str
    members: int
    scored: int
    scores: dict[str, dict[str, Any]]
    files: tuple[str, ...]

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people."""
        title = f"twin experiment: {self.world}, {self.network}, {self.members} members, {self.scored} analyses scored"
        columns = ["method", "RMSE", "95 %", "CRPS", "95 %", "spread/skill", "background RMSE", "s/analysis"]
        rows = [
            [
                method,
                f"{s['rmse']['value']:.3f}",
                f"{s['rmse']['low']:.3f}..{s['rmse']['high']:.3f}",
                f"{s['crps']['value']:.3f}",
                f"{s['crps']['low']:.3f}..{s['crps']['high']:.3f}",
                f"{s['spread_skill']:.2f}",
                f"{s['background_rmse']:.3f}",
                f"{s['seconds']:.2f}",
            ]
            for method, s in self.scores.items()
        ]
        return title, columns, rows


@dataclass(frozen=True, eq=False)
class _Series:
    """Scores of one method and seed by cycle: arrays [T], and rank counts [M + 1] summed over scored cycles."""

    mse: Array
    crps: Array
    variance: Array
    background_mse: Array
    ranks: Array
    seconds: float


def twin(config: Config, *, dry_run: bool = False, progress: Progress = silent) -> TwinResult:
    """Run the experiment of the section `twin`.

    Writes `<run_dir>/twin/scores.json` and pictures beside it.

    Raises:
        ConfigError, InputError, InputMissing: a world, archive or prior that is not there or does not fit.
    """
    config = world_config(config)
    spec = config.twin
    described = f"{spec.network.count} points a channel, error {spec.network.error:g}, {spec.network.operator}"
    scored = (spec.cycles - spec.spin_up) * len(spec.seeds)
    if dry_run:
        return TwinResult(spec.world.kind, described, config.assimilate.ensemble, scored, {}, ())
    if spec.world.kind != "archive":
        simulated_archive(config, progress)
    series: dict[str, list[_Series]] = {}
    for seed in spec.seeds:
        world = world_of(config, seed, progress)
        for method in spec.methods:
            series.setdefault(method, []).append(_cycle(config, world, method, seed, progress))
    scores = {method: _summarise(runs, spec.spin_up) for method, runs in series.items()}
    folder = config.run / "twin"
    files = _publish(config, folder, series, scores)
    return TwinResult(spec.world.kind, described, config.assimilate.ensemble, scored, scores, files)


def _observe(config: Config, truth_CHW: Array, seed: int, cycle: int) -> tuple[GridPoints, torch.Tensor]:
    """The network of one cycle and what it reports: a pure function of the seed and the cycle."""
    network = config.twin.network
    channels, points = truth_CHW.shape[0], truth_CHW.shape[1] * truth_CHW.shape[2]
    drawn = cycle if network.redrawn else 0
    order = uniform(seed, stream("network", drawn), torch.arange(channels), torch.arange(points)).argsort(dim=1)
    count = min(network.count, points)
    index = (order[:, :count] + torch.arange(channels)[:, None] * points).flatten().sort().values
    operator = GridPoints(index, network.operator)
    clean = operator(torch.as_tensor(truth_CHW, dtype=torch.float64)[None])[0]
    noise = normal(seed, stream("observation error", cycle), torch.zeros(1, dtype=torch.int64), index)[0]
    return operator, clean + network.error * noise


def _cycle(config: Config, world: World, method: str, seed: int, progress: Progress) -> _Series:
    """Cycle one method over one truth."""
    prior = build.prior(config, method)
    settings = methods.Settings.of(config, build.sampler(config))
    shape = (len(prior.channels), *prior.grid.shape)
    where = prior.grid.within(world.grid)
    history = History.none(prior.frames, shape)
    weights = prior.grid.weights
    variance = config.twin.network.error**2
    rows: list[tuple[float, ...]] = []
    ranks = np.zeros(settings.members + 1)
    start = perf_counter()
    for k, time in enumerate(world.times):
        progress(f"{method}, seed {seed}", k, len(world.times))
        decode, truth = prior.normaliser.decoder(time), world.values[k][:, where[0][:, None], where[1]]
        network, y = _observe(config, truth, seed, k)
        background = methods.background(prior, history, time, settings)

        def standardised(z: torch.Tensor, network: GridPoints = network, decode: Any = decode) -> torch.Tensor:
            return network(decode(z))

        problem = methods.Problem(time, history, standardised, y, torch.full_like(y, variance))
        ensemble, carry = methods.analysis(method, prior, problem, settings)
        x, b = decode(ensemble).double().numpy(), decode(background).double().numpy()
        rows.append(_scores(x, b, truth, weights))
        if k >= config.twin.spin_up:
            ranks += np.bincount((x < truth).sum(axis=0).ravel(), minlength=settings.members + 1)
        history = remember(history, ensemble, carry)
    progress(f"{method}, seed {seed}", len(world.times), len(world.times))
    mse, crps, spread, background_mse = (np.array(column) for column in zip(*rows, strict=True))
    return _Series(mse, crps, spread, background_mse, ranks, (perf_counter() - start) / len(world.times))


def _scores(x_MCHW: Array, b_MCHW: Array, truth_CHW: Array, weights_HW: Array) -> tuple[float, ...]:
    """Mean square error, CRPS, (1 + 1/M) variance and the background's mean square error, weighted by area."""
    members = x_MCHW.shape[0]
    w = np.broadcast_to(weights_HW, truth_CHW.shape)
    fields = (
        (x_MCHW.mean(axis=0) - truth_CHW) ** 2,
        crps_fair(x_MCHW, truth_CHW),
        (1 + 1 / members) * x_MCHW.var(axis=0, ddof=1),
        (b_MCHW.mean(axis=0) - truth_CHW) ** 2,
    )
    return tuple(float(np.average(f, weights=w)) for f in fields)


def _summarise(runs: list[_Series], spin_up: int) -> dict[str, Any]:
    mse, crps, variance, background = (
        np.concatenate([getattr(r, name)[spin_up:] for r in runs])
        for name in ("mse", "crps", "variance", "background_mse")
    )
    rmse_low, rmse_high = block_bootstrap(mse, lambda m: float(np.sqrt(m.mean())))
    crps_low, crps_high = block_bootstrap(crps, lambda m: float(m.mean()))
    return {
        "rmse": {"value": float(np.sqrt(mse.mean())), "low": rmse_low, "high": rmse_high},
        "crps": {"value": float(crps.mean()), "low": crps_low, "high": crps_high},
        "spread_skill": float(np.sqrt(variance.mean() / mse.mean())),
        "background_rmse": float(np.sqrt(background.mean())),
        "seconds": float(np.mean([r.seconds for r in runs])),
        _BINS: np.sum([r.ranks for r in runs], axis=0).tolist(),
    }


def _root(runs: list[_Series], name: str) -> Array:
    """The square root of a series, averaged over seeds."""
    return np.asarray(np.sqrt(np.mean([getattr(r, name) for r in runs], axis=0)))


def _publish(
    config: Config, folder: Path, series: dict[str, list[_Series]], scores: dict[str, dict[str, Any]]
) -> tuple[str, ...]:
    text = configuration.dump(config)
    by_cycle = {
        method: [{n: getattr(r, n).tolist() for n in ("mse", "crps", "variance", "background_mse")} for r in runs]
        for method, runs in series.items()
    }
    write_json(folder / "scores.json", {"scores": scores, "series": by_cycle, "provenance": provenance(text)})
    lines = {method: (_root(runs, "mse"), _root(runs, "variance")) for method, runs in series.items()}
    write_bytes(folder / "series.png", time_series(lines, spin_up=config.twin.spin_up))
    write_bytes(folder / "ranks.png", rank_histogram({m: np.asarray(s[_BINS]) for m, s in scores.items()}))
    return tuple(str(folder / name) for name in ("scores.json", "series.png", "ranks.png"))
