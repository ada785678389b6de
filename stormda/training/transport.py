"""Fit a model of the flow to pairs of states one step apart, before a network learns what it leaves."""

__all__ = ["Flow", "check_flow", "fit_transport", "untrained"]

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from stormda.errors import ConfigError, InputError
from stormda.grid import Grid
from stormda.nn.transport import Transport
from stormda.normaliser import Normaliser
from stormda.training.data import Series
from stormda.training.loop import Outcome, Settings, fit
from stormda.training.team import ALONE, Team
from stormda.types import Progress, silent

_NOISE = 0.01  # standard deviations added to a state: waves that the archive lacks must not live on in an ensemble
_SPECTRA, _ENERGY = 100, 1e-10  # fields, and energy of a wave that there is, share of the largest; rounding: 1e-17
_LEAST_PAIRS = 20
_HELD = 32  # pairs that it is validated on


@dataclass(frozen=True)
class Flow:
    """How a model of the flow is fitted.

    Args:
        steps: of the fitting; 0: there is no such model.
        substeps, errors: see `Transport`.
        batch: pairs a step.
        learning_rate: at its highest.
    """

    steps: int = 0
    substeps: int = 4
    errors: bool = False
    batch: int = 8
    learning_rate: float = 0.04


def check_flow(flow: Flow, normaliser: Normaliser, grid: Grid) -> None:
    """Raise ConfigError where a model of the flow is asked for, and the data are none for it."""
    if flow.steps == 0:
        return
    h, w = grid.shape
    if not (grid.periodic[1] or w == 1) or not (grid.periodic[0] or h == 1) or not grid.plane:
        what = "a model of the flow needs a plane that wraps on every side"
        raise ConfigError(what, key="storm.transport.steps", hint="0: the linear inverse model")
    if normaliser.annual or normaliser.diurnal:
        what = "a model of the flow knows no seasons and hours"
        hint = "archive.climatology={annual: 0, diurnal: 0}, or storm.transport.steps=0"
        raise ConfigError(what, key="storm.transport.steps", hint=hint)


def untrained(flow: Flow, series: Series, normaliser: Normaliser, seed: int) -> Transport:
    """The model before it is fitted, for data that `check_flow` has seen."""
    mean = normaliser.mean(np.asarray(["2000-01-01"], dtype="datetime64[s]"))[0]
    offset = torch.as_tensor(mean / normaliser.sd[:, None, None]).to(series.fields)
    energy = torch.fft.rfft2(series.fields[:: max(1, len(series.fields) // _SPECTRA)] + offset).abs().square().mean(0)
    most = energy.amax(dim=0)
    return Transport(offset, flow.substeps, seed, most > _ENERGY * most.max(), flow.errors)


def fit_transport(
    model: Transport,
    learn: Series,
    held: Series,
    flow: Flow,
    folder: Path,
    *,
    seed: int = 0,
    job: str = "",
    progress: Progress = silent,
    stop: Callable[[], bool] = lambda: False,
    team: Team = ALONE,
) -> Outcome:
    """Minimise the squared error of one step; killed, it goes on from the checkpoint in `folder`.

    Args:
        model: to be fitted.
        learn, held: training and validation period.
        flow: how.
        folder: for the checkpoint and the log.
        seed: of the pairs and the noise.
        job, progress, stop, team: see `fit`.

    Raises:
        InputError: too few pairs of times one step apart.
        StormdaError: the loss is not finite.
    """
    before, after = _pairs(learn)
    check_before, check_after = _pairs(held)
    every = max(1, len(check_before) // _HELD)
    idle = team.number >= flow.batch  # A transform of no fields is an error: the first pair stands there for nothing.
    mine = slice(1) if idle else slice(team.number, None, team.count)

    def objective(network: nn.Module, step: int) -> Tensor:
        g = torch.Generator(learn.fields.device).manual_seed(seed * 1_000_003 + step)
        chosen = torch.randint(len(before), (flow.batch,), generator=g, device=g.device)
        x, y = learn.fields[before[chosen]], learn.fields[after[chosen]]
        x = x + _NOISE * torch.randn(x.shape, generator=g, device=g.device)
        loss: Tensor = (network(x[mine]) - y[mine]).square().mean(dim=(1, 2, 3)).sum() / flow.batch
        return 0.0 * loss if idle else loss

    def validate(network: nn.Module) -> dict[str, float]:
        x, y = held.fields[check_before[::every]], held.fields[check_after[::every]]
        return {"loss": float((network(x) - y).square().mean().sqrt())}

    settings = Settings(
        flow.steps, None, flow.learning_rate, weight_decay=0.0, warm_up=50, average=0.99,
        validate_every=max(1, flow.steps // 10),
    )  # fmt: skip
    facts = f"{job}\n{flow}"
    return fit(model, objective, validate, settings, folder, job=facts, progress=progress, stop=stop, team=team)


def _pairs(series: Series) -> tuple[Tensor, Tensor]:
    """Indices of states one step apart, on the device of the fields."""
    device = series.fields.device
    past, target = (torch.as_tensor(index, device=device) for index in (series.past(1)[:, 0], series.targets))
    there = past >= 0
    if int(there.sum()) < _LEAST_PAIRS:
        raise InputError(f"only {int(there.sum())} pairs of times one step apart", key="archive.step")
    return past[there], target[there]
