"""Curves of skill over what the past is like: the points of `stormda bench past`, beside no past at all."""

__all__ = ["CURVES", "SCORES", "Curves", "Row"]

from dataclasses import dataclass
from typing import Any

import numpy as np

from stormda.assimilation.memory import missed
from stormda.diffusion.history import History
from stormda.pipeline.pasts import ANALYSIS, BACKGROUND, Trial
from stormda.pipeline.twin import units
from stormda.pipeline.twin_scores import interval, ratio
from stormda.types import Array, Progress

CURVES = ("frames", "age", "error", "told", "cycles")
SCORES = ("rmse", "crps", "spread_skill")
_ERRORS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
_RATIOS = (0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Row:
    """One point of a curve.

    Args:
        curve, x: which.
        cases: analyses that it is the mean of.
        background, analysis: rmse, crps and spread_skill.
        climate_background, climate_analysis: the same without any past, at the same times.
        ratio: CRPS of the analysis in units of that without any past, with an interval (null for few cases).
    """

    method: str
    curve: str
    x: float
    cases: int
    background: dict[str, float]
    analysis: dict[str, float]
    climate_background: dict[str, float]
    climate_analysis: dict[str, float]
    ratio: float
    low: float
    high: float


class Curves:
    """The points of a method's curves; no analysis from a past made on purpose is computed twice."""

    def __init__(self, trial: Trial, progress: Progress) -> None:
        self.trial, self.progress = trial, progress
        self.scale = units(trial.prior)[0]
        self.known: dict[tuple[Any, ...], Array] = {}

    def curve(self, name: str, numbers: list[int], error: float) -> list[Row]:
        """Every point of `frames`, `age`, `error` or `told`."""
        many = self.trial.prior.frames
        curves: dict[str, dict[float, dict[str, Any]]] = {
            "frames": {n: {"frames": n} for n in range(many + 1)},
            "age": {n: {"newest": n} for n in range(1, many + 1)},
            "error": {e: {"error": e} for e in _ERRORS},
            "told": {r: {"told": r} for r in _RATIOS},
        }
        rows = []
        for done, (x, changed) in enumerate(curves[name].items()):
            self.progress(f"{self.trial.method}, {name}", done, len(curves[name]))
            scores = [self._made(k, **({"error": error} | changed)) for k in numbers]
            rows.append(self._row(name, x, scores, numbers))
        return rows

    def cycles(self, have: int, starts: int, count: int, after: int) -> list[Row]:
        """Cycles from cold starts, then with one left out and without."""
        begin = sorted({round(k) for k in np.linspace(0, have - (count + 1 + after), starts)})
        runs: dict[str, list[list[Array]]] = {"cold start": [], "no gap": [], "gap": []}
        for done, k in enumerate(begin):
            self.progress(f"{self.trial.method}, cycles", done, len(begin))
            scores, history = self._cycled(k, count, self.trial.nothing())
            runs["cold start"].append(scores)
            runs["no gap"].append(self._cycled(k + count, 1 + after, history)[0][1:])
            runs["gap"].append(self._cycled(k + count + 1, after, missed(history))[0])
        rows = []
        for name, series in runs.items():
            offset = 0 if name == "cold start" else count + 1
            for j in range(len(series[0])):
                numbers = [k + offset + j for k in begin]
                rows.append(self._row(name, j + 1, [s[j] for s in series], numbers))
        return rows

    def _cycled(self, k: int, count: int, history: History) -> tuple[list[Array], History]:
        scores = []
        for number in range(k, k + count):
            found, history = self.trial.analyse(number, history)
            scores.append(found)
        return scores, history

    def _made(self, k: int, error: float, told: float = 1.0, newest: int = 1, frames: int | None = None) -> Array:
        """Scores from a past made on purpose; a past of no frames is no past, whatever its error."""
        many = self.trial.prior.frames
        frames = many + 1 - newest if frames is None else frames
        key = (k, error, told, newest, frames) if frames else (k,)
        if key not in self.known:
            trial = self.trial
            history = trial.past(k, error, told=told, newest=newest, frames=frames) if frames else trial.nothing()
            self.known[key] = trial.analyse(k, history)[0]
        return self.known[key]

    def _row(self, curve: str, x: float, scores: list[Array], numbers: list[int]) -> Row:
        mine = np.stack(scores)  # [cases, 2, 3, C]
        climate = np.stack([self._made(k, 0.0, frames=0) for k in numbers])
        pair = np.stack([(s[:, ANALYSIS, 1] / self.scale).mean(axis=-1) for s in (mine, climate)], axis=1)
        beside = interval(pair, ratio, length=1)
        background, analysis = (self._summary(mine[:, which]) for which in (BACKGROUND, ANALYSIS))
        without = self._summary(climate[:, BACKGROUND]), self._summary(climate[:, ANALYSIS])
        first = self.trial.method, curve, float(x), len(mine)
        return Row(*first, background, analysis, *without, beside["value"], beside["low"], beside["high"])

    def _summary(self, scores_T3C: Array) -> dict[str, float]:
        mse, crps, variance = scores_T3C.mean(axis=0) / np.stack([self.scale**2, self.scale, self.scale**2])
        spread_skill = np.sqrt(variance.mean() / mse.mean())
        return dict(zip(SCORES, map(float, (np.sqrt(mse.mean()), crps.mean(), spread_skill)), strict=True))
