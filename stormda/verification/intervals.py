"""Intervals of scores: how much a score would change if other days or other stations had been scored.

Block bootstrap (Künsch 1989, https://doi.org/10.1214/aos/1176347265; circular form of Politis and Romano 1992): blocks
of L consecutive values are drawn with replacement until there are as many as before, the score is computed anew, and
the interval holds the middle 95 % of the scores. L = ceil(T^(1/3)) keeps the correlation of neighbouring cycles;
stations, which have no order, are drawn one by one (L = 1). Intervals from few blocks are too narrow: below `FEW` none
is given.
"""

__all__ = ["FEW", "block_bootstrap", "flat_limit", "intervals", "resamples"]

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from stormda.metrics.base import Metric, Sums
from stormda.metrics.probabilistic import frequencies
from stormda.types import Array

FEW = 5
_REPLICATES = 1000
_CHUNK = 2_000_000  # numbers held at once


def resamples(count: int, length: int | None = None, replicates: int = _REPLICATES) -> Iterator[Array]:
    """Which of `count` values each replicate takes: chunks of indices [b, count], the same in every run.

    Args:
        count: T values in their order.
        length: L, values in a block; None: ceil(T^(1/3)).
        replicates: B, over all chunks.
    """
    block = max(1, min(count, int(np.ceil(count ** (1 / 3) - 1e-9)) if length is None else length))
    blocks = -(-count // block)
    generator = np.random.Generator(np.random.Philox(key=[count, block]))
    rows = max(1, _CHUNK // count)
    for start in range(0, replicates, rows):
        first = generator.integers(count, size=(min(rows, replicates - start), blocks))
        yield ((first[:, :, None] + np.arange(block)) % count).reshape(len(first), -1)[:, :count]


def block_bootstrap(
    values: Array, statistic: Callable[[Array], float], *, length: int | None = None, level: float = 0.95
) -> tuple[float, float]:
    """The interval of a statistic of a series.

    Args:
        values: [T, ...], in the order of time.
        statistic: of an array of the same shape.
        length: L, values in a block; None: ceil(T^(1/3)).
        level: share of the replicates inside.

    Returns:
        (low, high); NaN for fewer than `FEW` values.
    """
    if len(values) < FEW:
        return float("nan"), float("nan")
    replicates = [statistic(values[index]) for chunk in resamples(len(values), length) for index in chunk]
    return _middle(np.asarray(replicates), level)


def intervals(
    sums: Sums, metrics: Mapping[str, Metric], *, length: int | None = None, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """The intervals of metrics of sums in G groups: cycles in order, or stations with `length=1`; NaN below `FEW`."""
    if sums.count.size < FEW:
        return dict.fromkeys(metrics, (float("nan"), float("nan")))
    drawn: dict[str, list[Array]] = {name: [] for name in metrics}
    for part in _replicates(sums, length):
        for name, metric in metrics.items():
            drawn[name].append(metric(part))
    return {name: _middle(np.concatenate(values), level) for name, values in drawn.items()}


def flat_limit(sums: Sums, size: int, *, length: int | None = None, level: float = 0.95) -> float:
    """The flatness that a calibrated ensemble stays below in 95 of 100 samples like this one.

    Bootstrap replicates of the rank frequencies, moved to scatter about a flat histogram. NaN below `FEW` groups.
    """
    if sums.count.size < FEW:
        return float("nan")
    ranks = Sums(sums.count, sums.weight, {f"ranks{size}": sums.totals[f"ranks{size}"]})
    centre = frequencies(ranks.together(), size)
    scatter = [np.abs(frequencies(part, size) - centre).sum(axis=-1) for part in _replicates(ranks, length)]
    return float(np.nanquantile(np.concatenate(scatter), level))


def _replicates(sums: Sums, length: int | None) -> Iterator[Sums]:
    groups = sums.count.size
    for index in resamples(groups, length):
        cells = (np.arange(len(index))[:, None] * groups + index).ravel()
        times = np.bincount(cells, minlength=len(index) * groups).reshape(len(index), groups)
        yield sums.regrouped(times.astype(np.float64))


def _middle(replicates: Array, level: float) -> tuple[float, float]:
    if not np.isfinite(replicates).any():
        return float("nan"), float("nan")
    low, high = np.nanquantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
