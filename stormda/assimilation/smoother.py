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
"""

__all__ = ["WINDOWED", "Between", "Frame", "redraw"]

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
    """

    problem: Problem
    ensemble: Tensor
    between: Between | None = None


def redraw(method: str, prior: Prior, frames: Sequence[Frame], settings: Settings) -> list[Tensor]:
    """The members [M, C, H, W] of every frame of a window, given all its observations.

    Args:
        method: one of `WINDOWED`.
        prior: of that method.
        frames: successive times, oldest first, each of whose problems has the analysis before it as its history.
        settings: how to draw.

    Raises:
        ConfigError: a network without a background error covariance, or a state from elsewhere.
    """
    if any(frame.problem.elsewhere is not None for frame in frames):
        hint = "window.frames=1, or no assimilate.background"
        raise ConfigError("a window cannot be drawn again beside a centre's own state", key="window.frames", hint=hint)
    if isinstance(prior, GaussianPrior):
        return _together(method, prior, frames, settings)
    if isinstance(prior, StormPrior) and prior.background is not None:
        linear = prior.background.linear
        return backwards(prior, linear.modes.double(), linear.propagator.double(), frames, settings.seed)
    what = "the weights hold no background error covariance, which carries observations back in time"
    raise ConfigError(what, key="storm.weights", hint="stormda train estimates it (storm.background_modes)")


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
    if len(y) == 0:
        return [frame.ensemble for frame in frames]
    ensemble, _ = methods.analysis(method, window, whole, settings)
    return _apart(ensemble, channels)


def _apart(z_BXHW: Tensor, channels: int) -> list[Tensor]:
    """The frames of a window, [B, C, H, W] each."""
    return [z_BXHW[:, k : k + channels] for k in range(0, z_BXHW.shape[1], channels)]


def _data(frame: Frame) -> tuple[Tensor, Tensor]:
    known = frame.between or frame.problem
    return known.y, known.variance


def backwards(prior: Prior, modes_RN: Tensor, propagator: Tensor, frames: Sequence[Frame], seed: int) -> list[Tensor]:
    """Frame after frame from the last one to the first; where no covariance was carried, the past stays as it is."""
    drawn = [frame.ensemble for frame in frames]
    for k in reversed(range(len(frames) - 1)):
        after = frames[k + 1].problem
        p = after.history.covariance
        if p is None or after.history.age != 1:
            break
        here = _coordinates(frames[k].ensemble, modes_RN)
        linear = prior.linear(after.history, after.time)
        top = torch.tensor(prior.sigma_max)
        b = _coordinates(prior.denoiser(after.history, after.time)(linear.mean.float()[None], top), modes_RN)
        moved = propagator @ p.double()
        gain = torch.linalg.solve(linear.covariance, moved).T  # C = P G^T B^-1
        own = _draw(linear.covariance - moved @ propagator.T, len(here), seed, after)
        forecast = b + (here - here.mean(dim=0)) @ propagator.T + own
        step = (_coordinates(drawn[k + 1], modes_RN) - forecast) @ gain.T
        drawn[k] = frames[k].ensemble + (step @ modes_RN).view_as(frames[k].ensemble).to(frames[k].ensemble)
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
