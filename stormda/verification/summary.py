"""From sums to scores with their intervals: the rows of tables, and what figures are drawn from.

Intervals hold the middle 95 % of a block bootstrap over analysis times; where these are fewer than `FEW`, over
stations, and where there are no stations, there is none. A score by hour has its interval from the times of that hour.
"""

__all__ = ["METRICS", "by_cycle", "overview", "summarise"]

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from stormda.metrics.balance import imbalance
from stormda.metrics.base import Metric, Sums
from stormda.metrics.deterministic import acc, bias, mae, rmse
from stormda.metrics.events import CATEGORICAL, auc, brier, brier_skill, categorical, event_table, reliability, roc
from stormda.metrics.innovations import INNOVATIONS
from stormda.metrics.probabilistic import crps, flatness, frequencies, spread_skill
from stormda.metrics.spatial import POWERS, fss
from stormda.time import format_time, hours
from stormda.types import Array
from stormda.verification.compare import ALL, NO_LEAD
from stormda.verification.intervals import FEW, flat_limit, intervals
from stormda.verification.lines import (
    TARGETS,
    Balance,
    EventScores,
    FractionScore,
    Innovation,
    Line,
    Row,
    Score,
    Side,
    Spectrum,
    Summary,
)
from stormda.verification.tally import Key, Tally

METRICS: dict[str, Metric] = {
    "rmse": rmse,
    "bias": bias,
    "mae": mae,
    "crps": crps,
    "spread_skill": spread_skill,
    "acc": acc,
}
_NEEDED = ("error", "absolute_error", "squared_error", "crps", "variance", "anomalies")  # by METRICS
_TARGETS = tuple(TARGETS)
_SIDES = ("background", "analysis", "reanalysis", "increment", "forecast")


def summarise(tally: Tally) -> Summary:
    """Every score of a period but those of `overview`."""
    keys = sorted(tally.keys(*_TARGETS), key=_order)
    whole = [k for k in keys if k.region == ALL]
    regional = keys if len({k.region for k in keys}) > 1 else []
    return Summary(
        by_lead=tuple(_line(tally, k) for k in whole) if any(k.lead for k in whole) else (),
        by_region=tuple(_line(tally, k) for k in regional),
        by_hour=tuple(line for k in whole for line in _hours(tally, k)),
        by_station=tuple(line for k in whole if k.lead == NO_LEAD for line in _station_lines(tally, k)),
        events=tuple(scores for k in whole for scores in _events(tally, k)),
        fractions=tuple(score for k in whole for score in _fractions(tally, k)),
        innovations=tuple(_innovation(tally, k) for k in tally.keys("innovations")),
        spectra=tuple(_spectrum(tally, k) for k in sorted(tally.keys("spectra"), key=_order)),
        balance=tuple(_balance(tally, k) for k in sorted(tally.keys("balance"), key=_order)),
    )


def overview(tally: Tally) -> tuple[Row, ...]:
    """Background beside analysis over the whole domain: a row for each target and variable, in the targets' order."""
    keys = [k for k in tally.keys(*_TARGETS) if k.region == ALL and k.side in ("background", "analysis")]
    named = sorted(dict.fromkeys((k.target, k.variable) for k in keys), key=lambda name: _TARGETS.index(name[0]))
    return tuple(_row(tally, [k for k in keys if (k.target, k.variable) == name]) for name in named)


def by_cycle(tally: Tally) -> list[dict[str, Any]]:
    """The scores of every analysis by itself: a record each, `spread` being sqrt(mean [(1 + 1/M) s^2 + R])."""
    records = []
    for key in (k for k in tally.keys(*_TARGETS) if k.region == ALL and k.side != "forecast"):
        for cycle, split, total in tally.single(key):
            record: dict[str, Any] = {
                "cycle": format_time(cycle),
                "split": split,
                "target": key.target,
                "variable": key.variable,
                "unit": key.unit,
                "side": key.side,
                "members": tally.members(key),
                "n": int(total.count[0]),
            }
            record |= {name: _number(float(metric(total)[0])) for name, metric in METRICS.items()}
            records.append(record | {"spread": float(np.sqrt(total.mean("variance")[0]))})
    return sorted(records, key=lambda r: (r["cycle"], r["split"]))


def _order(key: Key) -> tuple[int, str, np.timedelta64, int, str]:
    target = _TARGETS.index(key.target) if key.target in _TARGETS else len(_TARGETS)
    return target, key.variable, key.lead, _SIDES.index(key.side), key.region


def _groups(tally: Tally, key: Key) -> tuple[Sums, int | None, str]:
    """The sums that intervals are drawn from, the length of their blocks and what they are."""
    times, sums = tally.by_time(key)
    stations = tally.by_station(key) if len(times) < FEW else None
    if stations is not None:
        return stations[1], 1, "stations" if len(stations[0]) >= FEW else "none"
    return sums, None, "cycles" if len(times) >= FEW else "none"


def _row(tally: Tally, keys: list[Key]) -> Row:
    sums, kinds, length = {}, set(), None
    for key in keys:
        sums[key.side], length, kind = _groups(tally, key)
        kinds.add(kind)
    described = {k.side: _side(sums[k.side], tally.members(k), length) for k in keys}
    first = keys[0]
    return Row(
        target=first.target,
        variable=first.variable,
        unit=first.unit,
        n=int(max(s.count.sum() for s in sums.values())),
        cycles=max(len(tally.by_time(k)[0]) for k in keys),
        interval=kinds.pop() if len(kinds) == 1 else "none",
        background=described.get("background"),
        analysis=described.get("analysis"),
        improvement=_improvement(sums, length),
    )


def _side(sums: Sums, size: int, length: int | None) -> Side:
    total, ranks = sums.together(), f"ranks{size}"
    heights = tuple(float(f) for f in frequencies(total, size)[0])
    limit = flat_limit(sums.only([ranks]), size, length=length)
    return Side(_scores(sums, length), heights, _number(float(flatness(total, size)[0])), _number(limit))


def _scores(sums: Sums, length: int | None, metrics: Mapping[str, Metric] = METRICS) -> dict[str, Score]:
    """Metrics of all groups together, with the intervals over groups."""
    if metrics is METRICS:
        sums = sums.only(_NEEDED)
    total, bounds = sums.together(), intervals(sums, metrics, length=length)
    return {name: Score.of(float(metric(total)[0]), bounds[name]) for name, metric in metrics.items()}


def _improvement(sums: Mapping[str, Sums], length: int | None) -> Score | None:
    """The reduction of RMSE from background to analysis, in per cent, where both were scored at the same values."""
    if len(sums) < 2 or not np.array_equal(sums["background"].count, sums["analysis"].count):
        return None
    before, after = (sums[side] for side in ("background", "analysis"))
    both = Sums(
        before.count, before.weight, {"before": before.totals["squared_error"], "after": after.totals["squared_error"]}
    )
    return _scores(both, length, {"reduction": _reduction})["reduction"]


def _reduction(sums: Sums) -> Array:
    before, after = sums.mean("before"), sums.mean("after")
    ratio = np.divide(after, before, out=np.full(after.shape, np.nan), where=before > 0)
    return np.asarray(100.0 * (1.0 - np.sqrt(ratio)))


def _line(tally: Tally, key: Key) -> Line:
    sums, length, _ = _groups(tally, key)
    return _named(key, sums, len(tally.by_time(key)[0]), _scores(sums, length))


def _hours(tally: Tally, key: Key) -> Iterable[Line]:
    """A line for each hour of the day, where there are several."""
    times, sums = tally.by_time(key)
    hour = np.array([int(t.astype("datetime64[h]").astype(np.int64) % 24) for t in times])
    for own in sorted(set(hour)) if len(set(hour)) > 1 else ():
        chosen = _taken(sums, np.flatnonzero(hour == own))
        yield _named(key, chosen, int((hour == own).sum()), _scores(chosen, None), hour=int(own))


def _station_lines(tally: Tally, key: Key) -> Iterable[Line]:
    found = tally.by_station(key)
    if found is None:
        return
    names, sums = found
    values = {name: metric(sums) for name, metric in METRICS.items()}
    x, y, z = sums.mean("place").T
    latitude, longitude = np.rad2deg(np.arctan2(z, np.hypot(x, y))), np.rad2deg(np.arctan2(y, x))
    times = len(tally.by_time(key)[0])
    for g, station in enumerate(names):
        scores = {name: Score.of(float(value[g])) for name, value in values.items()}
        own = _taken(sums, np.array([g]))
        yield _named(key, own, times, scores, station=station, place=(float(latitude[g]), float(longitude[g])))


def _named(
    key: Key,
    sums: Sums,
    cycles: int,
    scores: Mapping[str, Score],
    *,
    hour: int | None = None,
    station: str | None = None,
    place: tuple[float | None, float | None] = (None, None),
) -> Line:
    own = key.target, key.variable, key.unit, key.side, hours(key.lead), key.region
    latitude, longitude = place
    return Line(*own, hour, station, latitude, longitude, int(sums.count.sum()), cycles, scores)


def _taken(sums: Sums, index: Array) -> Sums:
    return Sums(sums.count[index], sums.weight[index], {n: total[index] for n, total in sums.totals.items()})


def _events(tally: Tally, key: Key) -> Iterable[EventScores]:
    sums, length, _ = _groups(tally, key)
    for name in (n for n in sums.totals if n.startswith(f"event{tally.members(key)}:")):
        own = sums.only([name])
        total = own.together()
        table = event_table(total, name)[0]
        probability, observed, share = reliability(total, name)
        false_alarm, hit = roc(total, name)
        yield EventScores(
            target=key.target,
            variable=key.variable,
            unit=key.unit,
            side=key.side,
            lead=hours(key.lead),
            threshold=float(name.split(":")[1]),
            n=int(total.count[0]),
            frequency=_number(float(table[1].sum() / table.sum())),
            scores=_event_scores(own, name, length),
            probability=tuple(map(float, probability)),
            observed=_numbers(observed[0]),
            share=tuple(map(float, share[0])),
            false_alarm=_numbers(false_alarm[0]),
            hit=_numbers(hit[0]),
        )


def _event_scores(sums: Sums, name: str, length: int | None) -> dict[str, Score]:
    """Probabilistic and yes-or-no scores; the latter come together from one call a replicate."""
    made: list[tuple[Sums, dict[str, Array]]] = []

    def of_table(wanted: str) -> Metric:
        def metric(own: Sums) -> Array:
            if not made or made[0][0] is not own:
                made[:] = [(own, categorical(own, name))]
            return made[0][1][wanted]

        return metric

    metrics: dict[str, Metric] = {
        "brier": lambda own: brier(own, name),
        "brier_skill": lambda own: brier_skill(own, name),
        "auc": lambda own: auc(own, name),
    } | {wanted: of_table(wanted) for wanted in CATEGORICAL}
    return _scores(sums, length, metrics)


def _fractions(tally: Tally, key: Key) -> Iterable[FractionScore]:
    sums, length, _ = _groups(tally, key)
    for name in (n for n in sums.totals if n.startswith("fss")):
        width, threshold = name.removeprefix("fss").split(":")
        score = _scores(sums.only([name]), length, {"fss": lambda own, name=name: fss(own, name)})["fss"]  # type: ignore[misc]
        where = key.target, key.variable, key.unit, key.side, hours(key.lead)
        yield FractionScore(*where, float(threshold), int(width), score)


def _innovation(tally: Tally, key: Key) -> Innovation:
    sums, length, _ = _groups(tally, key)
    cycles = len(tally.by_time(key)[0])
    scores = _scores(sums, length, INNOVATIONS)
    scores["degrees_of_freedom"] = Score(scores["degrees_of_freedom"].value)  # a count: no interval
    return Innovation(key.source, key.variable, key.unit, int(sums.count.sum()), cycles, scores)


def _spectrum(tally: Tally, key: Key) -> Spectrum:
    total = tally.by_time(key)[1].together()
    waves = tuple(map(float, total.mean("wavelength")[0]))
    powers = {name: tuple(map(float, total.mean(f"power_{name}")[0])) for name in POWERS}
    return Spectrum(key.variable, key.unit, key.side, hours(key.lead), waves, **powers)


def _balance(tally: Tally, key: Key) -> Balance:
    times, sums = tally.by_time(key)
    return Balance(key.variable, key.side, len(times), _scores(sums, None, {"imbalance": imbalance})["imbalance"])


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _numbers(values: Array) -> tuple[float | None, ...]:
    return tuple(_number(float(v)) for v in values)
