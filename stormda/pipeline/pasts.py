"""Pasts made on purpose, and what an analysis is worth after them.

An analysis knows the state x, of climate N(0, S), as one that saw h = x + s c, c ~ N(0, S), would: its mean is

    m = h / (1 + s^2)        error covariance  e^2 S,   e^2 = s^2 / (1 + s^2)

so that the error is independent of m (Berkson's kind, `stormda.training.data`) and shaped like the weather, and e is
its size as a share of the climatological standard deviation: 0 is the truth, 1 is no knowledge at all. A
linear-Gaussian prior that is told e at every point, and takes the correlations of the climate, then knows the error
exactly. The c of successive frames are correlated, as are the errors of analyses one of which is the past of the next.
"""

__all__ = ["ANALYSIS", "BACKGROUND", "Trial"]

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stormda.assimilation import methods
from stormda.assimilation.memory import history_of
from stormda.assimilation.prior import GaussianPrior, Prior
from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.history import History
from stormda.pipeline.networks import Network
from stormda.pipeline.twin_scores import ensemble_scores
from stormda.pipeline.worlds import World
from stormda.random import normal, stream
from stormda.time import format_time
from stormda.types import Array

BACKGROUND, ANALYSIS = 0, 1
_ALIKE = 0.5  # correlation of the errors of successive frames


@dataclass(eq=False)
class Trial:
    """A method in a world.

    Args:
        method: storm, gaussian or kf.
        prior: its prior.
        climate: the Gaussian of the archive, on the grid of the world.
        world: the truth.
        observe: the network.
        settings: how ensembles are drawn.
    """

    method: str
    prior: Prior
    climate: GaussianPrior
    world: World
    observe: Network
    settings: methods.Settings

    def __post_init__(self) -> None:
        self._shape = (len(self.prior.channels), *self.prior.grid.shape)
        rows, columns = self.prior.grid.within(self.world.grid)
        self._place = (slice(None), rows[:, None], columns)

    def nothing(self) -> History:
        """No past."""
        return History.none(self.prior.frames, self._shape)

    def past(self, k: int, error: float, *, told: float = 1.0, newest: int = 1, frames: int | None = None) -> History:
        """The past of the world's time number k, of which so many times lie before it.

        Args:
            k: at least the prior's frames.
            error: e of every frame, share of the climatological standard deviation, 0 < e < 1.
            told: error level that the prior is told, in units of the true one.
            newest: age of the newest frame, in steps.
            frames: how many frames are there, from the newest one on; None: all that are not younger.
        """
        many = self.prior.frames
        there = range(newest, many + 1 if frames is None else min(newest + frames, many + 1))
        s = error / (1 - error**2) ** 0.5
        found: list[tuple[Tensor, Tensor] | None] = []
        c_KCHW, sd_CHW = self._errors(k)
        for age in range(many, 0, -1):
            if age not in there:
                found.append(None)
                continue
            time = self.world.times[k - age : k - age + 1]
            z = torch.as_tensor(self.prior.normaliser.encode(self._truth(k - age)[None], time))[0]
            found.append(((z + s * c_KCHW[many - age]) / (1 + s**2), told * error * sd_CHW))
        return history_of(found, self._shape)

    def analyse(self, k: int, history: History) -> tuple[Array, History]:
        """Background and analysis of the world's time number k.

        Returns:
            Scores by area in physical units, [2, 3, C]: of background and analysis the mean square error of the mean,
            the CRPS and (1 + 1/M) times the variance of the members; and the history of the next time.
        """
        prior, time, truth = self.prior, self.world.times[k], self._truth(k)
        decode, reports = prior.normaliser.decoder(time), self.observe(k, truth)
        background = methods.background(prior, history, time, self.settings)

        def operator(z: Tensor) -> Tensor:
            return reports.operator(decode(z))

        problem = methods.Problem(time, history, operator, reports.y, reports.variance, background, reports.places)
        ensemble, carry = methods.analysis(self.method, prior, problem, self.settings)
        weights = prior.grid.weights
        scores = [ensemble_scores(decode(x).double().numpy(), truth, weights) for x in (background, ensemble)]
        return np.stack(scores), methods.remember(prior, history, ensemble, carry)

    def _truth(self, k: int) -> Array:
        return np.asarray(self.world.values[k][self._place])

    def _errors(self, k: int) -> tuple[Tensor, Tensor]:
        """Draws c of the climate, alike in successive frames, [K, C, H, W], and its standard deviation [C, H, W].

        In the prior's standardised units, on its grid.
        """
        time, many = self.world.times[k], self.prior.frames
        climate = self.climate.linear(History.none(1, self._world_shape), time)
        points = torch.arange(int(np.prod(self._world_shape)))
        where = stream("error of the past", format_time(time))
        fresh = normal(self.settings.seed, where, torch.arange(many), points).reshape(many, *self._world_shape)
        frames = [fresh[0]]
        for k_frame in range(1, many):
            frames.append(_ALIKE * frames[-1] + (1 - _ALIKE**2) ** 0.5 * fresh[k_frame])
        scale = torch.as_tensor(self.climate.normaliser.sd / self.prior.normaliser.sd)[:, None, None]
        draws, sd = climate.sample(torch.stack(frames)) * scale, _sd(climate) * scale
        return draws[:, *self._place], sd[self._place]

    @property
    def _world_shape(self) -> tuple[int, int, int]:
        return len(self.climate.channels), *self.climate.grid.shape


def _sd(gaussian: Gaussian) -> Tensor:
    """Standard deviation at every point, [C, H, W]."""
    e = gaussian.modes
    inside = ((gaussian.covariance @ e) * e).sum(dim=0)
    outside = (1 - e.square().sum(dim=0)).clamp_min(0.0) * gaussian.residual
    return (inside + outside).sqrt().view_as(gaussian.mean)
