"""What the scores of a period are: the lines of its tables, and what its figures are drawn from."""

__all__ = [
    "Balance",
    "EventScores",
    "FractionScore",
    "Innovation",
    "Line",
    "Row",
    "Score",
    "Side",
    "Spectrum",
    "Summary",
    "TARGETS",
]

import math
from collections.abc import Mapping
from dataclasses import dataclass

TARGETS = {
    "withheld": "withheld observations",
    "truth": "the truth",
    "radar": "radar fields",
    "used": "observations that were used",
}
"""What is scored against, in the order of tables, and in words."""


@dataclass(frozen=True)
class Score:
    """A score and its 95 % interval; None where there is too little to tell."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, value: float, bounds: tuple[float, float] = (math.nan, math.nan)) -> "Score":
        """Of numbers that may be NaN."""
        return cls(*(v if math.isfinite(v) else None for v in (value, *bounds)))


@dataclass(frozen=True)
class Side:
    """The scores of the background or of the analysis: by metric, and the rank histogram."""

    scores: Mapping[str, Score]
    ranks: tuple[float, ...]
    flatness: float | None
    flat_limit: float | None


@dataclass(frozen=True)
class Row:
    """One line of the overview: a variable against a target. `improvement` is the RMSE's reduction in per cent."""

    target: str
    variable: str
    unit: str
    n: int
    cycles: int
    interval: str
    background: Side | None
    analysis: Side | None
    improvement: Score | None


@dataclass(frozen=True)
class Line:
    """Scores of one side by lead, region, hour or station: those that are None are not divided by."""

    target: str
    variable: str
    unit: str
    side: str
    lead: float
    region: str
    hour: int | None
    station: str | None
    latitude: float | None
    longitude: float | None
    n: int
    cycles: int
    scores: Mapping[str, Score]


@dataclass(frozen=True)
class EventScores:
    """An event `threshold or more`: its scores, its reliability diagram and its ROC curve.

    `probability`, `observed` and `share` have M + 1 entries (see `metrics.events.reliability`; None where that
    probability was never forecast), `false_alarm` and `hit` M + 2.
    """

    target: str
    variable: str
    unit: str
    side: str
    lead: float
    threshold: float
    n: int
    frequency: float | None
    scores: Mapping[str, Score]
    probability: tuple[float, ...]
    observed: tuple[float | None, ...]
    share: tuple[float, ...]
    false_alarm: tuple[float | None, ...]
    hit: tuple[float | None, ...]


@dataclass(frozen=True)
class FractionScore:
    """The fractions skill score of an event in neighbourhoods of `width` x `width` grid points."""

    target: str
    variable: str
    unit: str
    side: str
    lead: float
    threshold: float
    width: int
    fss: Score


@dataclass(frozen=True)
class Innovation:
    """Departures of the observations of a source that were used (`metrics.innovations`)."""

    source: str
    variable: str
    unit: str
    n: int
    cycles: int
    scores: Mapping[str, Score]


@dataclass(frozen=True)
class Spectrum:
    """Mean power by wavelength (grid points) of truth, members, error of the mean and spread."""

    variable: str
    unit: str
    side: str
    lead: float
    wavelength: tuple[float, ...]
    truth: tuple[float, ...]
    members: tuple[float, ...]
    error: tuple[float, ...]
    spread: tuple[float, ...]


@dataclass(frozen=True)
class Balance:
    """An imbalance or a shock (`metrics.balance`) of background, analysis, increment or forecast."""

    kind: str
    side: str
    cycles: int
    score: Score


@dataclass(frozen=True)
class Summary:
    """What a period's scores are besides the overview; each part is empty where there is nothing to divide by."""

    by_lead: tuple[Line, ...]
    by_region: tuple[Line, ...]
    by_hour: tuple[Line, ...]
    by_station: tuple[Line, ...]
    events: tuple[EventScores, ...]
    fractions: tuple[FractionScore, ...]
    innovations: tuple[Innovation, ...]
    spectra: tuple[Spectrum, ...]
    balance: tuple[Balance, ...]
