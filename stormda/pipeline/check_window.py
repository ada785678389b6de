"""`stormda check` of one window: what has come of each source, what is missing, late or suspicious, and its picture.

What is usual is what came in the windows of the same hour on the three days before, as far as they have anything:

    late          the newest value lies further before the end of the window than usual, by more than a tenth of it
    few           fewer than half as many values as usual
    suspicious    values from the future; or a share of rejected ones above three times the usual and above 5 per cent

These are notes: the work goes on, and whoever waits for a source has its `min_count` and `wait`.
"""

__all__ = ["BY_POLICY", "preflight", "window_findings"]

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stormda.config import Config, SourceConfig
from stormda.errors import ConfigError, StormdaError
from stormda.grid import Grid
from stormda.observations import QC, Observations
from stormda.pipeline import build
from stormda.pipeline.findings import Finding, Status
from stormda.store.publish import write_bytes
from stormda.time import Window, format_time
from stormda.types import Array
from stormda.verification.plots import FORMS, rendered
from stormda.verification.preflight import preflight_figure

BY_POLICY = {"required": Status.MISSING, "warn": Status.NOTE, "optional": Status.OK}
_DAY, _BEFORE = np.timedelta64(86400, "s"), 3  # days that tell what is usual
_FEW = 0.5  # of the usual number
_LATE = 0.1  # of the window, later than usual
_REJECTED, _MORE = 0.05, 3.0  # share, and times the usual share


@dataclass(frozen=True)
class _Came:
    """What came of a source: values, those that passed the static checks, and s from the newest to the window's end."""

    values: int
    passed: int
    gap: float

    @property
    def rejected(self) -> float:
        """The share of values that a check has rejected."""
        return (self.values - self.passed) / self.values


def window_findings(config: Config, cycle: np.datetime64) -> Iterator[Finding]:
    """Observations of one cycle by source, against the policy of each and what is usual."""
    window = _window(config, cycle)
    past = [_window(config, cycle - n * _DAY) for n in range(1, _BEFORE + 1)]
    try:
        store = build.store(config)
        observations, earlier = store.read(window), [(w, store.read(w)) for w in past]
    except StormdaError as error:
        yield Finding(Status.BROKEN, f"observations {format_time(cycle)}", error.what, error.hint or "")
        return
    now = np.datetime64("now", "us")
    simulated = window.start > now + _DAY  # A world to come has no clock to go by.
    latest = window.end if simulated else now
    for name, observed in config.observations.sources.items():
        came = _came(observations, name, window)
        usual = [c for w, o in earlier if (c := _came(o, name, w)).values]
        future = int(((observations["source"] == name) & (observations["time"] > latest)).sum())
        yield _finding(name, observed, window, came, usual, future, format_time(cycle))


def _finding(
    name: str, source: SourceConfig, window: Window, came: _Came, usual: list[_Came], future: int, when: str
) -> Finding:
    detail = f"{came.values} values in {window}, {came.passed} passed the static checks"
    if came.values < source.min_count:
        hint = f"{source.min_count} are wanted, policy {source.policy}: ingest, or wait for late data"
        return Finding(BY_POLICY[source.policy], f"{name} {when}", detail, hint)
    if not came.values:
        hint = f"nothing from it here, policy {source.policy}: the analysis goes without it"
        return Finding(Status.NOTE, f"{name} {when}", detail, hint)
    odd = list(_odd(came, usual, (window.end - window.start) / np.timedelta64(1, "s")))
    if future:
        odd.append(f"suspicious: {future} values from the future")
    if not odd:
        return Finding(Status.OK, f"{name} {when}", detail)
    hint = "ingest again, or wait" if not any("suspicious" in o for o in odd) else "look at the files, or at the clock"
    return Finding(Status.NOTE, f"{name} {when}", "; ".join([detail, *odd]), hint)


def _odd(came: _Came, usual: list[_Came], length: float) -> Iterator[str]:
    """What differs from the days before."""
    if not usual:
        return
    values, gap = float(np.median([u.values for u in usual])), float(np.median([u.gap for u in usual]))
    if came.values < _FEW * values:
        yield f"few: usual are {values:.0f}"
    if came.gap > gap + _LATE * length:
        yield f"late: the newest is {came.gap / 60:.0f} min before the end, usual are {gap / 60:.0f}"
    share = float(np.median([u.rejected for u in usual]))
    if came.rejected > max(_REJECTED, _MORE * share):
        yield f"suspicious: {100 * came.rejected:.0f} % rejected, usual are {100 * share:.0f} %"


def _window(config: Config, cycle: np.datetime64) -> Window:
    return Window.around(cycle, config.observations.before, config.observations.after)


def _came(observations: Observations, name: str, window: Window) -> _Came:
    own = observations["source"] == name
    if not own.any():
        return _Came(0, 0, float("nan"))
    gap = (window.end - observations["time"][own].max()) / np.timedelta64(1, "s")
    return _Came(int(own.sum()), int((observations["qc"][own] == QC.USED).sum()), float(gap))


def preflight(config: Config, cycle: np.datetime64, path: Path) -> None:
    """Write the picture of a window: where its observations are, and each source along the day before its end.

    Raises:
        ConfigError: a file ending that no picture has, or no source of observations.
        InputError: the store is damaged.
        OutputError: the picture cannot be written.
    """
    form = path.suffix.lower().removeprefix(".")
    if form not in FORMS:
        hint = "end it in .png, .svg or .pdf"
        raise ConfigError(f"no picture can be written as '{path.name}'", key="--picture", hint=hint)
    sources = list(config.observations.sources)
    if not sources:
        raise ConfigError("there is no source of observations to draw", key="observations.sources")
    window = _window(config, cycle)
    shown = Window(min(window.start, window.end - _DAY), window.end)
    observations = build.store(config).read(shown)
    title = f"{config.name}: observations for {format_time(cycle)}"
    drawn = preflight_figure(_extent(config, observations), observations, window, shown, sources, title)
    write_bytes(path, rendered(drawn, form))


def _extent(config: Config, observations: Observations) -> Grid:
    """The grid of the archive; where there is none, one that holds the observations."""
    try:
        return build.archive(config).grid
    except StormdaError:
        pass

    def span(values: Array, low: float, high: float) -> Array:
        known = values[np.isfinite(values)]
        if not known.size:
            return np.linspace(low, high, 8)
        return np.linspace(max(low, known.min() - 1.0), min(high, known.max() + 1.0), 8)

    return Grid(span(observations["latitude"], -90.0, 90.0), span(observations["longitude"], -180.0, 180.0))
