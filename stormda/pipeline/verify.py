"""Stage `verify`: compare analyses and their backgrounds with gridded truth and with withheld observations.

One missing or broken file costs only its own part: it is named in the result and in the report, the rest is scored.
"""

__all__ = ["VerifyResult", "cycle_report", "verify"]

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from stormda import config as configuration
from stormda.config import Config, GriddedSource
from stormda.errors import InputError, InputMissing
from stormda.grid import Grid
from stormda.pipeline import build
from stormda.pipeline.layout import analysis_folder, parse_folder
from stormda.sources.files import expand
from stormda.sources.gridded import read_gridded
from stormda.state import State
from stormda.store.analysis import Analysis, read_analysis
from stormda.store.archive import Archive
from stormda.store.feedback import Feedback, read_feedback
from stormda.store.provenance import provenance
from stormda.store.publish import write_json, write_text
from stormda.time import format_time
from stormda.types import Array, Progress, silent
from stormda.variables import Channel
from stormda.verification.compare import Part, Row, against_observations, against_truth, by_cycle, summarise
from stormda.verification.report import Section, Snapshot, cycle_page, map_sections, number, verification_page

log = logging.getLogger(__name__)

T = TypeVar("T")

_Fields = dict[str, tuple[Grid, Array]]
"""By channel name: a grid and a field [H, W] on it."""


@dataclass(frozen=True)
class VerifyResult:
    """The scores of a method.

    Args:
        method: of the analyses.
        cycles: scored, in order.
        splits: seeds of the choice of withheld stations.
        members: of the largest ensemble.
        rows: a row a target and variable.
        missing: what was not there or not readable, one sentence each.
        files: scores.json, report.html and the report of the newest analysis.
    """

    method: str
    cycles: tuple[str, ...]
    splits: tuple[int, ...]
    members: int
    rows: tuple[Row, ...]
    missing: tuple[str, ...]
    files: tuple[str, ...]

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people: title, columns, rows; background and analysis beside each other as `background > analysis`."""
        columns = ["target", "variable", "n", "RMSE", "bias", "CRPS", "spread/skill", "improvement"]
        return f"{self.lead()} Each score: background > analysis.", columns, [_cells(row) for row in self.rows]

    def lead(self) -> str:
        """What was scored, in one sentence."""
        when = self.cycles[0] if len(self.cycles) == 1 else f"{self.cycles[0]} to {self.cycles[-1]}"
        return (
            f"Method {self.method}, {self.members} members, {len(self.cycles)} {_plural('cycle', len(self.cycles))} "
            f"({when}), {len(self.splits)} {_plural('split', len(self.splits))} of the stations."
        )


def verify(
    config: Config, cycles: Sequence[np.datetime64] | None = None, *, progress: Progress = silent
) -> VerifyResult:
    """Score every analysis of the configured method that is there, or those of some cycles.

    Writes `verification/<method>/scores.json` and `report.html`, and `report.html` beside the newest analysis.

    Raises:
        InputMissing: no analysis at all.
        InputError: nothing of what is there can be read, or nothing can be compared.
        OutputError: the scores cannot be written.
    """
    method = config.assimilate.method
    found, missing = _find(config, method, cycles)
    truth = _truth(config, sorted({job.cycle for job in found}), missing) if "truth" in config.verify.against else {}
    parts: list[Part] = []
    snapshot: Snapshot | None = None
    for done, job in enumerate(found):
        progress(f"verify {format_time(job.cycle)}", done, len(found))
        own, seen = _score(config, job, truth.get(job.cycle), missing)
        parts += own
        if seen is not None and (snapshot is None or seen.cycle > snapshot.cycle):
            snapshot = seen
    progress("verify: scores and report", len(found), len(found))
    if not parts:
        raise InputError(
            f"nothing could be compared: {'; '.join(missing) or 'neither a truth nor withheld observations'}",
            key="verify",
            hint="set verify.truth, or quality.withhold.fraction before stormda assimilate",
        )
    result = VerifyResult(
        method=method,
        cycles=tuple(format_time(c) for c in sorted({p.cycle for p in parts})),
        splits=tuple(sorted({p.split for p in parts})),
        members=max(p.members for p in parts),
        rows=summarise(parts),
        missing=tuple(missing),
        files=(),
    )
    return _publish(config, result, parts, snapshot)


@dataclass(frozen=True)
class _Job:
    """An analysis that is to be scored."""

    cycle: np.datetime64
    split: int
    folder: Path


def _find(config: Config, method: str, cycles: Sequence[np.datetime64] | None) -> tuple[list[_Job], list[str]]:
    """The analyses that are there, and a sentence for each that should be."""
    seeds = config.quality.withhold.seeds
    root = config.run / "analyses" / method
    there = {}
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        parsed = parse_folder(folder.name)
        if parsed and (parsed[1] is None) == (len(seeds) == 1) and parsed[1] in (None, *seeds):
            there[parsed[0], seeds[0] if parsed[1] is None else parsed[1]] = folder
    wanted = sorted({cycle for cycle, _ in there} if cycles is None else set(cycles))
    jobs = [_Job(c, s, there[c, s]) for c in wanted for s in seeds if (c, s) in there]
    missing = [
        f"no analysis {analysis_folder(config, method, c, s).name}"
        for c in wanted
        for s in seeds
        if (c, s) not in there
    ]
    if not jobs:
        what = f"there is no analysis of method {method}" + ("" if cycles is None else " at these cycles")
        raise InputMissing(what, file=root, hint="stormda assimilate --cycle TIME, or another --method")
    for line in missing:
        log.warning(line)
    return jobs, missing


def _truth(config: Config, cycles: list[np.datetime64], missing: list[str]) -> dict[np.datetime64, _Fields]:
    """Fields of the truth by cycle, from `verify.truth` or else from the archive; cycles it lacks are left out."""
    source = config.verify.truth
    if source is not None:
        found = _optional(lambda: _read_truth(config, source, cycles), missing)
    else:
        found = _optional(lambda: _archived(build.archive(config), cycles), missing)
    truth = found or {}
    if lacking := [c for c in cycles if c not in truth]:
        shown = ", ".join(format_time(c) for c in lacking[:3]) + (", ..." if len(lacking) > 3 else "")
        missing.append(f"no gridded truth at {len(lacking)} of {len(cycles)} cycles ({shown})")
    return truth


def _read_truth(config: Config, source: GriddedSource, cycles: list[np.datetime64]) -> dict[np.datetime64, _Fields]:
    truth: dict[np.datetime64, _Fields] = {}
    key = "verify.truth"
    files = expand(source.files, config.path, key=f"{key}.files", folders=source.kind == "zarr")
    for state in read_gridded(source, config.channels, files, times=np.asarray(cycles), regular=True, key=key):
        for index in np.flatnonzero(np.isin(state.times, np.asarray(cycles))):
            truth.setdefault(state.times[index], {}).update(_fields(state, int(index)))
    return truth


def _fields(state: State, index: int) -> _Fields:
    return {c.name: (state.grid, state.values[index, i]) for i, c in enumerate(state.channels)}


def _archived(archive: Archive, cycles: list[np.datetime64]) -> dict[np.datetime64, _Fields]:
    index = archive.find(np.asarray(cycles))
    there = [(cycle, int(i)) for cycle, i in zip(cycles, index, strict=True) if i >= 0]
    return {cycle: _fields(archive.read(np.asarray([i])), 0) for cycle, i in there}


def _optional(read: Callable[[], T], missing: list[str]) -> T | None:
    """What `read` gives, or None and a sentence about what is wrong."""
    try:
        return read()
    except (InputError, InputMissing) as error:
        log.warning(str(error))
        missing.append(str(error))
        return None


def _score(config: Config, job: _Job, truth: _Fields | None, missing: list[str]) -> tuple[list[Part], Snapshot | None]:
    """The parts of one analysis, and what its maps show."""
    analysis = _optional(lambda: read_analysis(job.folder / "analysis.nc"), missing)
    background = _optional(lambda: read_analysis(job.folder / "background.nc"), missing)
    feedback = _optional(lambda: read_feedback(job.folder / "feedback.nc"), missing)
    sides = {"background": background, "analysis": analysis}
    there = {side: ensemble.state for side, ensemble in sides.items() if ensemble is not None}
    parts: list[Part] = []
    fields: dict[str, Array] = {}
    for side, state in there.items():
        fields = _optional(partial(_on_grid, truth or {}, state.grid), missing) or {}
        parts += against_truth(side, state.values, state.channels, state.grid, fields, job.cycle, job.split)
    if feedback is not None:
        channels = tuple(map(Channel.parse, config.channels))
        members = {"background": feedback.background, "analysis": feedback.analysis}
        for target in config.verify.against:
            for side, values in members.items() if target != "truth" else ():
                parts += against_observations(
                    target, side, values, feedback.observations, channels, job.cycle, job.split
                )
    return parts, _snapshot(job, analysis, background, feedback, fields)


def _on_grid(truth: _Fields, grid: Grid) -> dict[str, Array]:
    """The truth at the points of the analysis; raises InputError where it lacks some."""
    fields = {}
    for name, (own, field) in truth.items():
        rows, columns = grid.within(own)
        fields[name] = np.asarray(field[np.ix_(rows, columns)])
    return fields


def _snapshot(
    job: _Job,
    analysis: Analysis | None,
    background: Analysis | None,
    feedback: Feedback | None,
    fields: Mapping[str, Array],
) -> Snapshot | None:
    if analysis is None:
        return None
    return Snapshot(
        cycle=job.cycle,
        split=job.split,
        channels=analysis.state.channels,
        grid=analysis.state.grid,
        analysis=analysis.mean,
        spread=analysis.spread,
        background=None if background is None else background.mean,
        truth=fields,
        observations=None if feedback is None else feedback.observations,
    )


def _publish(config: Config, result: VerifyResult, parts: list[Part], snapshot: Snapshot | None) -> VerifyResult:
    text = configuration.dump(config)
    facts = provenance(text, stage="verify", method=result.method)
    folder = config.run / "verification" / result.method
    cycles = by_cycle(parts)
    files = [folder / "scores.json"]
    if config.verify.report:
        sections = map_sections(snapshot) if snapshot else ()
        page = verification_page(
            method=result.method,
            lead=result.lead(),
            rows=result.rows,
            by_cycle=cycles,
            snapshot=snapshot,
            sections=sections,
            missing=result.missing,
            facts=facts,
            configuration=text,
        )
        write_text(folder / "report.html", page)
        files.append(folder / "report.html")
        if snapshot is not None:
            own = [p for p in parts if (p.cycle, p.split) == (snapshot.cycle, snapshot.split)]
            files.append(cycle_report(config, result.method, snapshot, own, facts, sections))
    done = replace(result, files=tuple(str(f) for f in files))
    write_json(folder / "scores.json", {"scores": done, "by_cycle": cycles, "provenance": facts})
    return done


def cycle_report(
    config: Config,
    method: str,
    snapshot: Snapshot,
    parts: Sequence[Part],
    facts: Mapping[str, Any],
    sections: Sequence[Section] | None = None,
) -> Path:
    """Write `report.html` beside an analysis: maps, what became of the observations, its scores; returns the path."""
    path = analysis_folder(config, method, snapshot.cycle, snapshot.split) / "report.html"
    page = cycle_page(
        method=method,
        members=max((p.members for p in parts), default=config.assimilate.ensemble),
        rows=summarise(parts),
        snapshot=snapshot,
        sections=map_sections(snapshot) if sections is None else sections,
        facts=facts,
        configuration=configuration.dump(config),
    )
    write_text(path, page)
    return path


def _cells(row: Row) -> list[str]:
    def both(metric: str) -> str:
        sides = (row.background, row.analysis)
        return " > ".join("-" if s is None else number(s.scores[metric].value) for s in sides)

    better = row.improvement
    improvement = "-" if better is None or better.value is None else f"{better.value:.1f} %"
    name = f"{row.variable} [{row.unit}]"
    scores = [both("rmse"), both("bias"), both("crps"), both("spread_skill"), improvement]
    return [row.target, name, str(row.n), *scores]


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
