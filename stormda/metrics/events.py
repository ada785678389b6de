"""Scores of an event, such as `at least 1 mm/h`: yes or no in the reference, k of M members in the ensemble.

Everything follows from one table, how often k members had the event when it did not happen (n0_k) and when it did
(n1_k), k = 0..M, which adds up over cycles and processes. With n the sum of the table and p = k / M:

    Brier, fair   1/n sum_k [n0_k p^2 + n1_k (1 - p)^2] - 1/n sum_k (n0_k + n1_k) k (M - k) / (M^2 (M - 1))
    Brier skill   1 - Brier / (o (1 - o)), o the observed frequency: against the climatology of the sample
    reliability   of each p the observed frequency n1_k / (n0_k + n1_k): on the diagonal where p can be believed
    ROC           for `yes where k members or more`: hit rate against false-alarm rate; AUC the area below the curve

The fair Brier score is that of the distribution which the members were drawn from (Ferro 2014,
https://doi.org/10.1002/qj.2270). As a yes-or-no forecast, `yes` is p >= 1/2, which gives the contingency table

                 observed  not
    forecast yes    a       b       POD = a / (a + c)   FAR = b / (a + b)   CSI = a / (a + b + c)
             no     c       d       ETS = (a - r) / (a + b + c - r), r = (a + b)(a + c) / n
                                    HSS = 2 (a d - b c) / ((a + c)(c + d) + (a + b)(b + d))
                                    frequency bias = (a + b) / (a + c)

computed by `scores.categorical`. Definitions: Jolliffe and Stephenson 2012, "Forecast Verification", 2nd ed.,
https://doi.org/10.1002/9781119960003. Area weights count. Members are taken as they are, without observation noise.
"""

__all__ = ["CATEGORICAL", "Event", "auc", "brier", "brier_skill", "categorical", "event_table", "reliability", "roc"]

from dataclasses import dataclass

import numpy as np
from scipy.integrate import trapezoid

from stormda.metrics.base import Pair, Sums
from stormda.types import Array

CATEGORICAL = {
    "pod": "probability_of_detection",
    "far": "false_alarm_ratio",
    "csi": "critical_success_index",
    "ets": "equitable_threat_score",
    "hss": "heidke_skill_score",
    "frequency_bias": "frequency_bias",
}
"""Our name of a score: its name in `scores.categorical.BasicContingencyManager`."""


@dataclass(frozen=True)
class Event:
    """Value >= threshold: 2 (M + 1) columns of which one is 1, first without the event in the reference, then with it.

    Args:
        threshold: in the unit of the variable.
        size: M.
    """

    threshold: float
    size: int

    @property
    def name(self) -> str:
        """`event32:273.15` for 32 members."""
        return f"event{self.size}:{self.threshold:.10g}"

    def __call__(self, pair: Pair) -> Array:
        """See the class: a row a value."""
        k = (pair.members >= self.threshold).sum(axis=0)
        column = k + (self.size + 1) * (pair.reference >= self.threshold)
        return np.asarray(column[:, None] == np.arange(2 * (self.size + 1)), dtype=np.float64)


def event_table(sums: Sums, name: str) -> Array:
    """The table of the statistic `name`, [G, 2, M + 1]: without and with the event in the reference."""
    total = sums.totals[name]
    return np.asarray(total.reshape(len(total), 2, -1))


def brier(sums: Sums, name: str) -> Array:
    """Fair Brier score, [G]; NaN in a group without values."""
    table = event_table(sums, name)
    size = table.shape[-1] - 1
    p = np.arange(size + 1) / size
    unfair = p * (1 - p) / (size - 1)
    squares = (table * (np.stack([p**2, (1 - p) ** 2]) - unfair)).sum(axis=(1, 2))
    return _ratio(squares, table.sum(axis=(1, 2)))


def brier_skill(sums: Sums, name: str) -> Array:
    """Brier skill score against the sample's frequency of the event, [G]; NaN where it always or never happened."""
    table = event_table(sums, name)
    n, happened = table.sum(axis=(1, 2)), table[:, 1].sum(axis=1)
    frequency = _ratio(happened, n)
    return np.asarray(1.0 - _ratio(brier(sums, name), frequency * (1.0 - frequency)))


def reliability(sums: Sums, name: str) -> tuple[Array, Array, Array]:
    """The diagram.

    Returns:
        Forecast probability [M + 1], observed frequency [G, M + 1] (NaN where p never was forecast), and the share of
        all values for which each p was forecast [G, M + 1].
    """
    table = event_table(sums, name)
    both = table.sum(axis=1)
    p = np.arange(both.shape[-1]) / (both.shape[-1] - 1)
    return p, _ratio(table[:, 1], both), _ratio(both, both.sum(axis=1, keepdims=True))


def roc(sums: Sums, name: str) -> tuple[Array, Array]:
    """The curve: false-alarm rate and hit rate, each [G, M + 2], of `yes where k or more`, k = M + 1 down to 0."""
    table = event_table(sums, name)
    least = np.concatenate([np.zeros((*table.shape[:2], 1)), table[:, :, ::-1].cumsum(axis=-1)], axis=-1)
    rates = _ratio(least, least[..., -1:])
    return rates[:, 0], rates[:, 1]


def auc(sums: Sums, name: str) -> Array:
    """Area below the ROC curve by trapezia, [G]: 1 separates, 0.5 does not; NaN where it always or never happened."""
    false, hit = roc(sums, name)
    return np.asarray(trapezoid(hit, false, axis=-1))


def categorical(sums: Sums, name: str) -> dict[str, Array]:
    """The scores of `CATEGORICAL` of `yes where half of the members or more`, each [G]; NaN where undefined."""
    import xarray as xr
    from scores.categorical import BasicContingencyManager

    table = event_table(sums, name)
    yes = 2 * np.arange(table.shape[-1]) >= table.shape[-1] - 1
    counts = {
        "tp_count": table[:, 1, yes].sum(axis=-1),
        "fp_count": table[:, 0, yes].sum(axis=-1),
        "fn_count": table[:, 1, ~yes].sum(axis=-1),
        "tn_count": table[:, 0, ~yes].sum(axis=-1),
        "total_count": table.sum(axis=(1, 2)),
    }
    manager = BasicContingencyManager({n: xr.DataArray(c, dims="group") for n, c in counts.items()})
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {ours: np.asarray(getattr(manager, theirs)().to_numpy()) for ours, theirs in CATEGORICAL.items()}
    return {name: np.where(np.isfinite(value), value, np.nan) for name, value in found.items()}


def _ratio(above: Array, below: Array) -> Array:
    below = np.broadcast_to(below, np.shape(above))
    return np.asarray(np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0))
