"""What later observations add to the analyses of a twin experiment: windows drawn again, scored by how much they saw.

With `window.frames` = L every `window.stride`-th cycle draws its last L frames again (`stormda.assimilation.smoother`).
The filter goes on from its own analyses, so its scores are what they are without windows; a frame that has seen n later
times is scored beside the same times of the filter.
"""

__all__ = ["Redrawer", "compare_windows", "redrawer"]

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stormda.assimilation.methods import Settings
from stormda.assimilation.prior import Prior
from stormda.assimilation.smoother import WINDOWED, Frame, redraw
from stormda.config import Config
from stormda.pipeline.twin_scores import ensemble_scores, interval, mean, ratio, root
from stormda.types import Array, Mapping2


@dataclass(eq=False)
class Redrawer:
    """Takes the analyses of a cycle as they are made, draws windows of them and scores these.

    Args:
        method, prior, settings: of the cycle.
        frames, stride: of the windows.
        weights: share of each point in the area, [H, W] or what broadcasts to it.
        scores: of the frames of every cycle by the number n of later times that they have seen: mean square error of
            the mean, CRPS and (1 + 1/M) times the variance of the members, [T, L, 3, C]; NaN where there is none.
    """

    method: str
    prior: Prior
    settings: Settings
    frames: int
    stride: int
    weights: Array
    scores: Array
    _kept: deque[tuple[int, Frame, Mapping2, Array]] = field(default_factory=deque)

    def __call__(self, cycle: int, frame: Frame, decode: Mapping2, truth_CHW: Array) -> None:
        """The analysis of a cycle, standardised; `decode` makes its fields physical."""
        self._kept.append((cycle, frame, decode, truth_CHW))
        if len(self._kept) > self.frames:
            self._kept.popleft()
        if (cycle + 1) % self.stride or len(self._kept) < 2:
            return
        drawn = redraw(self.method, self.prior, [frame for _, frame, _, _ in self._kept], self.settings)
        for (k, _, decoded, truth), z in zip(self._kept, drawn, strict=True):
            if z is not None:
                self.scores[k, cycle - k] = ensemble_scores(decoded(z).double().numpy(), truth, self.weights)


def redrawer(config: Config, method: str, prior: Prior, settings: Settings, cycles: int) -> Redrawer | None:
    """For a method that can draw its past again, where windows are asked for; else None."""
    frames = config.window.frames
    if frames == 1 or method not in WINDOWED:
        return None
    scores = np.full((cycles, frames, 3, len(prior.channels)), np.nan)
    return Redrawer(method, prior, settings, frames, config.window.stride, prior.grid.weights, scores)


def compare_windows(
    windows: list[Array], filters: list[tuple[Array, Array]], spin_up: int, scale_C: Array
) -> list[dict[str, Any]]:
    """Scores by the number n = 1..L-1 of later times, channels together, each divided by its scale.

    Args:
        windows: `scores` of each seed [T, L, 3, C].
        filters: CRPS and mean square error of the filter's background of each seed [T, C].
        spin_up: cycles that are not scored.
        scale_C: of the channels.
    """
    found = []
    for later in range(1, windows[0].shape[1]):
        rows = [np.flatnonzero(np.isfinite(w[:, later, 0, 0]) & (np.arange(len(w)) >= spin_up)) for w in windows]
        some = np.concatenate([w[r, later] for w, r in zip(windows, rows, strict=True)])
        if not len(some):
            continue
        crps, background = (np.concatenate([f[i][r] for f, r in zip(filters, rows, strict=True)]) for i in (0, 1))
        mse, variance = ((some[:, i] / scale_C**2).mean(axis=1) for i in (0, 2))
        pair = np.stack([(some[:, 1] / scale_C).mean(axis=1), (crps / scale_C).mean(axis=1)], axis=1)
        found.append(
            {
                "later": later,
                "scored": len(some),
                "rmse": interval(mse, root),
                "crps": interval(pair[:, 0], mean),
                "spread_skill": float(np.sqrt(variance.mean() / mse.mean())),
                "background_rmse": float(np.sqrt((background / scale_C**2).mean())),
                "crps_ratio": {"to": "the filter", **interval(pair, ratio)},
            }
        )
    return found
