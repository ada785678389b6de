"""What one analysis leaves for the next: the ensemble becomes a frame of history with an error level.

The mean of M equally likely members estimates the expected state with an error of its own, so the error of a frame is
s sqrt(1 + 1/M), s the ensemble's standard deviation.

An ensemble filter goes on from its members instead: a history of one mean a member, each with its own past.
"""

__all__ = ["follow", "frame_of", "history_of", "missed", "pasts_of", "remember"]

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from stormda.diffusion.history import History

_KNOWN = 1e-3  # error level of a member's own past, in climatological standard deviations


def frame_of(ensemble_MCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and error level [C, H, W] of a standardised analysis ensemble of at least two members."""
    members = ensemble_MCHW.shape[0]
    error = ensemble_MCHW.std(dim=0, correction=1) * math.sqrt(1.0 + 1.0 / members)
    return ensemble_MCHW.mean(dim=0), error


def history_of(
    frames: Sequence[tuple[Tensor, Tensor] | None], shape: tuple[int, int, int], covariance: Tensor | None = None
) -> History:
    """K frames (mean, error), oldest first, None where one is missing; `covariance` belongs to the newest there is."""
    blank = (torch.zeros(shape), torch.ones(shape))
    return History(
        torch.stack([(f or blank)[0] for f in frames]).to(torch.float32),
        torch.stack([(f or blank)[1] for f in frames]).to(torch.float32),
        torch.tensor([f is not None for f in frames]),
        covariance,
    )


def remember(history: History, ensemble_MCHW: Tensor, covariance: Tensor | None) -> History:
    """The history of the next analysis: the oldest frame goes, the analysis ensemble comes."""
    mean, error = frame_of(ensemble_MCHW)
    return History(
        torch.cat([history.mean[1:], mean[None].to(history.mean)]),
        torch.cat([history.error[1:], error[None].to(history.error)]),
        torch.cat([history.mask[1:], torch.ones(1, dtype=torch.bool)]),
        covariance,
    )


def missed(history: History) -> History:
    """The history of the next analysis after a cycle that did not run: the oldest frame goes, none comes."""
    blank = torch.zeros_like(history.mean[:1])
    return replace(
        history,
        mean=torch.cat([history.mean[1:], blank]),
        error=torch.cat([history.error[1:], torch.ones_like(blank)]),
        mask=torch.cat([history.mask[1:], torch.zeros(1, dtype=torch.bool)]),
        covariance=history.covariance if bool(history.mask[1:].any()) else None,
    )


def pasts_of(frames: Sequence[Tensor | None]) -> History:
    """One past a member: K ensembles [M, C, H, W], oldest first, None where one is missing but not all."""
    some = next(f for f in frames if f is not None)
    mean = torch.stack([torch.zeros_like(some) if f is None else f for f in frames], dim=1).to(torch.float32)
    mask = torch.tensor([f is not None for f in frames])
    return History(mean, torch.where(mask[:, None, None, None], _KNOWN, torch.ones_like(mean)), mask)


def follow(history: History, ensemble_MCHW: Tensor) -> History:
    """The members' own pasts for the next forecast: the oldest frame goes, the analysis ensemble comes."""
    mean = history.mean if history.mean.ndim == 5 else history.mean.expand(len(ensemble_MCHW), *history.mean.shape)
    older = [mean[:, k] if known else None for k, known in enumerate(history.mask.tolist())]
    return pasts_of([*older[1:], ensemble_MCHW])
