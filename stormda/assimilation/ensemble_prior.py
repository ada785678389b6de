"""The prior of an ensemble filter: its members, each forecast from its own past by a model.

An ensemble filter (`letkf`, `ensf`) knows of the state what its members say. Its history has one mean a member, the
member's own past. Where there is none, the first members are states of the archive, drawn at random: the climatology.
Where the past is a field with an error level, they are that field and, times the error, the anomalies of such states.

A model takes members one step further. The nature run does it exactly; the linear inverse model a_k = G a_{k-1} + q and
the STORM prior draw what they cannot know. Or the members are given at every time: forecasts of somebody's model, whose
past is not ours to know. Then nothing has to be trained, and what a cycle leaves is for that model to use.
"""

__all__ = ["EnsemblePrior", "Given", "Model", "generative_model", "given_ensemble", "linear_model", "nature_model"]

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from stormda.assimilation.ensemble import noise
from stormda.assimilation.prior import GaussianPrior, Prior
from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.history import History
from stormda.errors import StormdaError
from stormda.grid import Grid
from stormda.normaliser import Normaliser
from stormda.random import stream, uniform
from stormda.time import format_time
from stormda.types import Denoise, Mapping2
from stormda.variables import Channel


class Model(Protocol):
    """Takes members one step further."""

    def __call__(self, history: History, time: np.datetime64, members: Sequence[int], seed: int) -> Tensor:
        """Standardised fields [M, C, H, W] at `time`; the history has one mean a member, [M, K, C, H, W]."""


Given = Callable[[np.datetime64, Sequence[int]], Tensor]
"""Members [M, C, H, W] of a time by number, standardised."""


@dataclass(eq=False)
class EnsemblePrior:
    """Members and a model.

    Args:
        channels, grid, normaliser, step, frames: as those of the protocol `Prior`.
        model: the forecast model.
        states: how many states the archive has, and a function that reads some by number, standardised: [n, C, H, W].
        base: the generative prior that is the model, whose denoiser this has; None: the model is the nature run.
        given: the members of each time; None: those of the model.
    """

    channels: tuple[Channel, ...]
    grid: Grid
    normaliser: Normaliser
    step: np.timedelta64
    frames: int
    model: Model
    states: tuple[int, Callable[[Sequence[int]], Tensor]]
    base: Prior | None = None
    given: Given | None = None
    sigma_max: float = field(init=False)

    def __post_init__(self) -> None:
        self.sigma_max = math.inf if self.base is None else self.base.sigma_max

    def forecast(self, history: History, time: np.datetime64, members: Sequence[int], seed: int) -> Tensor:
        """The background: members [M, C, H, W] at `time`, standardised, float32."""
        if self.given is not None:
            return self.given(time, members).float()
        if not bool(history.mask.any()):
            return self.climate(members, seed)
        if history.mean.ndim == 4:
            history = self._around(history, members, seed)
        return self.model(history, time, members, seed).float()

    def climate(self, members: Sequence[int], seed: int) -> Tensor:
        """States of the archive: member m gets the m-th of a random order."""
        count, read = self.states
        order = uniform(seed, stream("first ensemble"), torch.zeros(1, dtype=torch.int64), torch.arange(count))[0]
        return read(order.argsort()[torch.as_tensor(list(members)) % count].tolist()).float()

    def _around(self, history: History, members: Sequence[int], seed: int) -> History:
        """One past a member, from a past that all share."""
        mean = history.mean + history.error * self.climate(members, seed)[:, None]
        return replace(history, mean=mean, error=torch.full_like(mean, 1e-3), covariance=None)

    @property
    def _base(self) -> Prior:
        if self.base is None:
            raise StormdaError("a nature run has no denoiser")
        return self.base

    def linear(self, history: History, time: np.datetime64) -> Gaussian:
        """That of `base`."""
        return self._base.linear(history, time)

    @property
    def signature(self) -> None:
        """Nothing is carried: the members are all there is."""
        return None

    def share(self, history: History, sigma: float) -> float:
        """That of `base`."""
        return self._base.share(history, sigma)

    def denoiser(self, history: History, time: np.datetime64) -> Denoise:
        """That of `base`."""
        return self._base.denoiser(history, time)

    def carry(
        self, history: History, time: np.datetime64, operator: Mapping2, y: Tensor, variance: Tensor
    ) -> Tensor | None:
        """Nothing: the members are all there is."""
        return None


def given_ensemble(
    given: Given, channels: tuple[Channel, ...], grid: Grid, normaliser: Normaliser, step: np.timedelta64
) -> EnsemblePrior:
    """A prior of members that somebody gives, and no model."""

    def model(history: History, time: np.datetime64, members: Sequence[int], seed: int) -> Tensor:
        raise StormdaError("the members are given: there is no model to take them further")

    def read(numbers: Sequence[int]) -> Tensor:
        raise StormdaError("the members are given: there is no climatology")

    return EnsemblePrior(channels, grid, normaliser, step, 1, model, (0, read), given=given)


def nature_model(
    advance: Mapping2,
    normaliser: Normaliser,
    step: np.timedelta64,
    fault: Callable[[np.datetime64], Tensor] | None = None,
) -> Model:
    """The nature run: `advance` takes physical fields [M, C, H, W] one step further, `fault` of a time is added."""

    def model(history: History, time: np.datetime64, members: Sequence[int], seed: int) -> Tensor:
        x = advance(normaliser.decoder(time - step)(history.mean[:, -1]))
        x = x if fault is None else x + fault(time).to(x)
        return torch.as_tensor(normaliser.encode(x.numpy(), np.asarray([time])))

    return model


def linear_model(prior: GaussianPrior) -> Model:
    """The linear inverse model: G a of each member and a draw from Q, of the residual variance beyond the modes."""

    def model(history: History, time: np.datetime64, members: Sequence[int], seed: int) -> Tensor:
        known = torch.zeros(len(prior.modes), len(prior.modes), dtype=torch.float64)
        one_step = prior.linear(replace(history, covariance=known), time)
        shape = (len(prior.channels), *prior.grid.shape)
        return one_step.sample(noise(seed, stream("forecast", format_time(time)), members, shape, torch.float64))

    return model


def generative_model(draw: Callable[[History, np.datetime64, Sequence[int]], Tensor], batch: int) -> Model:
    """A draw of a generative prior from each member's own past, `batch` members at once."""

    def model(history: History, time: np.datetime64, members: Sequence[int], seed: int) -> Tensor:
        parts = []
        for first in range(0, len(members), batch):
            some = slice(first, first + batch)
            own = replace(history, mean=history.mean[some], error=history.error[some])
            parts.append(draw(own, time, members[some]))
        return torch.cat(parts)

    return model
