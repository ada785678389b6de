"""Reports for people: one self-contained page of HTML with scores, rank histograms, maps and provenance.

Pictures are embedded, so a page can be mailed or printed; each has a text that says what it shows. The words and the
look are in `templates/report/`; here are only the numbers and pictures that go into them.
"""

__all__ = ["Picture", "Section", "Snapshot", "cycle_page", "map_sections", "render", "verification_page"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np

from stormda import __version__
from stormda.grid import Grid
from stormda.observations import QC, Observations
from stormda.time import format_time, parse_time
from stormda.types import Array
from stormda.variables import Channel
from stormda.verification.changes import Change
from stormda.verification.compare import labels_of
from stormda.verification.coverage import coverage_map, coverage_section
from stormda.verification.departures import departures_section
from stormda.verification.lines import TARGETS, Row, Summary
from stormda.verification.maps import Scale, field_map
from stormda.verification.picture import Picture, Section, Table
from stormda.verification.plots import rank_histogram, time_series
from stormda.verification.scorecards import cards_section
from stormda.verification.sections import sections_of
from stormda.verification.tally import Tally

_FIGURES = 12  # rank histograms on a page, and series
_CHANNELS = 6  # with maps on a page; a page with more would be too heavy to open
_TARGETS = {
    "withheld": "Against withheld observations (kept out of the analysis)",
    "used": "Against the observations that were used (a fit, not skill)",
    "truth": "Against the gridded truth (weighted by area)",
    "radar": "Against radar fields (means of grid boxes, weighted by area)",
}
_INTERVALS = {
    "cycles": "blocks of consecutive cycles",
    "stations": "stations, for there are too few cycles",
}


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One analysis, as maps show it.

    Args:
        cycle, split: which analysis.
        channels, grid: of the fields, C x H x W, physical units.
        analysis, spread: ensemble mean and standard deviation [C, H, W].
        background: ensemble mean [C, H, W]; None where the file is missing.
        truth: by channel name [H, W]; empty where there is none.
        observations: with their codes and withheld flags; None where the file is missing.
    """

    cycle: np.datetime64
    split: int
    channels: tuple[Channel, ...]
    grid: Grid
    analysis: Array
    spread: Array
    background: Array | None
    truth: Mapping[str, Array]
    observations: Observations | None


def verification_page(
    *,
    method: str,
    lead: str,
    rows: Sequence[Row],
    more: Summary,
    by_cycle: Sequence[Mapping[str, Any]],
    snapshot: Snapshot | None,
    sections: Sequence[Section],
    missing: Sequence[str],
    facts: Mapping[str, Any],
    configuration: str,
    tally: Tally,
    cards: Mapping[str, Sequence[Change]],
) -> str:
    """The page of a verification.

    Args:
        method, lead: what was scored.
        rows: of the overview.
        more: every other score.
        by_cycle: the scores of every cycle.
        snapshot, sections: one analysis and its maps (`map_sections`).
        missing: what was not there.
        facts, configuration: how it was made.
        tally: of the period, whose departures are drawn.
        cards: changes against other methods (`scorecards.cards_of`).
    """
    departures = departures_section(tally)
    return render(
        "verification.html",
        title=f"Verification of method {method}",
        lead=lead,
        rows=rows,
        sentences=_sentences(rows),
        how=_how(rows),
        ranks=_rank_pictures(rows),
        most=_FIGURES,
        series=_series_pictures(by_cycle),
        cards=cards_section(method, cards),
        departures=departures if departures.tables else None,
        more=sections_of(more, None if snapshot is None else snapshot.grid),
        sections=sections,
        shown=_called(snapshot) if snapshot else "",
        missing=missing,
        facts=facts,
        configuration=configuration,
    )


def cycle_page(
    *,
    method: str,
    members: int,
    rows: Sequence[Row],
    snapshot: Snapshot,
    sections: Sequence[Section],
    facts: Mapping[str, Any],
    configuration: str,
    recent: Tally | None = None,
    timing: Sequence[tuple[str, float]] = (),
    notes: Sequence[str] = (),
) -> str:
    """The page of one analysis.

    Args:
        method, members: of the analysis.
        rows: its scores (`summary.overview`).
        snapshot: its fields and observations.
        sections: its maps (`map_sections`).
        facts, configuration: how it was made.
        recent: departures of this analysis and of those before it.
        timing: what took how long, s.
        notes: what was not there, or is not as it should be.
    """
    seen, when = snapshot.observations, format_time(snapshot.cycle)
    return render(
        "cycle.html",
        title=f"Analysis of {when}",
        lead=f"Method {method}, {members} members, {snapshot.grid}, {', '.join(c.name for c in snapshot.channels)}.",
        rows=rows,
        how=_how(rows),
        sections=sections,
        coverage=None if seen is None else coverage_section(snapshot.grid, seen, when),
        departures=None if not recent else departures_section(recent),
        ranks=_rank_pictures(rows),
        most=_FIGURES,
        timing=_timing(timing),
        missing=notes,
        facts=facts,
        configuration=configuration,
    )


def map_sections(snapshot: Snapshot) -> tuple[Section, ...]:
    """The maps of the first channels: truth, background, analysis, increment, spread, errors, observations."""
    chosen = snapshot.channels[:_CHANNELS]
    sections = [
        Section(f"{c.name}: {c.info.long_name} [{c.info.unit}]", tuple(_channel_maps(snapshot, i, c)))
        for i, c in enumerate(chosen)
    ]
    if snapshot.observations is not None:
        sections += _also_observed(snapshot, snapshot.observations)
    if len(chosen) < len(snapshot.channels):
        left = ", ".join(c.name for c in snapshot.channels[_CHANNELS:])
        sections.append(Section(f"Without maps, to keep this page light: {left}", ()))
    return tuple(sections)


def _channel_maps(snapshot: Snapshot, index: int, channel: Channel) -> list[Picture]:
    analysis, spread = snapshot.analysis[index], snapshot.spread[index]
    background = None if snapshot.background is None else snapshot.background[index]
    truth = snapshot.truth.get(channel.name)
    shared = Scale.of(*(f for f in (truth, background, analysis) if f is not None))
    fields: list[tuple[str, Array, Scale]] = []
    if truth is not None:
        fields.append(("truth", truth, shared))
    if background is not None:
        fields.append(("background mean", background, shared))
    fields.append(("analysis mean", analysis, shared))
    if background is not None:
        increment = analysis - background
        fields.append(("increment: analysis - background", increment, Scale.about_zero(increment)))
    fields.append(("analysis spread", spread, Scale.from_zero(spread)))
    if truth is not None:
        errors = {"analysis error": analysis - truth}
        if background is not None:
            errors = {"background error": background - truth, **errors}
        scale = Scale.about_zero(*errors.values())
        fields += [(f"{name}: mean - truth", error, scale) for name, error in errors.items()]
    pictures = [_field(snapshot, channel, *field) for field in fields]
    if snapshot.observations is not None:
        own = snapshot.observations.where(labels_of(snapshot.observations, snapshot.channels) == channel.name)
        if len(own):
            pictures.append(_places(snapshot, channel.info.long_name, own))
    return pictures


def _field(snapshot: Snapshot, channel: Channel, title: str, field_HW: Array, scale: Scale) -> Picture:
    unit, mean = channel.info.unit, float(np.average(field_HW, weights=snapshot.grid.weights))
    low, high, middle = (number(float(v)) for v in (field_HW.min(), field_HW.max(), mean))
    alt = (
        f"Map of the {title} of {channel.info.long_name}, {format_time(snapshot.cycle)}: "
        f"from {low} to {high} {unit}, on average {middle} {unit}."
    )
    drawn = field_map(snapshot.grid, field_HW, title=title, unit=unit, scale=scale)
    return Picture(drawn, alt, f"{low} to {high}, mean {middle} {unit}")


def _also_observed(snapshot: Snapshot, observations: Observations) -> list[Section]:
    """Where variables were observed that are no channel but that some operator maps to one."""
    labels = labels_of(observations, snapshot.channels)
    mapped = labels[observations["qc"] == QC.USED]
    pictures = {
        label: _places(snapshot, f"variable {label}", observations.where(labels == label))
        for label in sorted(set(mapped) - {c.name for c in snapshot.channels})
    }
    return [Section(f"Also observed: {', '.join(pictures)}", tuple(pictures.values()))] if pictures else []


def _places(snapshot: Snapshot, what: str, observations: Observations) -> Picture:
    return coverage_map(snapshot.grid, observations, what, format_time(snapshot.cycle), "observations")


def _rank_pictures(rows: Sequence[Row]) -> list[Picture]:
    pictures: list[Picture] = []
    for row in rows:
        sides = {name: s for name, s in (("background", row.background), ("analysis", row.analysis)) if s is not None}
        if (
            len(pictures) == _FIGURES
            or row.target == "used"
            or not all(np.isfinite(s.ranks).all() for s in sides.values())
        ):
            continue
        counts = {name: np.array(s.ranks) for name, s in sides.items()}
        limits = {name: s.flat_limit for name, s in sides.items() if s.flat_limit is not None}
        told = "; ".join(
            f"{name}: flatness {s.flatness:.2f}, lowest rank {s.ranks[0] * len(s.ranks):.2f} and highest "
            f"{s.ranks[-1] * len(s.ranks):.2f} times as often as in a flat histogram"
            for name, s in sides.items()
        )
        title = f"{row.variable} against {row.target}"
        drawn = rank_histogram(counts, limits=limits, title=title)
        pictures.append(Picture(drawn, f"Rank histogram of {title}. {told}."))
    return pictures


def _series_pictures(by_cycle: Sequence[Mapping[str, Any]]) -> list[Picture]:
    """RMSE and spread by cycle, averaged over splits as squares; only from three cycles on."""
    pictures: list[Picture] = []
    keys = dict.fromkeys((r["target"], r["variable"], r["unit"]) for r in by_cycle)
    for target, variable, unit in sorted(keys, key=lambda key: key[0] == "truth"):
        own = [r for r in by_cycle if (r["target"], r["variable"]) == (target, variable)]
        cycles = sorted({r["cycle"] for r in own})
        if len(pictures) == _FIGURES or len(cycles) < 3 or target == "used":
            continue
        lines = {}
        for side in ("background", "analysis"):
            squares = [[(r["rmse"], r["spread"]) for r in own if r["cycle"] == c and r["side"] == side] for c in cycles]
            if all(squares):
                error, spread = np.sqrt(np.array([np.mean(np.square(s), axis=0) for s in squares])).T
                lines[side] = (error, spread)
        if lines:
            title = f"{variable} against {target}"
            told = "; ".join(f"{s}: RMSE from {e.min():.4g} to {e.max():.4g} {unit}" for s, (e, _) in lines.items())
            pictures.append(
                Picture(
                    time_series(lines, unit=unit, title=title, times=np.array([parse_time(c) for c in cycles])),
                    f"RMSE and spread of {title}, {cycles[0]} to {cycles[-1]}. {told}.",
                )
            )
    return pictures


def _sentences(rows: Sequence[Row]) -> list[str]:
    """What the table says, in words."""
    lines = []
    for row in rows:
        if row.target == "used" or row.improvement is None or row.improvement.value is None:
            continue
        assert row.background is not None and row.analysis is not None
        change = row.improvement.value
        before, after = (number(side.scores["rmse"].value) for side in (row.background, row.analysis))
        verb = "reduces" if change >= 0 else "increases"
        lines.append(
            f"{row.variable}: against {TARGETS[row.target]} the analysis {verb} the RMSE of the background by "
            f"{abs(change):.0f} %, from {before} to {after} {row.unit}."
        )
    return lines


def _how(rows: Sequence[Row]) -> str:
    kinds = dict.fromkeys(r.interval for r in rows if r.interval != "none")
    text = "Squares and scores are averaged over all values, cycles and splits before roots are taken. "
    if kinds:
        drawn = " or ".join(_INTERVALS[k] for k in kinds)
        text += f"Intervals hold the middle 95 % of a bootstrap over {drawn}. "
    if any(r.interval == "none" for r in rows):
        text += "Where there are too few cycles to resample, no interval is given. "
    return text + "Spread/skill counts the observation error where observations are the reference."


def _timing(timing: Sequence[tuple[str, float]]) -> Table | None:
    rows = tuple((what, f"{seconds:.2f}") for what, seconds in timing)
    return Table("What took how long.", ("step", "seconds"), rows) if rows else None


def _called(snapshot: Snapshot) -> str:
    return f"{format_time(snapshot.cycle)}, withheld stations of split {snapshot.split}"


def _lines(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Facts as words and texts; of nested facts every leaf."""
    lines: list[tuple[str, str]] = []
    for name, value in facts.items():
        if isinstance(value, Mapping):
            lines += [(f"{name}: {inner}", text) for inner, text in _lines(value)]
        elif isinstance(value, (list, tuple)):
            lines.append((name.replace("_", " "), ", ".join(map(str, value))))
        elif value is not None:
            lines.append((name.replace("_", " "), str(value)))
    return lines


def number(value: float | None, digits: int = 4) -> str:
    """Some significant digits, without an exponent for large numbers; `-` for None."""
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:.{digits}g}"


def render(template: str, *, facts: Mapping[str, Any], **context: Any) -> str:
    """A page of `templates/report/`; every page needs title, lead, missing, facts and configuration (`base.html`).

    Pages are self-contained HTML with autoescape; a name that the template uses and the context lacks is an error.
    """
    folder = files("stormda.templates").joinpath("report")
    loader = jinja2.FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8"))
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = number
    environment.filters["rounded"] = lambda value: number(value, digits=3)
    page = environment.get_template(template)
    return page.render(version=__version__, targets=_TARGETS, facts=_lines(facts), **context)
