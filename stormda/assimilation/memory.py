"""What one analysis leaves for the next: the ensemble becomes a frame of history with an error level.

The mean of M equally likely members estimates the expected state with an error of its own, so the error of a frame is
s sqrt(1 + 1/M), s the ensemble's standard deviation.
"""

__all__ = ["frame_of", "history_of", "remember"]

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from stormda.diffusion.history import History


def frame_of(ensemble_MCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and error level [C, H, W] of a standardised analysis ensemble of at least two members."""
    members = ensemble_MCHW.shape[0]
    error = ensemble_MCHW.std(dim=0, correction=1) * math.sqrt(1.0 + 1.0 / members)
    return ensemble_MCHW.mean(dim=0), error


def history_of(
    frames: Sequence[tuple[Tensor, Tensor] | None], shape: tuple[int, int, int], covariance: Tensor | None = None
) -> History:
    """K frames (mean, error), oldest first, None where one is missing; `covariance` belongs to the newest."""
    blank = (torch.zeros(shape), torch.ones(shape))
    return History(
        torch.stack([(f or blank)[0] for f in frames]).to(torch.float32),
        torch.stack([(f or blank)[1] for f in frames]).to(torch.float32),
        torch.tensor([f is not None for f in frames]),
        covariance if frames[-1] is not None else None,
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
