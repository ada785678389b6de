"""Command `plot`: one picture, from a run folder, the folder of an analysis or a single file (`plot_source`).

analysis, background, forecast       maps of the ensemble mean          [channel]
increment                            analysis minus background          [channel]
spread, member                       of the analysis, or of the file    [channel]
observations                         where they are, and what became of them   [variable or source; empty: all]
departures                           O-B and O-A along time             [variable, variable:source]
ranks, spectrum                      from the statistics files of `stormda verify`   [variable]
station                              a variable at a station along time        [variable] --station
profile                              a variable above a station, by pressure   [variable] --station
"""

__all__ = ["PICTURES", "PlotList", "PlotResult", "Wanted", "pictures", "plot"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stormda.errors import ConfigError, InputMissing
from stormda.grid import Grid
from stormda.metrics.probabilistic import frequencies
from stormda.metrics.spatial import POWERS
from stormda.observations import QC, Observations
from stormda.pipeline.plot_source import Source
from stormda.store.analysis import Analysis
from stormda.store.feedback import read_feedback
from stormda.store.publish import write_bytes
from stormda.time import format_time
from stormda.types import Array
from stormda.variables import VOCABULARY
from stormda.verification.compare import ALL, labels_of
from stormda.verification.coverage import by_status
from stormda.verification.departures import departure_figure, departures_of
from stormda.verification.diagrams import spectrum_figure
from stormda.verification.maps import Scale, field_figure, observation_figure
from stormda.verification.places import Seen, profile_figure, station_figure
from stormda.verification.plots import FORMS, rank_figure, rendered
from stormda.verification.tally import Key

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class PlotResult:
    """A picture that was written."""

    file: str
    picture: str
    of: str
    size: int


@dataclass(frozen=True)
class PlotList:
    """What can be drawn from a path: (picture, what of), one a row."""

    path: str
    pictures: tuple[tuple[str, tuple[str, ...]], ...]

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people."""
        rows = [[name, ", ".join(of) or "-"] for name, of in self.pictures]
        return f"What can be drawn from {self.path}", ["picture", "of"], rows


@dataclass(frozen=True)
class Wanted:
    """What is to be drawn.

    Args:
        of: a channel, variable or source; empty: the only one, or all.
        member: its number, from 0.
        station: its name.
    """

    of: str = ""
    member: int = 0
    station: str = ""


@dataclass(frozen=True)
class _Kind:
    """A picture: what it can be of, and how it is drawn."""

    choices: Callable[[Source], list[str]]
    draw: Callable[[Source, Wanted], "Figure"]


def pictures(source: Source) -> PlotList:
    """What can be drawn; pictures without anything to draw are left out."""
    found = [(name, tuple(kind.choices(source))) for name, kind in PICTURES.items()]
    return PlotList(str(source.path), tuple((name, of) for name, of in found if of))


def plot(source: Source, picture: str, wanted: Wanted, path: Path) -> PlotResult:
    """Draw one picture.

    Args:
        source: the files.
        picture: a key of `PICTURES`.
        wanted: what of.
        path: the file, .png, .svg or .pdf.

    Raises:
        ConfigError: no such picture, variable, member, station or file ending.
        InputMissing: the files that it is drawn from are not there.
        InputError: they cannot be read.
        OutputError: the picture cannot be written.
    """
    form = path.suffix.lower().removeprefix(".")
    if form not in FORMS:
        raise ConfigError(
            f"no picture can be written as '{path.name}'", key="--output", hint="end it in .png, .svg or .pdf"
        )
    if picture not in PICTURES:
        raise ConfigError(f"there is no picture '{picture}'", key="PICTURE", hint=_near(picture, list(PICTURES)))
    choices = PICTURES[picture].choices(source)
    if not choices:
        there = ", ".join(name for name, _ in pictures(source).pictures) or "nothing"
        raise InputMissing(f"{picture} cannot be drawn from this", file=source.path, hint=f"what can: {there}")
    of = wanted.of or (choices[0] if len(choices) == 1 or _EVERY in choices else "")
    if of not in choices:
        what = f"there is no '{of}' to draw {picture} of" if of else f"{picture} of what?"
        raise ConfigError(what, key="OF", hint=_near(of, choices))
    drawn = PICTURES[picture].draw(source, Wanted(of, wanted.member, wanted.station))
    data = rendered(drawn, form)
    write_bytes(path, data)
    return PlotResult(str(path), picture, of, len(data))


def _near(name: str, choices: Sequence[str]) -> str:
    near = get_close_matches(name, choices, 1)
    return f"did you mean '{near[0]}'?" if near else f"one of {', '.join(choices)}"


# --- maps ------------------------------------------------------------------------------------------------------------

_EVERY = "all"


def _channels(*names: str) -> Callable[[Source], list[str]]:
    """The channels of the first of some ensembles, where all of them are there."""

    def choices(source: Source) -> list[str]:
        if any(name not in source.ensembles for name in names):
            return []
        return [c.name for c in source.ensemble(names[0]).state.channels]

    return choices


def _any_channels(source: Source) -> list[str]:
    return _channels(_main(source))(source) if source.ensembles else []


def _main(source: Source) -> str:
    """The ensemble whose spread and members are meant."""
    return "analysis" if "analysis" in source.ensembles else next(iter(source.ensembles))


def _mean(name: str) -> Callable[[Source, Wanted], "Figure"]:
    def draw(source: Source, wanted: Wanted) -> "Figure":
        ensemble, c = _of(source, name, wanted)
        field = ensemble.mean[c]
        return _map(ensemble, c, field, f"{name} mean", Scale.of(field))

    return draw


def _increment(source: Source, wanted: Wanted) -> "Figure":
    (after, c), (before, _) = (_of(source, name, wanted) for name in ("analysis", "background"))
    field = after.mean[c] - before.mean[c]
    return _map(after, c, field, "increment: analysis - background", Scale.about_zero(field))


def _spread(source: Source, wanted: Wanted) -> "Figure":
    name = _main(source)
    ensemble, c = _of(source, name, wanted)
    return _map(ensemble, c, ensemble.spread[c], f"{name} spread", Scale.from_zero(ensemble.spread[c]))


def _member(source: Source, wanted: Wanted) -> "Figure":
    name = _main(source)
    ensemble, c = _of(source, name, wanted)
    count = len(ensemble.state.values)
    if not 0 <= wanted.member < count:
        raise ConfigError(f"there is no member {wanted.member}", key="--member", hint=f"0 to {count - 1}")
    field = ensemble.state.values[wanted.member, c]
    # Members share the colours of all of them, so that their pictures can be laid beside each other.
    return _map(ensemble, c, field, f"{name} member {wanted.member}", Scale.of(*ensemble.state.values[:, c]))


def _of(source: Source, name: str, wanted: Wanted) -> tuple[Analysis, int]:
    ensemble = source.ensemble(name)
    return ensemble, [c.name for c in ensemble.state.channels].index(wanted.of)


def _map(ensemble: Analysis, c: int, field_HW: Array, what: str, scale: Scale) -> "Figure":
    channel = ensemble.state.channels[c]
    title = f"{channel.name} {what}\n{format_time(ensemble.time)}"
    return field_figure(ensemble.state.grid, field_HW, title=title, unit=channel.info.unit, scale=scale)


# --- observations ----------------------------------------------------------------------------------------------------


def _seen_names(source: Source) -> list[str]:
    if source.feedback is None:
        return []
    own = source.seen.observations
    return (
        [_EVERY, *sorted({str(name) for column in ("source", "variable") for name in own[column]})] if len(own) else []
    )


def _observations(source: Source, wanted: Wanted) -> "Figure":
    own = source.seen.observations
    if wanted.of != _EVERY:
        own = own.where((own["source"].astype(str) == wanted.of) | (own["variable"].astype(str) == wanted.of))
    when = format_time(own["time"].max().astype("datetime64[s]"))
    return observation_figure(_extent(source, own), by_status(own), title=f"observations: {wanted.of}\nup to {when}")


def _extent(source: Source, observations: Observations) -> Grid:
    """The grid of the analysis, else one that holds the observations."""
    if source.ensembles:
        return source.ensemble(_main(source)).state.grid
    beside = source.path.parent / "analysis.nc"
    if beside.is_file():
        return Source(source.path, {"analysis": beside}).ensemble("analysis").state.grid
    inside = observations.where(observations["qc"] != QC.OUTSIDE_GRID)
    own = inside if len(inside) else observations
    latitude, longitude = (np.linspace(own[n].min() - 1.0, own[n].max() + 1.0, 8) for n in ("latitude", "longitude"))
    return Grid(latitude, longitude)


def _departure_names(source: Source) -> list[str]:
    if not (source.statistics or source.others):
        return []
    found = departures_of(source.tally)
    alone = [d.variable for d in found if sum(o.variable == d.variable for o in found) == 1]
    return [*alone, *(f"{d.variable}:{d.source}" for d in found)]


def _departures(source: Source, wanted: Wanted) -> "Figure":
    found = departures_of(source.tally)
    return departure_figure(next(d for d in found if wanted.of in (d.variable, f"{d.variable}:{d.source}")))


# --- statistics ------------------------------------------------------------------------------------------------------


def _rank_names(source: Source) -> list[str]:
    return sorted({f"{k.variable}:{k.target}" for k in _rank_keys(source)}) if source.statistics else []


def _rank_keys(source: Source) -> list[Key]:
    keys = source.tally.keys("truth", "withheld", "radar", "used")
    return [k for k in keys if k.region == ALL and k.side in ("background", "analysis")]


def _ranks(source: Source, wanted: Wanted) -> "Figure":
    counts = {}
    for key in (k for k in _rank_keys(source) if f"{k.variable}:{k.target}" == wanted.of):
        total, size = source.tally.by_time(key)[1].together(), source.tally.members(key)
        counts[key.side] = frequencies(total, size)[0]
    variable, target = wanted.of.split(":")
    return rank_figure(counts, title=f"{variable} against {target}")


def _spectrum_names(source: Source) -> list[str]:
    return sorted({k.variable for k in source.tally.keys("spectra")}) if source.statistics else []


def _spectrum(source: Source, wanted: Wanted) -> "Figure":
    keys = [k for k in source.tally.keys("spectra") if k.variable == wanted.of]
    own = min(keys, key=lambda k: ("analysis", "background", "reanalysis", "forecast").index(k.side))
    total = source.tally.by_time(own)[1].together()
    powers = {name: total.mean(f"power_{name}")[0] for name in POWERS}
    title = f"power spectrum of {own.variable}, {own.side}"
    return spectrum_figure(total.mean("wavelength")[0], powers, unit=own.unit, title=title)


# --- one station -----------------------------------------------------------------------------------------------------


def _station_names(source: Source) -> list[str]:
    return sorted(map(str, set(_labels(source.seen.observations)))) if source.feedback is not None else []


def _labels(observations: Observations) -> Array:
    """Variables with their levels, as they are scored without channels, [N]."""
    return labels_of(observations, ()).astype(str)


def _station(source: Source, wanted: Wanted) -> "Figure":
    parts: list[Seen] = []
    names: set[str] = set()
    for file in source.others:
        feedback = read_feedback(file)
        own = _labels(feedback.observations) == wanted.of
        names |= set(feedback.observations["station_id"][own].astype(str))
        own &= feedback.observations["station_id"].astype(str) == wanted.station
        parts.append(_values(feedback.observations, own, (feedback.background, feedback.analysis), "time"))
    together = _joined(parts)
    if not len(together.x):
        raise _no_station(wanted, names)
    name = f"{wanted.of} at {wanted.station}"
    return station_figure(together, title=name, unit=VOCABULARY[_variable(source, wanted.of)].unit)


def _profile_names(source: Source) -> list[str]:
    """Variables with values at several pressures."""
    if source.feedback is None:
        return []
    own = source.seen.observations
    level, variable = own["level"], own["variable"].astype(str)
    return sorted(str(v) for v in set(variable) if len(set(level[(variable == v) & np.isfinite(level)])) > 1)


def _profile(source: Source, wanted: Wanted) -> "Figure":
    own = source.seen.observations
    chosen = (own["variable"].astype(str) == wanted.of) & np.isfinite(own["level"])
    names = set(own["station_id"][chosen].astype(str))
    chosen &= own["station_id"].astype(str) == wanted.station
    if not chosen.any():
        raise _no_station(wanted, names)
    seen = _values(own, chosen, (source.seen.background, source.seen.analysis), "level")
    when = format_time(own["time"][chosen].max().astype("datetime64[s]"))
    title = f"{wanted.of} above {wanted.station}, {when}"
    return profile_figure(_joined([seen]), title=title, unit=VOCABULARY[wanted.of].unit)


def _values(observations: Observations, chosen: Array, members: tuple[Array, Array], axis: str) -> Seen:
    used = (observations["qc"] == QC.USED) & ~observations["withheld"].astype(bool)
    x, value, error = (observations[name][chosen] for name in (axis, "value", "error"))
    return Seen(x, value, error, used[chosen], *(hx[:, chosen] for hx in members))


def _joined(parts: Sequence[Seen]) -> Seen:
    """One after the other, in the order of their times or levels; of members as many as all of them have."""
    size = min(len(p.background) for p in parts)
    x = np.concatenate([p.x for p in parts])
    order = np.argsort(x, kind="stable")
    lines = [np.concatenate([getattr(p, n) for p in parts])[order] for n in ("value", "error", "used")]
    sides = [
        np.concatenate([getattr(p, n)[:size] for p in parts], axis=1)[:, order] for n in ("background", "analysis")
    ]
    return Seen(x[order], *lines, *sides)


def _variable(source: Source, label: str) -> str:
    own = source.seen.observations
    return str(own["variable"][_labels(own) == label][0])


def _no_station(wanted: Wanted, names: set[str]) -> ConfigError:
    few = sorted(names)
    shown = ", ".join(few[:12]) + (f", ... ({len(few)} stations)" if len(few) > 12 else "")
    if not wanted.station:
        return ConfigError(f"{wanted.of} at which station?", key="--station", hint=f"one of {shown}")
    near = get_close_matches(wanted.station, few, 1)
    hint = f"did you mean '{near[0]}'?" if near else f"one of {shown}"
    return ConfigError(f"nothing of {wanted.of} at a station '{wanted.station}'", key="--station", hint=hint)


PICTURES: dict[str, _Kind] = {
    "analysis": _Kind(_channels("analysis"), _mean("analysis")),
    "background": _Kind(_channels("background"), _mean("background")),
    "forecast": _Kind(_channels("forecast"), _mean("forecast")),
    "increment": _Kind(_channels("analysis", "background"), _increment),
    "spread": _Kind(_any_channels, _spread),
    "member": _Kind(_any_channels, _member),
    "observations": _Kind(_seen_names, _observations),
    "departures": _Kind(_departure_names, _departures),
    "ranks": _Kind(_rank_names, _ranks),
    "spectrum": _Kind(_spectrum_names, _spectrum),
    "station": _Kind(_station_names, _station),
    "profile": _Kind(_profile_names, _profile),
}
"""By name, in the order of `--list`."""
