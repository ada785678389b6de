"""Forecasts from the analyses of a twin experiment, all in one model: what an analysis is worth in the end.

From every `twin.forecast.every`-th scored analysis each member goes on in a model that is the same for all methods: the
nature run where the world is simulated, so that errors are the analysis' own; else the linear inverse model of the
archive with draws of its noise, the same for all methods. Leads are those of the cycle, up to `twin.forecast.hours`,
and only starts whose last lead is still in the truth count. Of every start and lead:

    RMSE, fair CRPS and spread   as of the analyses
    spectra                      power of members and truth by scale (`stormda.metrics.spatial`), averaged over starts
    shock                        of the first step of the model, root mean square tendency of the members beside that of
                                 the truth: 1 is an analysis as calm as nature, above 1 it first has to find its balance
"""

__all__ = [
    "CommonModel",
    "Forecaster",
    "Forecasts",
    "common_model",
    "leads",
    "of_channel",
    "spectra_of",
    "summarise",
]

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stormda.assimilation.ensemble_prior import linear_model
from stormda.assimilation.memory import pasts_of
from stormda.config import Config
from stormda.errors import ConfigError
from stormda.grid import Grid
from stormda.metrics.spatial import power, wavelengths
from stormda.nature.lorenz96 import Lorenz96
from stormda.nature.sqg import SIX_HOURS
from stormda.pipeline import build
from stormda.pipeline.twin_scores import area_mean, ensemble_scores, interval, mean, root
from stormda.pipeline.worlds import World
from stormda.time import hours
from stormda.types import Array

Advance = Callable[[Tensor, np.datetime64], Tensor]


@dataclass(frozen=True, eq=False)
class CommonModel:
    """A model for the members of all methods, on physical fields [M, C, H, W] that are valid at a time.

    Args:
        name: `nature` or `linear`.
        advance: one cycle further.
        first: one time step of the model further.
    """

    name: str
    advance: Advance
    first: Advance


@dataclass(frozen=True, eq=False)
class Forecasts:
    """Scores of one method and seed, of S starts, leads 0..L and C channels.

    Args:
        mse, crps, variance: [S, L + 1, C]; variance is (1 + 1/M) times that of the members.
        shock: mean square first tendency of members and of the truth [S, C, 2].
        power: of members and truth by scale [L + 1, C, 2, K].
        wavelengths: of the K scales, in grid points.
    """

    mse: Array
    crps: Array
    variance: Array
    shock: Array
    power: Array
    wavelengths: Array


def common_model(config: Config) -> CommonModel:
    """The model of the world of the section `twin`; raises ConfigError where its steps are not those of the cycle."""
    simulator = build.nature(config)
    if simulator is None:
        gaussian = build.gaussian(config)
        if gaussian.step != config.assimilate.step:
            apart, step = hours(config.assimilate.step), hours(gaussian.step)
            what = f"analyses are {apart:g} h apart, the steps of the linear model {step:g} h"
            raise ConfigError(what, key="assimilate.step", hint="assimilate.step as archive.step, to forecast")
        one_step = linear_model(gaussian)

        def linear(x: Tensor, time: np.datetime64) -> Tensor:
            z = torch.as_tensor(gaussian.normaliser.encode(x.numpy(), np.asarray([time])))
            after = one_step(pasts_of([z]), time + gaussian.step, range(len(z)), 0)
            return gaussian.normaliser.decoder(time + gaussian.step)(after)

        return CommonModel("linear", linear, linear)
    if isinstance(simulator, Lorenz96):
        lorenz = simulator
        return CommonModel("nature", lambda x, time: lorenz.step(x), lambda x, time: lorenz.step(x))
    sqg = simulator
    return CommonModel("nature", lambda x, time: sqg.advance(x, SIX_HOURS), lambda x, time: sqg.step(x))


def leads(config: Config) -> int:
    """L, how many cycles a forecast goes on, 0 where none is wanted.

    Raises:
        ConfigError: less than one, or more than there are after the spin-up.
    """
    twin, step = config.twin, hours(config.assimilate.step)
    count, most = int(twin.forecast.hours // step), twin.cycles - twin.spin_up - 1
    if twin.forecast.hours > 0 and not 1 <= count <= most:
        what = (
            f"a forecast of {twin.forecast.hours:g} h has {count} steps of {step:g} h; scored cycles hold 1 to {most}"
        )
        raise ConfigError(what, key="twin.forecast.hours", hint="twin.forecast.hours=72, and cycles enough")
    return count


@dataclass(eq=False)
class Forecaster:
    """Takes analyses as a cycle makes them, forecasts from those that are starts, and scores.

    Args:
        config: the experiment.
        world: its truth.
        model: the common one.
    """

    config: Config
    world: World
    model: CommonModel
    _scores: list[Array] = field(default_factory=list)
    _shock: list[Array] = field(default_factory=list)
    _power: list[Array] = field(default_factory=list)

    def wants(self, cycle: int) -> bool:
        """Whether a forecast starts at this cycle."""
        twin = self.config.twin
        inside = twin.spin_up <= cycle < len(self.world.times) - leads(self.config)
        return inside and (cycle - twin.spin_up) % twin.forecast.every == 0

    def __call__(self, cycle: int, members_MCHW: Tensor, grid: Grid) -> None:
        """Forecast from an analysis, in physical units on the grid of its prior."""
        rows, columns = self.world.grid.within(grid)
        x = members_MCHW[..., torch.as_tensor(rows)[:, None], torch.as_tensor(columns)].float()
        times = self.world.times
        truth = torch.as_tensor(self.world.values[cycle])[None].float()
        pair = [((self.model.first(f, times[cycle]) - f).double() ** 2).numpy() for f in (x, truth)]
        self._shock.append(np.stack([area_mean(p.mean(axis=0), self.world.grid.weights) for p in pair], axis=-1))
        scores, powers = [], []
        for lead in range(leads(self.config) + 1):
            if lead:
                x = self.model.advance(x, times[cycle + lead - 1])
            fields, reference = x.double().numpy(), self.world.values[cycle + lead].astype(np.float64)
            scores.append(ensemble_scores(fields, reference, self.world.grid.weights))
            wraps = self.world.grid.periodic
            powers.append(np.stack([power(fields, wraps).mean(axis=0), power(reference, wraps)], axis=1))
        self._scores.append(np.stack(scores, axis=1))
        self._power.append(np.stack(powers))

    def result(self) -> Forecasts:
        """All of it."""
        mse, crps, variance = np.stack(self._scores, axis=1)
        lengths = wavelengths(self.world.grid.shape, self.world.grid.periodic)
        return Forecasts(mse, crps, variance, np.stack(self._shock), np.mean(self._power, axis=0), lengths)


def summarise(runs: list[Forecasts], scale_C: Array, step_hours: float) -> dict[str, Any]:
    """Scores of all seeds by lead, channels together, each divided by its scale; with intervals over starts."""
    mse, variance = (np.concatenate([getattr(r, n) for r in runs]) / scale_C**2 for n in ("mse", "variance"))
    crps = np.concatenate([r.crps for r in runs]) / scale_C
    shock = np.concatenate([r.shock for r in runs])
    count = mse.shape[1]
    return {
        "hours": [step_hours * k for k in range(count)],
        "starts": len(mse),
        "rmse": [interval(mse[:, k].mean(axis=1), root) for k in range(count)],
        "crps": [interval(crps[:, k].mean(axis=1), mean) for k in range(count)],
        "spread_skill": [float(np.sqrt(variance[:, k].mean() / max(mse[:, k].mean(), 1e-300))) for k in range(count)],
        "shock": interval((shock / scale_C[:, None] ** 2).mean(axis=1), _shock),
    }


def of_channel(run: Forecasts, channel: int) -> Forecasts:
    """The same of one channel."""
    names = ("mse", "crps", "variance", "shock", "power")
    axis = {"shock": 1, "power": 1}
    part = {n: np.take(getattr(run, n), [channel], axis=axis.get(n, 2)) for n in names}
    return Forecasts(**part, wavelengths=run.wavelengths)


def spectra_of(runs: list[Forecasts]) -> dict[str, Any]:
    """Power of members and truth by lead and scale [L + 1][K], channels added in units of the truth's variance."""
    both = np.mean([r.power for r in runs], axis=0)  # [L + 1, C, 2, K]
    share = (both / both[:1, :, 1:].sum(axis=-1, keepdims=True)).mean(axis=1)
    return {
        "wavelengths": runs[0].wavelengths.tolist(),
        "members": share[:, 0].tolist(),
        "truth": share[:, 1].tolist(),
    }


def _shock(pair_S2: Array) -> float:
    members, truth = pair_S2.mean(axis=0)
    return float(np.sqrt(members / truth))
