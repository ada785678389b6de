"""What is compared with what: the ensembles of one analysis time become sums of statistics.

At an analysis time there are its background, its analysis and the forecasts that are valid then; each is a *side*, and
is compared with up to four *targets*:

    truth      the gridded truth at that time, weighted by area
    radar      rain and reflectivity as radars saw them, on the grid where they looked, weighted by area
    withheld   observations that passed quality control and were kept out: the independent check
    used       observations that were assimilated: of background and analysis a fit, no skill; of a forecast independent

Three more targets hold no scores but diagnostics: `innovations` (departures of the observations that were used, by
source), `spectra` (power by scale beside the truth) and `balance` (of fields by themselves).

One ensemble gives one `Part` a target, variable and region. Parts are added up by `tally`; their groups are stations.
"""

__all__ = [
    "ALL",
    "NO_LEAD",
    "Part",
    "Scoring",
    "against_field",
    "against_observations",
    "against_truth",
    "innovations",
    "labels_of",
    "power_spectra",
    "scored",
]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from stormda.grid import Grid
from stormda.metrics.base import Given, Pair, Statistic, Sums, accumulate
from stormda.metrics.deterministic import AbsoluteError, Anomalies, Error, SquaredError
from stormda.metrics.events import Event
from stormda.metrics.innovations import departures
from stormda.metrics.probabilistic import Crps, Ranks, Variance
from stormda.metrics.spatial import fss_terms, spectra, wavelengths
from stormda.observations import QC, Observations
from stormda.time import format_time, hours
from stormda.types import Array
from stormda.variables import VOCABULARY, Channel, LevelType
from stormda.verification.regions import Region, unit_vectors

ALL = "all"
NO_LEAD = np.timedelta64(0, "s")
_NEAR = 100.0  # hPa: a level that an operator took for a channel's lies nearer than this
_LAYER = 1000.0  # m: radar measures at every height; values are scored in layers about multiples of this


@dataclass(frozen=True)
class Scoring:
    """What is scored besides the scores that every variable has.

    Args:
        variables: those that are scored; empty: all.
        thresholds: of events, by variable.
        scales: widths of the neighbourhoods of the fractions skill score.
        regions: by name, besides the whole domain.
    """

    variables: frozenset[str] = frozenset()
    thresholds: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    scales: tuple[int, ...] = ()
    regions: Mapping[str, Region] = field(default_factory=dict)

    def wants(self, label: str) -> bool:
        """Whether a variable at a level is scored: where it, or the variable at any level, is asked for."""
        return not self.variables or label in self.variables or _variable(label) in self.variables

    def events(self, label: str) -> tuple[float, ...]:
        """The thresholds of a variable at a level, else those of the variable at any level."""
        return self.thresholds.get(label, self.thresholds.get(_variable(label), ()))

    def masks(self, latitude: Array, longitude: Array) -> dict[str, Array]:
        """Which places each region holds, by its name; the whole domain comes first."""
        whole = {ALL: np.ones(np.shape(latitude), dtype=bool)}
        return whole | {name: region.holds(latitude, longitude) for name, region in self.regions.items()}


@dataclass(frozen=True, eq=False)
class Part:
    """Sums of one variable of one ensemble against one target in one region.

    Args:
        target: `truth`, `radar`, `withheld`, `used`, `innovations`, `spectra` or `balance`.
        variable: a channel's name, or that of an observed variable and level.
        unit: of the vocabulary.
        side: `background`, `analysis`, `reanalysis`, `forecast`, or `increment` of a balance.
        cycle, split: the analysis time that all of it is valid at, and the choice of withheld stations.
        members: M.
        sums: G groups.
        stations: [G], their names; one empty name for fields.
        lead: of a forecast; of a reanalysis below zero, from its last observations back to its time.
        region: `all` or its name.
        source: of the observations, where they are told apart.
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
    lead: np.timedelta64 = NO_LEAD
    region: str = ALL
    source: str = ""


def against_truth(
    side: str,
    members_MCHW: Array,
    channels: Sequence[Channel],
    grid: Grid,
    truth: Mapping[str, Array],
    cycle: np.datetime64,
    split: int,
    *,
    scoring: Scoring | None = None,
    climatology: Mapping[str, Array] | None = None,
    lead: np.timedelta64 = NO_LEAD,
) -> list[Part]:
    """The parts of an ensemble against fields [H, W] of a truth by channel name; channels it lacks are left out.

    Args:
        side, members_MCHW, channels, grid: the ensemble, in physical units.
        truth: by channel name.
        cycle, split: which analysis time.
        scoring: events, scales and regions; None: none.
        climatology: of that time by channel name [H, W], for the anomaly correlation.
        lead: of a forecast.
    """
    scoring, parts = scoring or Scoring(), []
    for c, channel in enumerate(channels):
        name = channel.name
        if name not in truth or not scoring.wants(name):
            continue
        anomalies = [Anomalies(climatology[name].ravel())] if climatology and name in climatology else []
        where = "truth", side, channel, members_MCHW[:, c], truth[name], grid, cycle, split
        parts += against_field(*where, scoring=scoring, lead=lead, more=anomalies)
    return parts


def against_field(
    target: str,
    side: str,
    channel: Channel,
    members_MHW: Array,
    reference_HW: Array,
    grid: Grid,
    cycle: np.datetime64,
    split: int,
    *,
    scoring: Scoring,
    lead: np.timedelta64 = NO_LEAD,
    known_HW: Array | None = None,
    more: Sequence[Statistic] = (),
) -> list[Part]:
    """The parts of one field of an ensemble, one a region.

    Args:
        target, side: what is compared with what.
        channel: its name and unit.
        members_MHW, grid: the ensemble.
        reference_HW: beside it.
        cycle, split, lead: which analysis time, and of a forecast.
        scoring: events, scales and regions.
        known_HW: where there is a reference; None: everywhere.
        more: statistics besides those of every field.
    """
    name, thresholds = channel.name, scoring.events(channel.name)
    known = np.ones(reference_HW.shape, dtype=bool) if known_HW is None else known_HW
    pair = Pair.of(members_MHW, reference_HW, weights=grid.weights, mask=known)
    what = name if target == "truth" else f"{target} {name}"
    statistics = [*_statistics(pair.size, _purpose(side, cycle, split, what, lead), thresholds), *more]
    for threshold in thresholds:
        for width in scoring.scales:
            terms = fss_terms(members_MHW, np.where(known, reference_HW, np.nan), threshold, width, grid.periodic)
            statistics.append(Given(f"fss{width}:{threshold:.10g}", terms[known]))
    computed = [Given(s.name, s(pair)) for s in statistics]
    parts = []
    for region, mask in scoring.masks(*grid.fields).items():
        inside = mask[known]
        if inside.any():
            key = target, name, channel.info.unit, side, cycle, split, pair.size
            parts.append(Part(*key, _within(pair, computed, inside), np.array([""]), lead, region))
    return parts


def against_observations(
    target: str,
    side: str,
    members_MN: Array,
    observations: Observations,
    channels: Sequence[Channel],
    cycle: np.datetime64,
    split: int,
    *,
    scoring: Scoring | None = None,
    lead: np.timedelta64 = NO_LEAD,
) -> list[Part]:
    """The parts of H(members) against observations that passed quality control, by variable and level.

    Values without a finite observation error are left out: neither their spread nor their rank could be judged.
    """
    scoring, parts = scoring or Scoring(), []
    keep = scored(observations, target)
    labels = labels_of(observations, channels)
    for label in sorted(set(labels[keep])):
        if not scoring.wants(label):
            continue
        rows = keep & (labels == label)
        pair = Pair.of(members_MN, observations["value"], variance=observations["error"] ** 2, mask=rows)
        stations, groups = np.unique(observations["station_id"][rows].astype(str), return_inverse=True)
        latitude, longitude = observations["latitude"][rows], observations["longitude"][rows]
        purpose = _purpose(side, cycle, split, f"{target} {label}", lead)
        statistics = _statistics(pair.size, purpose, scoring.events(label))
        statistics.append(Given("place", unit_vectors(latitude, longitude)))
        computed = [Given(s.name, s(pair)) for s in statistics]
        unit = VOCABULARY[str(observations["variable"][rows][0])].unit
        for region, mask in scoring.masks(latitude, longitude).items():
            if not mask.any():
                continue
            there, own = np.unique(groups[mask], return_inverse=True)
            sums = _within(pair, computed, mask, own, len(there))
            key = target, label, unit, side, cycle, split, pair.size
            parts.append(Part(*key, sums, stations[there], lead, region))
    return parts


def innovations(
    background_MN: Array,
    analysis_MN: Array,
    observations: Observations,
    channels: Sequence[Channel],
    cycle: np.datetime64,
    split: int,
    *,
    scoring: Scoring | None = None,
) -> list[Part]:
    """The departures of the observations that were used, by source, variable and level."""
    scoring, parts = scoring or Scoring(), []
    keep = scored(observations, "used")
    labels, sources = labels_of(observations, channels), observations["source"].astype(str)
    for label, source in sorted(set(zip(labels[keep], sources[keep], strict=True))):
        if not scoring.wants(label):
            continue
        rows = keep & (labels == label) & (sources == source)
        pair = Pair.of(analysis_MN, observations["value"], variance=observations["error"] ** 2, mask=rows)
        stations, groups = np.unique(observations["station_id"][rows].astype(str), return_inverse=True)
        statistics = departures(pair.reference, pair.variance, background_MN[:, rows], pair.members)
        sums = accumulate(pair, statistics, groups, len(stations))
        unit = VOCABULARY[str(observations["variable"][rows][0])].unit
        key = "innovations", label, unit, "analysis", cycle, split, pair.size
        parts.append(Part(*key, sums, stations, source=source))
    return parts


def power_spectra(
    side: str,
    members_MCHW: Array,
    channels: Sequence[Channel],
    grid: Grid,
    truth: Mapping[str, Array],
    cycle: np.datetime64,
    split: int,
    *,
    scoring: Scoring | None = None,
    lead: np.timedelta64 = NO_LEAD,
) -> list[Part]:
    """Power by scale of an ensemble and of the truth, of the channels that the truth has."""
    scoring, parts = scoring or Scoring(), []
    waves = wavelengths(grid.shape, grid.periodic)
    for c, channel in enumerate(channels):
        if channel.name not in truth or not scoring.wants(channel.name):
            continue
        found = spectra(members_MCHW[:, c].astype(np.float64), truth[channel.name].astype(np.float64), grid.periodic)
        totals = {f"power_{name}": power[None] for name, power in found.items()} | {"wavelength": waves[None]}
        key = "spectra", channel.name, channel.info.unit, side, cycle, split, len(members_MCHW)
        parts.append(Part(*key, Sums(np.ones(1), np.ones(1), totals), np.array([""]), lead))
    return parts


def scored(observations: Observations, target: str) -> Array:
    """Which rows belong to a target, bool [N]."""
    good = (observations["qc"] == QC.USED) & np.isfinite(observations["error"])
    withheld = observations["withheld"].astype(bool)
    return np.asarray(good & (withheld if target == "withheld" else ~withheld))


def labels_of(observations: Observations, channels: Sequence[Channel]) -> Array:
    """The channel that each row stands for, [N]: the nearest level of its variable, else the variable's own level.

    Levels that are heights, those of radar, are rounded to 1000 m: `dbz2000` holds 1500 to 2500 m.
    """
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
            high = VOCABULARY[name].level_type is LevelType.HEIGHT
            labels[own] = _named(name, np.rint(level[own] / _LAYER) * _LAYER if high else level[own])
    return labels


def _variable(label: str) -> str:
    return label if label in VOCABULARY else Channel.parse(label).variable


def _named(variable: str, level: Array) -> Array:
    return np.array([Channel(variable, None if np.isnan(v) else float(v)).name for v in level], dtype=object)


def _purpose(side: str, cycle: np.datetime64, split: int, what: str, lead: np.timedelta64) -> str:
    """What the random numbers of ranks are for."""
    ahead = f" +{hours(lead):g} h" if lead else ""
    return f"{side} {format_time(cycle)} {split} {what}{ahead}"


def _statistics(size: int, purpose: str, thresholds: Sequence[float]) -> list[Statistic]:
    events = [Event(threshold, size) for threshold in thresholds]
    return [Error(), AbsoluteError(), SquaredError(), Crps(), Variance(), Ranks(size, purpose), *events]


def _within(pair: Pair, computed: Sequence[Given], mask: Array, groups: Array | None = None, count: int = 1) -> Sums:
    """The sums of statistics that are computed for all values, over those of a region."""
    if mask.all():
        return accumulate(pair, computed, groups, count)
    return accumulate(pair.where(mask), [Given(g.name, g.values[mask]) for g in computed], groups, count)
