"""How the scores of one run differ from those of another: changes in per cent with their intervals.

    change = 100 (score of the other / score of this one - 1) per cent: above 0 this one is better

of the RMSE and the CRPS. The interval is a block bootstrap over the analysis times of both together, so that weather
which is hard for both does not count as a difference (a paired comparison, Wilks 2019, 5.3.5). Where the times are too
few there is none.
"""

__all__ = ["Change", "change_figure", "change_table", "compare", "per_cent", "verdict"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stormda.metrics.base import Metric, Sums
from stormda.time import hours
from stormda.types import Array
from stormda.verification.intervals import intervals
from stormda.verification.lines import Score
from stormda.verification.picture import Table
from stormda.verification.plots import COLOURS, figure, tidy
from stormda.verification.tally import Key, Tally

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINES = 40  # of a figure


@dataclass(frozen=True)
class Change:
    """A variable against a target, of one side: scores of this run and of the other, and their change in per cent."""

    target: str
    variable: str
    unit: str
    side: str
    lead: float
    n: int
    n_other: int
    cycles: int
    rmse: float
    rmse_other: float
    rmse_change: Score
    crps: float
    crps_other: float
    crps_change: Score

    @property
    def name(self) -> str:
        """Such as `t850, analysis` or `t850, forecast +24 h`."""
        return f"{self.variable}, {self.side}" + (f" {self.lead:+g} h" if self.lead else "")


def compare(own: Tally, other: Tally, key: Key) -> Change | None:
    """The change of one line of a table, at the times that both have; None where there is no such time."""
    sums, sums_other, times = _shared(own, other, key)
    if not times:
        return None
    names = ("squared_error", "crps")
    totals = {f"{n}:{w}": s.totals[n] for n in names for w, s in (("own", sums), ("other", sums_other))}
    # Each run is divided by its own weight, which differs where their quality control let other values through.
    weights = {"weight:own": sums.weight, "weight:other": sums_other.weight}
    both = Sums(sums.count, sums.weight, totals | weights)
    metrics: Mapping[str, Metric] = {
        "rmse": lambda s: _change(s, "squared_error", 0.5),
        "crps": lambda s: _change(s, "crps", 1.0),
    }
    total = both.together()
    bounds = intervals(both, metrics)
    scores = {name: Score.of(float(metric(total)[0]), bounds[name]) for name, metric in metrics.items()}
    value = {name: float(_mean(total, name)[0]) for name in totals}
    return Change(
        target=key.target,
        variable=key.variable,
        unit=key.unit,
        side=key.side,
        lead=hours(key.lead),
        n=int(sums.count.sum()),
        n_other=int(sums_other.count.sum()),
        cycles=times,
        rmse=value["squared_error:own"] ** 0.5,
        rmse_other=value["squared_error:other"] ** 0.5,
        rmse_change=scores["rmse"],
        crps=value["crps:own"],
        crps_other=value["crps:other"],
        crps_change=scores["crps"],
    )


def verdict(score: Score) -> str:
    """In a mark and a word: `▲ better` or `▼ worse` where the interval leaves 0 out, else `○`."""
    if score.value is None or score.low is None or score.high is None:
        return "–"
    return "▲ better" if score.low > 0 else "▼ worse" if score.high < 0 else "○ no difference shown"


def change_figure(changes: Sequence[Change], *, title: str, better: str, worse: str) -> "Figure":
    """Changes of the RMSE (dots) and the CRPS (squares) with their intervals, a line a variable and side.

    Args:
        changes: of one target; the first ones are drawn where they are many.
        title: above the figure.
        better, worse: what a change above, and one below 0 mean, in a few words.
    """
    shown = changes[:_LINES]
    drawn = figure(7.2, 0.34 * len(shown) + 1.6)
    axes = drawn.add_subplot()
    for shift, name, colour, marker in ((-0.14, "RMSE", COLOURS[0], "o"), (0.14, "CRPS", COLOURS[1], "s")):
        scores = [c.rmse_change if name == "RMSE" else c.crps_change for c in shown]
        rows = np.arange(len(shown)) + shift
        values = np.array([np.nan if s.value is None else s.value for s in scores])
        sure = [s.low is not None and s.high is not None and (s.low > 0 or s.high < 0) for s in scores]
        for row, score in zip(rows, scores, strict=True):
            if score.low is not None and score.high is not None:
                axes.plot([score.low, score.high], [row, row], color=colour, linewidth=1.4, solid_capstyle="butt")
        full = np.array(sure, dtype=bool)
        look: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": "none", "markersize": 5.5}
        axes.plot(values[full], rows[full], label=name if full.any() else None, **look)
        axes.plot(values[~full], rows[~full], markerfacecolor="white", label=None if full.any() else name, **look)
    axes.axvline(0.0, color="0.35", linewidth=1.0)
    axes.set_yticks(range(len(shown)), [c.name for c in shown], fontsize=8)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set(title=title, xlabel=f"change [%]   (left of 0: {worse}; right: {better})")
    axes.margins(x=0.08)
    tidy(axes)
    drawn.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return drawn


def change_table(changes: Sequence[Change], caption: str, own: str, other: str) -> Table:
    """Both scores and their changes, with a verdict in words; `own` and `other` are the names of the runs."""
    columns = (
        "variable", "against", "times", "values", f"RMSE {own}", f"RMSE {other}", "change", "verdict",
        f"CRPS {own}", f"CRPS {other}", "change", "verdict",
    )  # fmt: skip
    rows = tuple(
        (
            f"{c.name} [{c.unit}]",
            c.target,
            str(c.cycles),
            str(c.n) if c.n == c.n_other else f"{c.n} / {c.n_other}",
            *(f"{c.rmse:.4g}", f"{c.rmse_other:.4g}", per_cent(c.rmse_change), verdict(c.rmse_change)),
            *(f"{c.crps:.4g}", f"{c.crps_other:.4g}", per_cent(c.crps_change), verdict(c.crps_change)),
        )
        for c in changes
    )
    return Table(caption, columns, rows, 2)


def per_cent(score: Score) -> str:
    """A change and its interval in words."""
    if score.value is None:
        return "-"
    interval = "" if score.low is None or score.high is None else f" ({score.low:+.1f} to {score.high:+.1f})"
    return f"{score.value:+.1f} %{interval}"


def _shared(own: Tally, other: Tally, key: Key) -> tuple[Sums, Sums, int]:
    """The sums of both at the times and splits that both have, a group a time."""
    if key not in set(other.keys(key.target)):
        return _NONE, _NONE, 0
    mine = {(cycle, split): sums for cycle, split, sums in own.single(key)}
    theirs = {(cycle, split): sums for cycle, split, sums in other.single(key)}
    grouped: dict[np.datetime64, tuple[Sums, Sums]] = {}
    for name in sorted(mine.keys() & theirs.keys()):
        pair, cycle = (mine[name], theirs[name]), name[0]
        before = grouped.get(cycle)
        grouped[cycle] = pair if before is None else (before[0] + pair[0], before[1] + pair[1])
    if not grouped:
        return _NONE, _NONE, 0
    first, second = zip(*grouped.values(), strict=True)
    return Sums.stack(list(first)), Sums.stack(list(second)), len(grouped)


_NONE = Sums(np.zeros(0), np.zeros(0), {})


def _mean(sums: Sums, name: str) -> Array:
    weight = sums.totals[f"weight:{name.split(':')[1]}"]
    return np.asarray(np.divide(sums.totals[name], weight, out=np.full(weight.shape, np.nan), where=weight > 0))


def _change(sums: Sums, name: str, power: float) -> Array:
    own, other = _mean(sums, f"{name}:own"), _mean(sums, f"{name}:other")
    ratio = np.divide(other, own, out=np.full(own.shape, np.nan), where=own > 0)
    return np.asarray(100.0 * (ratio**power - 1.0))
