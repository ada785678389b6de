"""Drawing the recent past again, with the observations that have come since.

A filter leaves p(x_k | y_1..k) at every time. A window of its last L frames is drawn from p(x_j..x_k | y_1..k):

**In one draw** (`gaussian`, `kf`), from the joint prior of all frames given the history before the first, and all
observations of the window at their times (`stormda.assimilation.window`). Exact where H is linear.

**Step by step backwards** (`storm`), since a network of single frames has no joint prior. In the EOFs of the covariance
P that the filter carries, with its propagator G and the covariance B of the background b of the next time,

    C = P_k G^T B_{k+1}^-1,      x_k <- x_k + C (x_{k+1} - f),      f = b_{k+1} + G (x_k - m_k) + q

member by member: x_{k+1} has been drawn again already, f is what the member would have forecast, m_k the mean of the
analysis and q a draw from what G leaves unexplained, B - G P G^T. With a linear-Gaussian prior mean and covariance are
those of Rauch, Tung and Striebel (1965, https://doi.org/10.2514/3.3166), and members stay trajectories; members keep
the shape that the network gave them. What the EOFs leave out is not touched.

A frame that no later observation reaches is not drawn again: nothing came after it, or no covariance was carried on.
"""

__all__ = ["WINDOWED", "Between", "Frame", "redraw", "windowed"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from stormda.assimilation import methods
from stormda.assimilation.methods import Problem, Settings
from stormda.assimilation.prior import GaussianPrior, Prior
from stormda.assimilation.storm_prior import StormPrior
from stormda.assimilation.window import Window
from stormda.errors import ConfigError
from stormda.random import normal, stream
from stormda.time import format_time

WINDOWED = ("storm", "gaussian", "kf")
"""Methods that can draw their past again."""


class Between(NamedTuple):
    """Observations between two frames: H of both (z before, z), values and error variances [N]."""

    operator: Callable[[Tensor, Tensor], Tensor]
    y: Tensor
    variance: Tensor


@dataclass(frozen=True, eq=False)
class Frame:
    """One time as the filter left it.

    Args:
        problem: of its analysis.
        ensemble: the analysis [M, C, H, W], standardised.
        between: the same observations where H sees the frame before as well; None: H sees this frame alone.
        prior: of its time, as its analysis was drawn from it; None: that of the window.
    """

    problem: Problem
    ensemble: Tensor
    between: Between | None = None
    prior: Prior | None = None


def windowed(method: str, prior: Prior) -> None:
    """Raise ConfigError where a method, or the prior that it has, cannot draw its past again."""
    if method not in WINDOWED:
        hint = f"window.frames=1; windows are for {', '.join(WINDOWED)}"
        raise ConfigError(f"method {method} cannot draw its past again", key="window.frames", hint=hint)
    if isinstance(prior, GaussianPrior) or (isinstance(prior, StormPrior) and prior.background is not None):
        return
    what = "the weights hold no background error covariance, which carries observations back in time"
    raise ConfigError(what, key="storm.weights", hint="stormda train estimates it (storm.background_modes)")


def redraw(method: str, prior: Prior, frames: Sequence[Frame], settings: Settings) -> list[Tensor | None]:
    """The members [M, C, H, W] of every frame of a window, given all its observations; None: as its analysis is.

    Args:
        method: one of `WINDOWED`.
        prior: of that method.
        frames: successive times, oldest first, each of whose problems has the analysis before it as its history.
        settings: how to draw.

    Raises:
        ConfigError: as `windowed`, or a state from elsewhere.
    """
    if any(frame.problem.elsewhere is not None for frame in frames):
        hint = "window.frames=1, or no assimilate.background"
        raise ConfigError("a window cannot be drawn again beside a centre's own state", key="window.frames", hint=hint)
    windowed(method, prior)
    last = max((k for k, frame in enumerate(frames) if len(frame.problem.y)), default=0)
    if last == 0:
        return [None] * len(frames)
    drawn: list[Tensor | None]
    if isinstance(prior, GaussianPrior):
        drawn = [*_together(method, prior, frames, settings)]
    else:
        assert isinstance(prior, StormPrior) and prior.background is not None
        linear = prior.background.linear
        drawn = backwards(prior, linear.modes.double(), linear.propagator.double(), frames, settings.seed)
    return [z if k < last or k == len(frames) - 1 else None for k, z in enumerate(drawn)]


def _together(method: str, prior: GaussianPrior, frames: Sequence[Frame], settings: Settings) -> list[Tensor]:
    """One draw of all frames."""
    first, last = frames[0].problem, frames[-1].problem
    window = Window(prior, first.history, [frame.problem.time for frame in frames])
    channels = len(prior.channels)
    data = [(first.y, first.variance), *((_data(frame)) for frame in frames[1:])]

    def operator(z_BXHW: Tensor) -> Tensor:
        z = _apart(z_BXHW, channels)
        seen = [first.operator(z[0])]
        for before, now, frame in zip(z, z[1:], frames[1:], strict=False):
            own = frame.problem.operator(now) if frame.between is None else frame.between.operator(before, now)
            seen.append(own)
        return torch.cat(seen, dim=-1)

    y, variance = (torch.cat([pair[i].double() for pair in data]) for i in (0, 1))
    whole = Problem(last.time, first.history, operator, y, variance)
    ensemble, _ = methods.analysis(method, window, whole, settings)
    return _apart(ensemble, channels)


def _apart(z_BXHW: Tensor, channels: int) -> list[Tensor]:
    """The frames of a window, [B, C, H, W] each."""
    return [z_BXHW[:, k : k + channels] for k in range(0, z_BXHW.shape[1], channels)]


def _data(frame: Frame) -> tuple[Tensor, Tensor]:
    known = frame.between or frame.problem
    return known.y, known.variance


def backwards(
    prior: Prior, modes_RN: Tensor, propagator: Tensor, frames: Sequence[Frame], seed: int
) -> list[Tensor | None]:
    """Frame after frame from the last one, which stays, to the first; None from where no covariance was carried."""
    z = frames[-1].ensemble
    drawn: list[Tensor | None] = [*(None for _ in frames[1:]), z]
    for k in reversed(range(len(frames) - 1)):
        after, told = frames[k + 1].problem, frames[k + 1].prior or prior
        p = after.history.covariance
        if p is None or after.history.age != 1:
            break
        here = _coordinates(frames[k].ensemble, modes_RN)
        linear = told.linear(after.history, after.time)
        top = torch.tensor(told.sigma_max)
        b = _coordinates(told.denoiser(after.history, after.time)(linear.mean.float()[None], top), modes_RN)
        moved = propagator @ p.double()
        gain = torch.linalg.solve(linear.covariance, moved).T  # C = P G^T B^-1
        own = _draw(linear.covariance - moved @ propagator.T, len(here), seed, after)
        forecast = b + (here - here.mean(dim=0)) @ propagator.T + own
        step = (_coordinates(z, modes_RN) - forecast) @ gain.T
        z = frames[k].ensemble + (step @ modes_RN).view_as(frames[k].ensemble).to(frames[k].ensemble)
        drawn[k] = z
    return drawn


def _coordinates(x_MCHW: Tensor, modes_RN: Tensor) -> Tensor:
    return x_MCHW.double().flatten(1) @ modes_RN.T


def _draw(covariance: Tensor, members: int, seed: int, problem: Problem) -> Tensor:
    """Members [M, R] of mean zero; what rounding makes negative is zero."""
    values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
    where = stream("window", format_time(problem.time))
    n = normal(seed, where, torch.arange(members), torch.arange(len(values)))
    draws: Tensor = (n * values.clamp_min(0.0).sqrt()) @ vectors.T
    return draws - draws.mean(dim=0)
