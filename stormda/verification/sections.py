"""The parts of a page that people look at rather than read: what of a summary becomes which figure or table."""

__all__ = ["sections_of"]

from collections.abc import Iterable, Sequence

import numpy as np

from stormda.grid import Grid
from stormda.types import Array
from stormda.verification.compare import ALL
from stormda.verification.diagrams import Band, event_diagram, score_lines, spectrum_diagram
from stormda.verification.lines import TARGETS, EventScores, Line, Score, Spectrum, Summary
from stormda.verification.maps import Scale, station_map
from stormda.verification.picture import Picture, Section, Table

_FIGURES = 8  # of one kind on a page; a page with more would be too heavy to open
_WORST = 10  # stations in the table


def sections_of(summary: Summary, grid: Grid | None) -> tuple[Section, ...]:
    """Figures and tables of a summary; a section without anything to show is left out.

    Args:
        summary: of a period.
        grid: of the analyses, for the map of stations; None: no map.
    """
    made = (
        _leads(summary.by_lead),
        _hours(summary.by_hour),
        _regions(summary.by_region),
        _stations(summary.by_station, grid),
        _events(summary.events),
        _fractions(summary),
        _spectra(summary.spectra),
        _innovations(summary),
        _balance(summary),
    )
    return tuple(s for s in made if s.pictures or s.tables)


def _leads(lines: Sequence[Line]) -> Section:
    pictures = []
    for (target, variable, unit), own in _grouped(_shown(lines, forecasts=True)):
        ahead = sorted((line for line in own if line.side != "background"), key=lambda line: line.lead)
        drawn = {name: _band([line.lead for line in ahead], ahead, name.lower()) for name in ("RMSE", "CRPS")}
        title = f"{variable} against {TARGETS[target]}"
        told = "; ".join(f"{line.lead:+g} h {_words(line.scores['rmse'])}" for line in ahead)
        data = score_lines(drawn, label="lead time [h], 0 is the analysis", unit=unit, title=title)
        pictures.append(Picture(data, f"RMSE and CRPS of {title} by lead time, RMSE in {unit}: {told}."))
    text = "The analysis (lead 0) and the forecasts from it; bars are 95 % intervals, where there is enough data."
    if any(line.lead < 0 for line in lines):
        text += " Below 0: the reanalysis, drawn again with observations of so many hours more."
    return Section("By lead time", tuple(pictures[:_FIGURES]), text=text)


def _hours(lines: Sequence[Line]) -> Section:
    pictures = []
    for (target, variable, unit), own in _grouped(_shown(lines)):
        drawn = {}
        for side in ("background", "analysis"):
            if there := [line for line in own if line.side == side]:
                drawn[side] = _band([float(line.hour or 0) for line in there], there, "rmse")
        title = f"{variable} against {TARGETS[target]}"
        told = "; ".join(
            f"{n} from {np.nanmin(b.value):.4g} to {np.nanmax(b.value):.4g} {unit}" for n, b in drawn.items()
        )
        hours = sorted({line.hour or 0 for line in own})
        data = score_lines(drawn, label="hour [UTC]", unit=unit, title=title, ticks=hours)
        pictures.append(Picture(data, f"RMSE of {title} by hour of the day: {told}."))
    return Section("By hour of the day", tuple(pictures[:_FIGURES]), text="RMSE at each analysis hour.")


def _regions(lines: Sequence[Line]) -> Section:
    columns = (
        "region",
        "variable",
        "against",
        "side",
        "values",
        "RMSE",
        "95 % interval",
        "bias",
        "CRPS",
        "spread/skill",
    )
    rows = []
    for line in sorted(lines, key=lambda line: (line.region != ALL, line.region)):
        if line.target == "used":
            continue
        s, side = line.scores, line.side + (f" {line.lead:+g} h" if line.lead else "")
        numbers = (_words(s["rmse"]), _interval(s["rmse"]), *(_words(s[n]) for n in ("bias", "crps", "spread_skill")))
        name = f"{line.variable} [{line.unit}]"
        rows.append((line.region, name, TARGETS[line.target], side, str(line.n), *numbers))
    tables = (Table("Scores by region; `all` is the whole domain.", columns, tuple(rows), 4),) if rows else ()
    return Section("By region", (), tables)


def _stations(lines: Sequence[Line], grid: Grid | None) -> Section:
    pictures, rows = [], []
    for (target, variable, unit), own in _grouped(_shown(lines)):
        there = [line for line in own if line.side == "analysis" and line.scores["bias"].value is not None]
        if not there or target == "truth":
            continue
        places = np.array([[line.latitude or 0.0, line.longitude or 0.0] for line in there])
        title = f"{variable} against {TARGETS[target]}"
        for name, scale in (("bias", Scale.about_zero), ("rmse", Scale.from_zero)):
            values = np.array([line.scores[name].value or 0.0 for line in there])
            if grid is not None and not grid.plane:
                words = {"bias": "mean error", "rmse": "RMSE"}[name]
                drawn = station_map(grid, places, values, title=f"{words}, {variable}", unit=unit, scale=scale(values))
                span = f"{values.min():.4g} to {values.max():.4g} {unit}"
                alt = f"Map of the {words} of the analysis of {title} at {len(there)} stations: {span}."
                pictures.append(Picture(drawn, alt))
        worst = sorted(there, key=lambda line: -(line.scores["rmse"].value or 0.0))[:_WORST]
        for line in worst:
            place = f"{line.latitude:.2f}, {line.longitude:.2f}"
            numbers = tuple(_words(line.scores[n]) for n in ("rmse", "bias", "crps"))
            rows.append((str(line.station), f"{variable} [{unit}]", place, str(line.n), *numbers))
    columns = ("station", "variable", "latitude, longitude", "values", "RMSE", "bias", "CRPS")
    caption = f"Stations with the largest RMSE of the analysis, up to {_WORST} of each variable."
    return Section("By station", tuple(pictures[:_FIGURES]), (Table(caption, columns, tuple(rows), 3),) if rows else ())


def _events(events: Sequence[EventScores]) -> Section:
    pictures = []
    furthest = max((e.lead for e in events), default=0.0)
    told = [
        e
        for e in events
        if e.target != "used" and e.lead in (0.0, furthest) and e.frequency is not None and 0 < e.frequency < 1
    ]
    for name in dict.fromkeys((e.target, e.variable, e.unit, e.threshold) for e in told):
        chosen = [e for e in told if (e.target, e.variable, e.unit, e.threshold) == name]
        curves = {
            e.side + (f" {e.lead:+g} h" if e.lead else ""): tuple(
                _array(c) for c in (e.probability, e.observed, e.share, e.false_alarm, e.hit)
            )
            for e in chosen
        }
        title = f"{name[1]} >= {name[3]:g} {name[2]}, against {TARGETS[name[0]]}"
        words = "; ".join(
            f"{side}: Brier {_words(e.scores['brier'])}, area below the ROC curve {_words(e.scores['auc'])}"
            for side, e in zip(curves, chosen, strict=True)
        )
        drawn = event_diagram(curves, frequency=chosen[0].frequency or 0.0, title=title)  # type: ignore[arg-type]
        pictures.append(Picture(drawn, f"Reliability diagram and ROC curve of {title}. {words}."))
    names = ("brier", "brier_skill", "auc", "pod", "far", "csi", "ets", "hss", "frequency_bias")
    columns = (
        "event",
        "against",
        "side",
        "values",
        "happened",
        "Brier",
        "Brier skill",
        "AUC",
        "POD",
        "FAR",
        "CSI",
        "ETS",
        "HSS",
        "frequency bias",
    )
    rows = tuple(
        (
            f"{e.variable} >= {e.threshold:g} {e.unit}",
            TARGETS[e.target],
            e.side + (f" {e.lead:+g} h" if e.lead else ""),
            str(e.n),
            f"{100 * (e.frequency or 0.0):.2g} %",
            *(_words(e.scores[n]) for n in names),
        )
        for e in told
    )
    caption = (
        "Events. Brier scores are fair; as a yes-or-no forecast, yes is where half of the members or more have it."
    )
    text = (
        "Reliability: on the diagonal a probability happens as often as it says. ROC: the further above the diagonal, "
        "the better events are told apart. The dashed line is how often the event happened."
    )
    return Section("Events", tuple(pictures[:_FIGURES]), (Table(caption, columns, rows, 3),) if rows else (), text)


def _fractions(summary: Summary) -> Section:
    columns = ("event", "against", "side", "neighbourhood", "FSS", "95 % interval")
    furthest = max((f.lead for f in summary.fractions), default=0.0)
    rows = tuple(
        (
            f"{f.variable} >= {f.threshold:g} {f.unit}",
            TARGETS[f.target],
            f.side + (f" {f.lead:+g} h" if f.lead else ""),
            f"{f.width} x {f.width}",
            _words(f.fss),
            _interval(f.fss),
        )
        for f in summary.fractions
        if f.fss.value is not None and f.lead in (0.0, furthest)
    )
    caption = "Fractions skill score: share of points with the event in neighbourhoods of grid points."
    return Section("Fractions skill score", (), (Table(caption, columns, rows, 3),) if rows else ())


def _spectra(spectra: Sequence[Spectrum]) -> Section:
    pictures = []
    for variable, unit in dict.fromkeys((s.variable, s.unit) for s in spectra):
        own = [s for s in spectra if s.variable == variable]
        furthest = max(s.lead for s in own)
        shown = {s.side + (f" {s.lead:+g} h" if s.lead else ""): s for s in own if s.lead in (0.0, furthest)}
        last = shown.get("analysis") or next(iter(shown.values()))
        powers = {"truth": _array(last.truth)} | {f"members, {side}": _array(s.members) for side, s in shown.items()}
        errors = {f"error, {last.side}": _array(last.error), f"spread, {last.side}": _array(last.spread)}
        drawn = spectrum_diagram(
            _array(last.wavelength), powers | errors, unit=unit, title=f"power spectrum of {variable}"
        )
        small = np.sum(last.members[len(last.members) // 2 :]) / max(np.sum(last.truth[len(last.truth) // 2 :]), 1e-300)
        told = (
            f"in the smaller half of the scales the members of the {last.side} have {small:.2f} times the truth's power"
        )
        alt = f"Power spectrum of {variable}: {told}."
        pictures.append(Picture(drawn, alt))
    text = (
        "Members should have the power of the truth at every scale (less is too smooth), the spread that of the error."
    )
    return Section("Power spectra", tuple(pictures[:_FIGURES]), text=text)


def _innovations(summary: Summary) -> Section:
    columns = (
        "source", "variable", "values", "O-B", "RMS O-B", "O-A", "error assumed", "error found", "background spread",
        "background error found", "analysis spread", "analysis error found", "chi-square", "signal", "per value",
    )  # fmt: skip
    names = (
        "o_minus_b", "rms_o_minus_b", "o_minus_a", "error_assumed", "error_desroziers", "background_spread",
        "background_desroziers", "analysis_spread", "analysis_desroziers", "chi_square", "degrees_of_freedom",
        "signal_per_observation",
    )  # fmt: skip
    rows = tuple(
        (i.source, f"{i.variable} [{i.unit}]", str(i.n), *(_words(i.scores[n]) for n in names))
        for i in summary.innovations
    )
    caption = (
        "Departures of the observations that were used. `Found` are errors after Desroziers et al. (2005); chi-square "
        "is 1 where innovations are as large as expected; signal is how many degrees of freedom the observations "
        "determined."
    )
    return Section("Innovations", (), (Table(caption, columns, rows, 2),) if rows else ())


def _balance(summary: Summary) -> Section:
    columns = ("balance", "of", "times", "imbalance", "95 % interval")
    rows = tuple(
        (b.kind, b.side, str(b.cycles), _words(b.score), _interval(b.score))
        for b in summary.balance
        if b.score.value is not None
    )
    caption = (
        "Share of the wind that is not geostrophic, of the thickness that is not hydrostatic (roots of squares, 0 is "
        "balance), and the length of a forecast's first step over that of its second (1 is no shock)."
    )
    return Section("Balance", (), (Table(caption, columns, rows, 2),) if rows else ())


def _interval(score: Score) -> str:
    return "–" if score.low is None else f"{score.low:.3g} to {score.high:.3g}"


def _shown(lines: Sequence[Line], *, forecasts: bool = False) -> list[Line]:
    return [line for line in lines if line.target != "used" and (forecasts or not line.lead)]


def _grouped(lines: Sequence[Line]) -> Iterable[tuple[tuple[str, str, str], list[Line]]]:
    for key in dict.fromkeys((line.target, line.variable, line.unit) for line in lines):
        yield key, [line for line in lines if (line.target, line.variable, line.unit) == key]


def _band(x: Sequence[float], lines: Sequence[Line], score: str) -> Band:
    own = [line.scores[score] for line in lines]
    return Band(np.array(x), *(_array([getattr(s, part) for s in own]) for part in ("value", "low", "high")))


def _array(values: Iterable[float | None]) -> Array:
    return np.array([np.nan if v is None else v for v in values], dtype=float)


def _words(score: Score) -> str:
    return "–" if score.value is None else f"{score.value:.3g}"
