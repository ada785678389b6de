"""What is compared with what, and how the sums of many analyses become rows of a table.

An analysis is compared, beside its background, with up to three targets:

    truth      the gridded truth at the analysis time, weighted by area
    withheld   observations that passed quality control and were kept out: the independent check
    used       observations that were assimilated: a fit, no skill

One analysis (a cycle and a split seed) gives one `Part` a target, variable and side. Parts are added up over cycles and
splits; their groups (cycles, or stations where cycles are few) carry the intervals. Splits of one cycle share its truth
and most of its observations, so they belong to one group and never count as independent.
"""

__all__ = [
    "METRICS",
    "Part",
    "Row",
    "Score",
    "Side",
    "against_observations",
    "against_truth",
    "by_cycle",
    "labels_of",
    "summarise",
]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stormda.grid import Grid
from stormda.metrics.base import Metric, Pair, Statistic, Sums, accumulate
from stormda.metrics.deterministic import AbsoluteError, Error, SquaredError, bias, mae, rmse
from stormda.metrics.probabilistic import Crps, Ranks, Variance, crps, flatness, frequencies, spread_skill
from stormda.observations import QC, Observations
from stormda.time import format_time
from stormda.types import Array
from stormda.variables import VOCABULARY, Channel
from stormda.verification.intervals import FEW, flat_limit, intervals

METRICS: dict[str, Metric] = {"rmse": rmse, "bias": bias, "mae": mae, "crps": crps, "spread_skill": spread_skill}

_TARGETS = ("withheld", "truth", "used")  # in the order of tables
_NEAR = 100.0  # hPa: a level that an operator took for a channel's lies nearer than this


@dataclass(frozen=True, eq=False)
class Part:
    """Sums of one variable of one analysis against one target.

    Args:
        target: `truth`, `withheld` or `used`.
        variable: a channel's name, or that of an observed variable and level.
        unit: of the vocabulary.
        side: `background` or `analysis`.
        cycle, split: which analysis.
        members: M.
        sums: G groups.
        stations: [G], their names; one empty name for a gridded truth.
    """

    target: str
    variable: str
    unit: str
    side: str
    cycle: np.datetime64
    split: int
    members: int
    sums: Sums
    stations: Array


@dataclass(frozen=True)
class Score:
    """A score and its 95 % interval; None where there is too little to tell."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Side:
    """The scores of the background or of the analysis: by metric, and the rank histogram."""

    scores: Mapping[str, Score]
    ranks: tuple[float, ...]
    flatness: float | None
    flat_limit: float | None


@dataclass(frozen=True)
class Row:
    """One line of the table: a variable against a target. `improvement` is the RMSE's reduction in per cent."""

    target: str
    variable: str
    unit: str
    n: int
    cycles: int
    interval: str
    background: Side | None
    analysis: Side | None
    improvement: Score | None


def against_truth(
    side: str,
    members_MCHW: Array,
    channels: Sequence[Channel],
    grid: Grid,
    truth: Mapping[str, Array],
    cycle: np.datetime64,
    split: int,
) -> list[Part]:
    """The parts of an ensemble against fields [H, W] of a truth by channel name; channels it lacks are left out."""
    parts = []
    for c, channel in enumerate(channels):
        if channel.name not in truth:
            continue
        pair = Pair.of(members_MCHW[:, c], truth[channel.name], weights=grid.weights)
        sums = accumulate(pair, _statistics(pair.size, side, cycle, split, channel.name))
        parts.append(
            Part("truth", channel.name, channel.info.unit, side, cycle, split, pair.size, sums, np.array([""]))
        )
    return parts


def against_observations(
    target: str,
    side: str,
    members_MN: Array,
    observations: Observations,
    channels: Sequence[Channel],
    cycle: np.datetime64,
    split: int,
) -> list[Part]:
    """The parts of H(members) against observations that passed quality control, by variable and level.

    Values without a finite observation error are left out: neither their spread nor their rank could be judged.
    """
    keep = scored(observations, target)
    labels = labels_of(observations, channels)
    parts = []
    for label in sorted(set(labels[keep])):
        mask = keep & (labels == label)
        pair = Pair.of(members_MN, observations["value"], variance=observations["error"] ** 2, mask=mask)
        stations, groups = np.unique(observations["station_id"][mask].astype(str), return_inverse=True)
        statistics = _statistics(pair.size, side, cycle, split, f"{target} {label}")
        sums = accumulate(pair, statistics, groups, len(stations))
        unit = VOCABULARY[str(observations["variable"][mask][0])].unit
        parts.append(Part(target, label, unit, side, cycle, split, pair.size, sums, stations))
    return parts


def scored(observations: Observations, target: str) -> Array:
    """Which rows belong to a target, bool [N]."""
    good = (observations["qc"] == QC.USED) & np.isfinite(observations["error"])
    withheld = observations["withheld"].astype(bool)
    return np.asarray(good & (withheld if target == "withheld" else ~withheld))


def labels_of(observations: Observations, channels: Sequence[Channel]) -> Array:
    """The channel that each row stands for, [N]: the nearest level of its variable, else the variable's name."""
    variable, level = observations["variable"].astype(str), observations["level"]
    labels = variable.astype(object)
    for name in set(variable):
        own = variable == name
        candidates = [c for c in channels if c.variable == name and c.level is not None]
        if candidates:
            levels = np.array([c.level for c in candidates])
            distance = np.abs(np.nan_to_num(level[own], nan=np.inf)[:, None] - levels)
            names = np.array([c.name for c in candidates], dtype=object)[distance.argmin(axis=1)]
            labels[own] = np.where(distance.min(axis=1) <= _NEAR, names, _named(name, level[own]))
        else:
            labels[own] = _named(name, level[own])
    return labels


def _named(variable: str, level: Array) -> Array:
    return np.array([Channel(variable, None if np.isnan(v) else float(v)).name for v in level], dtype=object)


def _statistics(size: int, side: str, cycle: np.datetime64, split: int, what: str) -> tuple[Statistic, ...]:
    purpose = f"{side} {format_time(cycle)} {split} {what}"
    return Error(), AbsoluteError(), SquaredError(), Crps(), Variance(), Ranks(size, purpose)


def summarise(parts: Sequence[Part]) -> tuple[Row, ...]:
    """A row for each target and variable, in the order of the targets and of first appearance."""
    keys = dict.fromkeys((p.target, p.variable) for p in parts)
    ordered = sorted(keys, key=lambda key: _TARGETS.index(key[0]))
    return tuple(_row([p for p in parts if (p.target, p.variable) == key]) for key in ordered)


def by_cycle(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """The scores of every analysis by itself: a record a part, `spread` being sqrt(mean [(1 + 1/M) s^2 + R])."""
    records = []
    for part in sorted(parts, key=lambda p: (p.cycle, p.split)):
        total = part.sums.together()
        record: dict[str, Any] = {
            "cycle": format_time(part.cycle),
            "split": part.split,
            "target": part.target,
            "variable": part.variable,
            "unit": part.unit,
            "side": part.side,
            "members": part.members,
            "n": int(total.count[0]),
        }
        record |= {name: _number(float(metric(total)[0])) for name, metric in METRICS.items()}
        records.append(record | {"spread": float(np.sqrt(total.mean("variance")[0]))})
    return records


def _row(parts: Sequence[Part]) -> Row:
    sides = {side: own for side in ("background", "analysis") if (own := [p for p in parts if p.side == side])}
    first, cycles = parts[0], len({p.cycle for p in parts})
    group = "stations" if cycles < FEW and first.target != "truth" else "cycles"
    length = None if group == "cycles" else 1
    sums = {side: (_by_cycle if group == "cycles" else _by_station)(own) for side, own in sides.items()}
    described = {side: _side(sums[side], max(p.members for p in own), length) for side, own in sides.items()}
    return Row(
        target=first.target,
        variable=first.variable,
        unit=first.unit,
        n=int(max(s.count.sum() for s in sums.values())),
        cycles=cycles,
        interval=group if all(s.count.size >= FEW for s in sums.values()) else "none",
        background=described.get("background"),
        analysis=described.get("analysis"),
        improvement=_improvement(sums, length),
    )


def _side(sums: Sums, size: int, length: int | None) -> Side:
    total, bounds = sums.together(), intervals(sums, METRICS, length=length)
    scores = {name: _score(float(metric(total)[0]), bounds[name]) for name, metric in METRICS.items()}
    ranks = tuple(float(f) for f in frequencies(total, size)[0])
    limit = flat_limit(sums, size, length=length)
    return Side(scores, ranks, _number(float(flatness(total, size)[0])), _number(limit))


def _improvement(sums: Mapping[str, Sums], length: int | None) -> Score | None:
    """The reduction of RMSE from background to analysis, in per cent, where both were scored at the same values."""
    if len(sums) < 2 or not np.array_equal(sums["background"].count, sums["analysis"].count):
        return None
    before, after = (sums[side] for side in ("background", "analysis"))
    both = Sums(
        before.count, before.weight, {"before": before.totals["squared_error"], "after": after.totals["squared_error"]}
    )
    bounds = intervals(both, {"reduction": _reduction}, length=length)["reduction"]
    return _score(float(_reduction(both.together())[0]), bounds)


def _reduction(sums: Sums) -> Array:
    before, after = sums.mean("before"), sums.mean("after")
    ratio = np.divide(after, before, out=np.full(after.shape, np.nan), where=before > 0)
    return np.asarray(100.0 * (1.0 - np.sqrt(ratio)))


def _by_cycle(parts: Sequence[Part]) -> Sums:
    """One group a cycle, in the order of time."""
    groups: dict[np.datetime64, Sums] = {}
    for part in sorted(parts, key=lambda p: p.cycle):
        own = part.sums.together()
        groups[part.cycle] = groups[part.cycle] + own if part.cycle in groups else own
    return Sums.stack(list(groups.values()))


def _by_station(parts: Sequence[Part]) -> Sums:
    """One group a station, over all cycles and splits."""
    stations = np.unique(np.concatenate([p.stations for p in parts]))
    everything = Sums.stack([p.sums for p in parts])
    owner = np.searchsorted(stations, np.concatenate([p.stations for p in parts]))

    def gather(values: Array) -> Array:
        out = np.zeros((len(stations), *values.shape[1:]))
        np.add.at(out, owner, values)
        return out

    totals = {name: gather(total) for name, total in everything.totals.items()}
    return Sums(gather(everything.count), gather(everything.weight), totals)


def _score(value: float, bounds: tuple[float, float]) -> Score:
    return Score(_number(value), _number(bounds[0]), _number(bounds[1]))


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None
