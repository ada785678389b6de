"""Train the STORM prior on plain arrays: what to learn, with which network, and how it is validated.

Nothing here knows where the fields came from: it runs wherever torch, numpy and safetensors are.
"""

__all__ = ["Job", "Trained", "enough_samples", "train_storm"]

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stormda.diffusion.denoise import EDM
from stormda.errors import CheckpointError, ConfigError
from stormda.grid import Grid
from stormda.nn.embedding import static_fields
from stormda.nn.poles import pole_arguments
from stormda.nn.storm import Storm
from stormda.nn.transport import Transport
from stormda.nn.weights import Weights
from stormda.normaliser import Normaliser
from stormda.training.background import background_error
from stormda.training.data import Data, Sampler, Series, Statistics, statistics
from stormda.training.linear import linear_guess
from stormda.training.loop import Outcome, Settings, fill, fit
from stormda.training.loss import NoiseDensity, denoising_error
from stormda.training.rim import NO_RIM, Rim
from stormda.training.rollout import Rollout, draw_level, own_analyses
from stormda.training.samples import Samples
from stormda.training.team import ALONE, Team
from stormda.training.transport import Flow, check_flow, fit_transport, untrained
from stormda.training.validation import Validation
from stormda.types import Progress, silent

_SIGMA_MIN = 0.02
_ABOVE = 5.0  # sigma_max in units of the leading EOF's standard deviation
# May differ when a training goes on.
_FREE = ("steps", "minutes", "checkpoint_every", "validate_every", "patience", "compile")
# Of a model of the flow, what the configuration says whatever weights a training begins with.
_ASKED = ("guess.transport.substeps", "guess.transport.errors")


@dataclass(frozen=True, eq=False)
class Job:
    """One training.

    Args:
        train, validation: standardised fields in memory or on a disk; validation on a later period.
        normaliser, grid: that they belong to.
        network: patch, width, blocks, heads and latents of `Storm`.
        settings: of the loop.
        frames: K history frames.
        modes: EOFs of the linear-Gaussian guess that the network improves on; 0: independent points.
        background_modes: EOFs of the background error covariance; 0: none is estimated.
        batch: samples a step.
        dropout: share of samples without history.
        error: range of the history's error, share of the climatological standard deviation.
        seed: of initial weights and of every draw.
        members: of the one-step ensembles at validation; 0: none.
        rollout: learning from the network's own analyses.
        start: weights of an earlier training to begin with; None: random ones.
        rim: what a coarser model knows of the rim of the domain.
        flow: how a model of the flow is fitted first, which takes the guess forward.
    """

    train: Data
    validation: Series
    normaliser: Normaliser
    grid: Grid
    network: Mapping[str, Any]
    settings: Settings
    frames: int = 1
    modes: int = 0
    background_modes: int = 0
    batch: int = 32
    dropout: float = 0.1
    error: tuple[float, float] = (0.01, 1.0)
    seed: int = 0
    members: int = 8
    rollout: Rollout = Rollout()
    start: Weights | None = None
    rim: Rim = NO_RIM
    flow: Flow = Flow()

    @property
    def roll(self) -> bool:
        """Whether samples may be shifted along the columns: no place of a plane that wraps is special.

        Rows may hold a jet and are never shifted.
        """
        return self.grid.plane and self.grid.periodic[1]

    @property
    def architecture(self) -> dict[str, Any]:
        """Arguments of `Storm` that the weights keep: the network's size, and the poles of its grid."""
        return dict(self.network) | {"frames": self.frames} | pole_arguments(self.grid, self.normaliser.channels)

    def fingerprint(self) -> str:
        """What a checkpoint must agree with, a line a fact."""
        facts: dict[str, Any] = {"channels": ",".join(c.name for c in self.normaliser.channels), "grid": self.grid}
        facts |= dict(self.network) | {
            "frames": self.frames,
            "modes": self.modes,
            "batch": self.batch,
            "dropout": self.dropout,
        }
        if self.start is not None:
            facts["start"] = self.start.card.get("provenance", {}).get("created", "unknown weights")
        facts |= {"error": self.error, "seed": self.seed, "data": self.train.digest()}
        facts |= {k: v for k, v in asdict(self.settings).items() if k not in _FREE}
        if self.rim.width:
            facts["rim"] = self.rim
        if self.flow.steps:
            facts["flow"] = self.flow
        if self.rollout.steps:
            begin = round(self.rollout.after * self.settings.steps)
            facts |= {"rollout": f"{self.rollout.steps} after step {begin}, share {self.rollout.share}"}
        return "\n".join(f"{key}: {value}" for key, value in facts.items())


@dataclass(frozen=True, eq=False)
class Trained:
    """The weights (best average so far), how the training went, and what the network draws."""

    weights: Weights
    outcome: Outcome
    parameters: int
    samples: Samples


def train_storm(
    job: Job,
    folder: Path,
    *,
    card: Mapping[str, Any] | None = None,
    device: str = "cpu",
    precision: torch.dtype | None = None,
    progress: Progress = silent,
    stop: Callable[[], bool] = lambda: False,
    record: Callable[[Mapping[str, float]], None] = lambda row: None,
    team: Team = ALONE,
) -> Trained:
    """Train, or go on training from the checkpoint in `folder`.

    Args:
        job: what to learn.
        folder: for the checkpoint and the log.
        card: facts to keep with the weights.
        device: where to compute.
        precision: of products within the network; None: that of its weights.
        progress, stop, record, team: see `fit`.

    Returns:
        The weights are whole on the first rank alone.

    Raises:
        StormdaError: the loss is not finite.
        CheckpointError: the checkpoint belongs to another job.
        InputError: too few times.
        ConfigError: a network that cannot be built, fewer samples than ranks, or no domain for a model of the flow.
    """
    enough_samples(job, team.count)
    check_flow(job.flow, job.normaliser, job.grid)
    known, validation = job.train.sample().to(device), job.validation.to(device)
    climate = statistics(known, job.roll)
    talk: dict[str, Any] = {"progress": progress, "stop": stop, "team": team}
    transport, fitted = _flow(job, known, validation, folder / "flow", device, talk)
    model = build(job, known, climate, team, transport).to(device)
    model.precision = precision
    if job.start is not None:
        _begin(model, job.start, team)
    del known
    weights_HW = torch.as_tensor(job.grid.weights, dtype=torch.float32, device=device)
    density = NoiseDensity(_SIGMA_MIN, _ABOVE * climate.leading)
    samplers, chains = _Samplers(job, climate, device), _Samplers(job, climate, device, job.rollout.steps)

    mine = slice(team.number, None, team.count)

    def objective(network: nn.Module, step: int) -> Tensor:
        g = torch.Generator(device).manual_seed(job.seed * 1_000_003 + step)
        own = job.rollout.samples(step, job.settings.steps, job.batch)
        batch = samplers.at(step).draw(job.batch - own, g).cut(mine)
        index = torch.arange(job.batch, device=device)
        chosen = torch.cat([index[: job.batch - own][mine], index[job.batch - own :][mine]])
        if own:
            seen = draw_level(density.sigma_min, density.sigma_max, g)
            batch += own_analyses(network, chains.at(step).chain(own, g), seen, g, team)
        sigma = density.draw(job.batch, g)[chosen]
        noise = torch.randn((job.batch, *batch.x.shape[1:]), generator=g, device=device)[chosen]
        return denoising_error(network, batch, sigma, noise, weights_HW).sum() / job.batch

    names = [c.name for c in job.normaliser.channels]
    held = Sampler(validation, climate, job.frames, 0.0, job.error, False, rim=replace(job.rim, dropout=0.0))
    longer = replace(held, extra=job.rollout.steps) if job.rollout.steps else None
    share = job.rollout.share
    validate = Validation(held, names, density, weights_HW, job.seed, job.members, longer=longer, share=share)
    whole = job.fingerprint() + ("" if precision is None else f"\nprecision: {precision}")
    if fitted is None or fitted.finished:
        outcome = fit(model, objective, validate, job.settings, folder, job=whole, record=record, **talk)
    else:  # stopped before the network's first step
        outcome = replace(fitted, step=0, best={}, curve=[])
    tensors = {name: value.detach().cpu() for name, value in team.gather(model.state_dict()).items()}
    if outcome.finished and job.background_modes:
        levels = density.sigma_min, density.sigma_max
        tensors |= _background(job, model, climate, validation, levels, weights_HW, progress)
    references = {"persistence": validate.persistence(), "linear": validate.linear(model)}
    scores = {"scores": outcome.best, "steps": outcome.step} | references
    weights = Weights(
        tensors,
        job.normaliser,
        job.grid,
        job.train.step,
        job.architecture,
        (density.sigma_min, density.sigma_max),
        scores | {"seconds": round(outcome.seconds, 1), "seed": job.seed} | dict(card or {}),
    )
    return Trained(weights, outcome, sum(p.numel() for p in model.parameters()), validate.samples(model))


def _background(
    job: Job,
    model: EDM,
    climate: Statistics,
    validation: Series,
    sigma: tuple[float, float],
    weights_HW: Tensor,
    progress: Progress,
) -> dict[str, Tensor]:
    """The state of the background error covariance, where it can be estimated."""
    known = job.train.sample().to(str(weights_HW.device))
    linear = linear_guess(known, climate, job.frames, job.background_modes, roll=job.roll)
    data = model, linear, known, validation, job.frames, sigma, weights_HW
    error = background_error(*data, seed=job.seed, rim=job.rim, progress=progress)
    state = {} if error is None else error.state_dict()
    return {f"background.{name}": value.detach().cpu().clone() for name, value in state.items()}


def _flow(
    job: Job, known: Series, validation: Series, folder: Path, device: str, talk: Mapping[str, Any]
) -> tuple[Transport | None, Outcome | None]:
    """The model of the flow, and how it was fitted; nothing is fitted where the weights to begin with have one."""
    if job.flow.steps == 0:
        return None, None
    model = untrained(job.flow, known, job.normaliser, job.seed).to(device)
    if job.start is not None:
        return model.requires_grad_(False), None
    data = model, known, validation, job.flow, folder
    outcome = fit_transport(*data, seed=job.seed, job=job.fingerprint(), **talk)
    return _whole(model, talk["team"]).to(device), outcome


def _whole(model: Transport, team: Team) -> Transport:
    """The model with all its weights on every rank: the guess of each needs it at any time."""
    first, shapes = team.number == 0, {name: p.shape for name, p in model.named_parameters()}
    parts = team.gather(dict(model.named_parameters()))
    weights = {name: team.sum(parts[name].detach() if first else torch.zeros(s)) for name, s in shapes.items()}
    return Transport.of(model.state_dict() | weights)


class _Samplers:
    """The sampler of a step: always the same where the fields are in memory, else one a handful of windows."""

    def __init__(self, job: Job, climate: Statistics, device: str, extra: int = 0) -> None:
        self._job, self._climate, self._device, self._extra = job, climate, device, extra
        self._last: tuple[Series, Sampler] | None = None

    def at(self, step: int) -> Sampler:
        job, series = self._job, self._job.train.at(step)
        if self._last is None or self._last[0] is not series:
            there = series.to(self._device)
            options = job.dropout, job.error, job.roll, self._extra, job.rim
            self._last = series, Sampler(there, self._climate, job.frames, *options)
        return self._last[1]


def enough_samples(job: Job, ranks: int) -> None:
    """Raise ConfigError where a rank would have none."""
    own = job.rollout.samples(job.settings.steps, job.settings.steps, job.batch)
    least = min(part for part in (job.batch, job.batch - own, own) if part)
    if least < ranks:
        of = f"train.batch={job.batch}" + (f", {own} of them with pasts of their own," if own else "")
        raise ConfigError(
            f"{ranks} ranks share {of} and some would have none", key="train.batch", hint="ask for fewer processes"
        )


def _begin(model: EDM, start: Weights, team: Team) -> None:
    try:
        known = {name: t for name, t in start.tensors.items() if not name.startswith("background.")}
        own = model.state_dict()
        known |= {name: own[name] for name in _ASKED if name in own and name in known}
        fill(model, known, team)
    except RuntimeError as error:
        what = "the weights to begin with are those of another network"
        raise CheckpointError(
            what, key="train.start", hint="the section storm must be that of their training"
        ) from error


def build(job: Job, train: Series, climate: Statistics, team: Team = ALONE, transport: Transport | None = None) -> EDM:
    """The untrained denoiser, which is the linear-Gaussian guess; initial weights are a function of the seed."""
    static = torch.as_tensor(static_fields(*job.grid.fields, job.grid.weights))
    static = torch.cat([static, climate.variance.sqrt().cpu()])
    state = torch.random.get_rng_state()
    try:
        torch.manual_seed(job.seed)
        channels = len(job.normaliser.channels)
        network = Storm(channels, job.grid.shape, static, periodic=job.grid.periodic, block=team.block,
                        **job.architecture)  # fmt: skip
    except ValueError as error:
        raise ConfigError(str(error), key="storm.width") from error
    finally:
        torch.random.set_rng_state(state)
    guess = linear_guess(train, climate, job.frames, job.modes, roll=job.roll, transport=transport)
    return EDM(network, guess.cpu())
