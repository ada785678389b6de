"""Find the history of a cycle on disk: previous analyses of the same run and split, or the archive's frames."""

__all__ = ["BASIS", "Past", "find_past"]

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stormda.assimilation.ensemble_prior import EnsemblePrior
from stormda.assimilation.memory import frame_of, history_of, pasts_of
from stormda.assimilation.prior import Prior
from stormda.config import Config
from stormda.diffusion.history import History
from stormda.errors import InputError
from stormda.pipeline import build
from stormda.pipeline.layout import analysis_folder
from stormda.store.analysis import Analysis, read_analysis
from stormda.types import Array

BASIS = "error_covariance_basis"
"""Attribute of an analysis: the signature of the EOFs that its error covariance is written in."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Past:
    """History in standardised units, and its newest frame in physical ones for the time interpolation of H.

    Args:
        history: K frames; with one mean a member for an ensemble filter that finds its analyses.
        time: of the newest frame; None at a cold start.
        mean, error: [C, H, W], physical, of the newest frame; None at a cold start.
        origin: `analysis`, `archive`, `cold start` or `given ensemble`, for the provenance.
    """

    history: History
    time: np.datetime64 | None
    mean: Array | None
    error: Array | None
    origin: str


def find_past(config: Config, prior: Prior, method: str, cycle: np.datetime64, split: int) -> Past:
    """The past that the configuration allows at `cycle`: frames are one step of the prior apart, some may be missing.

    H interpolates in time from the newest that is there, over a gap as well.
    """
    if isinstance(prior, EnsemblePrior) and prior.given is not None:
        none = History.none(prior.frames, (len(prior.channels), *prior.grid.shape))
        return Past(none, None, None, None, "given ensemble")
    times = [cycle - k * prior.step for k in range(prior.frames, 0, -1)]
    times_allowed = [t if cycle - t <= config.history.max_age else None for t in times]
    shape = (len(prior.channels), *prior.grid.shape)
    found: list[tuple[Tensor, Tensor] | None] = [None] * len(times)
    members: list[Tensor | None] = [None] * len(times)
    newest: tuple[np.datetime64, Array, Array] | None = None
    covariance, origin = None, "cold start"
    if config.history.source == "analyses":
        for i, time in enumerate(times_allowed):
            if time is None:
                continue
            path = analysis_folder(config, method, time, split) / "analysis.nc"
            if path.exists():
                previous = _read(path, prior)
                z = torch.as_tensor(prior.normaliser.encode(previous.state.values, np.asarray([time])))
                found[i], origin = frame_of(z), "analysis"
                members[i] = _counted(z, config, path) if isinstance(prior, EnsemblePrior) else None
                newest = (time, previous.mean, previous.spread)
                covariance = _covariance(previous, prior, path)
    wants_archive = config.history.source == "archive" or (
        config.history.first == "archive" and not any(f is not None for f in found)
    )
    if wants_archive and config.history.source != "none":
        archive = build.archive(config)
        rows, columns = prior.grid.within(archive.grid)  # Weights may come from files that run the other way.
        for i, (time, index) in enumerate(zip(times_allowed, archive.find(np.asarray(times)), strict=True)):
            if time is None or index < 0:
                continue
            values = archive.read(np.asarray([index])).values[..., rows[:, None], columns]
            mean = torch.as_tensor(prior.normaliser.encode(values, np.asarray([time])))[0]
            error = torch.full(shape, max(config.history.archive_error, 1e-3))
            found[i], origin = (mean, error), "archive"
            newest = (time, values[0], error.numpy() * prior.normaliser.sd[:, None, None])
    own = any(m is not None for m in members)
    history = pasts_of(members) if own else history_of(found, shape, covariance)
    return Past(history, None, None, None, "cold start") if newest is None else Past(history, *newest, origin)


def _read(path: Path, prior: Prior) -> Analysis:
    """A previous analysis; raises InputError where it is of other fields than the prior."""
    previous = read_analysis(path)
    if previous.state.channels != prior.channels or not previous.state.grid.same(prior.grid):
        raise InputError(
            "the previous analysis has other channels or another grid than the prior",
            file=path,
            key="channels",
            hint="choose another run_dir, or history.source=none",
        )
    return previous


def _counted(z_MCHW: Tensor, config: Config, path: Path) -> Tensor:
    """The members; raises InputError where a filter would have to make up some or to leave some out."""
    wanted = config.assimilate.ensemble
    if len(z_MCHW) != wanted:
        raise InputError(
            f"the previous analysis has {len(z_MCHW)} members; an ensemble filter goes on with them, not with {wanted}",
            file=path,
            key="assimilate.ensemble",
            hint=f"assimilate.ensemble={len(z_MCHW)}, another run_dir, or history.source=none",
        )
    return z_MCHW


def _covariance(previous: Analysis, prior: Prior, path: Path) -> Tensor | None:
    """The error covariance that an analysis carries, where its basis is the prior's."""
    if previous.carry is None or prior.signature is None:
        return None
    if previous.attributes.get(BASIS) == prior.signature:
        return torch.as_tensor(previous.carry)
    log.warning("%s: its error covariance belongs to other EOFs, only the ensemble's spread is used", path)
    return None
