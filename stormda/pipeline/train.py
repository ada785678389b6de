"""Stage `train`: learn the STORM prior from the archive, or go on learning where a killed run stopped."""

__all__ = ["TrainResult", "rim_of", "train"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stormda import config as configuration
from stormda.config import Config
from stormda.errors import ConfigError, InputError
from stormda.grid import Grid
from stormda.nn.weights import load_weights, save_weights
from stormda.pipeline import build
from stormda.pipeline.device import precision_of
from stormda.pipeline.series import training_data
from stormda.pipeline.train_report import training_page
from stormda.store.archive import Archive
from stormda.store.provenance import provenance
from stormda.store.publish import write_bytes, write_text
from stormda.time import format_time
from stormda.training.curve import draw_curve
from stormda.training.data import Data
from stormda.training.job import Job, enough_samples, train_storm
from stormda.training.loop import Settings
from stormda.training.rim import Rim
from stormda.training.rollout import Rollout
from stormda.training.team import ALONE, Team
from stormda.training.tensorboard import event_writer
from stormda.training.transport import Flow, check_flow
from stormda.types import Progress, silent

_HELD_BACK = 0.1  # of the training times, the last ones, where the configuration names no validation period


@dataclass(frozen=True)
class TrainResult:
    """How a training went.

    Args:
        weights: the file; empty if nothing was written.
        finished: false if it was stopped and can go on.
        scores: of the kept weights on the validation period; errors in climatological standard deviations.
        linear: the same of the linear-Gaussian guess that the network improves on.
        persistence: errors of the forecast that the anomaly stays.
    """

    weights: str
    finished: bool
    parameters: int
    times: int
    steps: int
    seconds: float
    scores: dict[str, float]
    linear: dict[str, float]
    persistence: dict[str, float]

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people."""
        state = "" if self.finished else ", stopped before its end: the same command goes on"
        title = f"{self.parameters:,} parameters, {self.steps} steps in {self.seconds / 60:.1f} min{state}"
        others = (self.linear, self.persistence)
        rows = [
            [name, f"{value:.4f}", *(f"{other[name]:.4f}" if name in other else "" for other in others)]
            for name, value in self.scores.items()
            if name != "step"
        ]
        return title, ["validation", "storm", "linear", "persistence"], rows


def train(
    config: Config,
    *,
    dry_run: bool = False,
    progress: Progress = silent,
    stop: Callable[[], bool] = lambda: False,
    team: Team = ALONE,
    device: str = "cpu",
) -> TrainResult:
    """Train the network that the configuration describes, and publish `storm.weights`.

    Args:
        config: the run.
        dry_run: check everything, train nothing.
        progress: told about steps.
        stop: asked after each step; true ends the call with a checkpoint, the best weights so far and their report.
        team: the processes that train together; the first writes.
        device: where to compute.

    Raises:
        InputMissing: there is no archive.
        InputError: too few times.
        ConfigError: `storm.weights` names shipped weights, the network cannot be built, or a package is missing.
        CheckpointError: the checkpoint in `training/` belongs to another job.
        StormdaError: the loss is not finite.
    """
    path, folder = _weights_path(config), config.run / "training"
    archive = build.archive(config)
    job = make_job(config, archive)
    times = len(job.train.targets)
    first = team.number == 0
    record = event_writer(folder / "events") if config.train.tensorboard and first else _nowhere
    enough_samples(job, team.count)
    check_flow(job.flow, job.normaliser, job.grid)
    precision = precision_of(config)
    if dry_run:
        return TrainResult("", False, 0, times, 0, 0.0, {}, {}, {})
    yaml = configuration.dump(config)
    made = provenance(yaml)
    card = {"name": config.name, "times": _span(job.train), "provenance": made}
    talk: dict[str, Any] = {"progress": progress, "stop": stop, "record": record, "precision": precision}
    done = train_storm(job, folder, card=card, device=device, team=team, **talk)
    outcome, told = done.outcome, done.weights.card
    result = TrainResult(
        str(path) if outcome.curve else "",
        outcome.finished,
        done.parameters,
        times,
        outcome.step,
        round(outcome.seconds, 1),
        outcome.best,
        told["linear"],
        told["persistence"],
    )
    if outcome.curve and first:
        save_weights(path, done.weights)
        curve = draw_curve(outcome.curve, told["persistence"], outcome.best["step"])
        write_bytes(folder / "curve.png", curve)
        page = training_page(result.table(), curve, done.weights, done.samples, facts=made, configuration=yaml)
        write_text(folder / "report.html", page)
    return result


def _nowhere(row: Mapping[str, float]) -> None:
    """For trainings without event files."""


def make_job(config: Config, archive: Archive) -> Job:
    """The archive's fields, standardised, in memory or on the disk, and what the configuration says about training."""
    t, s = config.train, config.storm
    learn = archive.select(config.archive.train)
    if config.archive.validation is None:
        cut = len(learn) - max(1, round(_HELD_BACK * len(learn)))
        learn, check = learn[:cut], learn[cut:]
    else:
        check = archive.select(config.archive.validation)
        if both := np.intersect1d(learn, check).size:
            raise ConfigError(f"{both} times are for training and for validation", key="archive.validation")
    if min(len(learn), len(check)) < 10:
        what = f"{len(learn)} times to learn from and {len(check)} to validate on are too few"
        raise InputError(what, key="archive.train" if len(learn) < 10 else "archive.validation")
    settings = Settings(
        steps=t.steps,
        minutes=t.minutes,
        learning_rate=t.learning_rate,
        weight_decay=t.weight_decay,
        warm_up=t.warm_up,
        clip=t.clip,
        average=t.average,
        validate_every=t.validate_every,
        checkpoint_every=float(t.checkpoint_every / np.timedelta64(1, "s")),
        patience=t.patience,
        compile=t.compile,
    )
    learned, held = training_data(
        archive,
        learn,
        check,
        memory=t.memory,
        frames=config.history.frames + t.rollout.steps,
        batch=t.batch,
        seed=t.seed,
    )
    return Job(
        learned,
        held,
        archive.normaliser,
        archive.grid,
        s.arguments(),
        settings,
        frames=config.history.frames,
        modes=s.modes,
        background_modes=s.background_modes,
        batch=t.batch,
        dropout=t.history_dropout,
        error=t.history_error,
        seed=t.seed,
        members=t.members,
        rollout=Rollout(t.rollout.steps, t.rollout.after, t.rollout.share),
        start=None if t.start is None else load_weights(build.weights_path(config, t.start, "train.start")),
        rim=rim_of(config, archive.grid),
        flow=Flow(s.transport.steps, s.transport.substeps, s.transport.errors),
    )


def rim_of(config: Config, grid: Grid) -> Rim:
    """How a coarser field at the rim of the domain is made up; raises ConfigError where the domain has no rim."""
    r = config.storm.rim
    if r.width and all(grid.periodic):
        raise ConfigError("a domain that wraps has no rim", key="storm.rim.width", hint="0")
    return Rim(r.width, r.coarse, r.error, r.dropout, grid.periodic)


def _span(series: Data) -> str:
    return f"{format_time(series.times[0])} to {format_time(series.times[-1])}, {len(series.times)} times"


def _weights_path(config: Config) -> Path:
    if config.storm.weights.startswith("shipped:"):
        what = f"storm.weights is '{config.storm.weights}', which comes with the package"
        raise ConfigError(what, key="storm.weights", hint="stormda train ... storm.weights=weights.safetensors")
    return config.below_run(config.storm.weights)
