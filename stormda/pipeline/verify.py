"""Stage `verify`: compare analyses, backgrounds and forecasts with gridded truth and with observations.

Each analysis time is scored once, into its statistics file; scores of a period are those files added up. So a month is
the sum of its days, whichever processes scored them, and a cycle that is scored by itself overwrites nothing.

One missing or broken file costs only its own part: it is named in the result and in the report, the rest is scored.
"""

__all__ = ["VerifyResult", "verify"]

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stormda import config as configuration
from stormda.config import Config
from stormda.errors import InputError, InputMissing
from stormda.pipeline.cycle_report import cycle_report, snapshot_of
from stormda.pipeline.layout import analysis_folder, verification_folder
from stormda.pipeline.verify_radar import NO_RADAR, RadarFields
from stormda.pipeline.verify_score import NO_TRUTH, Job, analysed, find_jobs, fingerprint, known, score, statistics_file
from stormda.pipeline.verify_truth import Reference, optional, read_reference, scoring_of, tell
from stormda.store.provenance import provenance
from stormda.store.publish import write_json, write_text
from stormda.time import format_time, hours, stamp
from stormda.types import Progress, silent
from stormda.verification.compare import NO_LEAD, Part, Scoring
from stormda.verification.lines import Line, Row, Summary
from stormda.verification.report import Snapshot, map_sections, number, verification_page
from stormda.verification.scorecards import cards_of
from stormda.verification.statistics import Record, read_record, richer, write_record
from stormda.verification.summary import by_cycle, overview, summarise
from stormda.verification.tally import Tally, alone

log = logging.getLogger(__name__)

_LATE = (NO_TRUTH, NO_RADAR)


@dataclass(frozen=True)
class VerifyResult:
    """The scores of a method.

    Args:
        method: of the analyses.
        cycles: analysis times that are scored, in order.
        splits: seeds of the choice of withheld stations.
        members: of the largest ensemble.
        step: hours from one analysis time to the next.
        rows: background beside analysis, a row a target and variable.
        more: by lead, region, hour and station; events, innovations, spectra.
        missing: what was not there or not readable, one sentence each.
        files: scores.json, report.html and the report of the newest analysis.
    """

    method: str
    cycles: tuple[str, ...]
    splits: tuple[int, ...]
    members: int
    step: float
    rows: tuple[Row, ...]
    more: Summary
    missing: tuple[str, ...]
    files: tuple[str, ...]

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people: title, columns, rows; background and analysis beside each other as `background > analysis`."""
        columns = ["target", "variable", "n", "RMSE", "bias", "CRPS", "spread/skill", "improvement"]
        ahead = [_ahead(line, self.step) for line in self.more.by_lead if line.lead]
        return f"{self.lead()} {self.how()}", columns, [_cells(row) for row in self.rows] + ahead

    def lead(self) -> str:
        """What was scored, in one sentence."""
        when = self.cycles[0] if len(self.cycles) == 1 else f"{self.cycles[0]} to {self.cycles[-1]}"
        return (
            f"Method {self.method}, {self.members} members, {len(self.cycles)} {_plural('cycle', len(self.cycles))} "
            f"({when}), {len(self.splits)} {_plural('split', len(self.splits))} of the stations."
        )

    def how(self) -> str:
        """How to read the table."""
        return "Each score: background > analysis." if self.rows else "Scores of forecasts."


def verify(
    config: Config, cycles: Sequence[np.datetime64] | None = None, *, progress: Progress = silent
) -> VerifyResult:
    """Score every analysis and forecast of the configured method that is there, or those at some analysis times.

    Writes a statistics file for each analysis time, `scores.json` of all of them, and unless it is of a single time
    `report.html`; and `report.html` beside the newest analysis. Of all times they lie in `verification/<method>`, of
    some in a folder in it that is named by the first and the last.

    Raises:
        InputMissing: no analysis at all.
        InputError: nothing of what is there can be read, or nothing can be compared.
        ConfigError: an observation that a forecast is compared with has no operator that can be built.
        OutputError: the scores cannot be written.
    """
    method = config.assimilate.method
    jobs, missing = _find(config, method, cycles)
    tally, newest, reference = _tally(config, method, jobs, missing, progress)
    if not tally:
        raise InputError(
            f"nothing could be compared: {'; '.join(missing) or 'neither a truth nor withheld observations'}",
            key="verify",
            hint="set verify.truth, or quality.withhold.fraction before stormda assimilate",
        )
    for line in tally.unlike():
        tell(line, missing)
    progress("verify: scores and report", len(jobs), len(jobs))
    result = VerifyResult(
        method=method,
        cycles=tuple(map(format_time, tally.cycles())),
        splits=tuple(tally.splits()),
        members=max(map(tally.members, tally.keys())),
        step=hours(config.archive.step),
        rows=overview(tally),
        more=summarise(tally),
        missing=tuple(missing),
        files=(),
    )
    snapshot = None
    if config.verify.report and newest is not None:
        snapshot = _snapshot(config, newest[0], reference, missing)
    return _publish(config, result, tally, snapshot, newest[1].parts if newest else (), cycles)


def _find(config: Config, method: str, cycles: Sequence[np.datetime64] | None) -> tuple[list[Job], list[str]]:
    """What is there to be scored, and a sentence for each analysis that should be."""
    there = find_jobs(config, method)
    seeds = config.quality.withhold.seeds
    wanted = sorted({cycle for cycle, _ in there} if cycles is None else set(cycles))
    jobs = [there[c, s] for c in wanted for s in seeds if (c, s) in there]
    missing = [
        f"no analysis {analysis_folder(config, method, c, s).name}"
        for c in wanted
        for s in seeds
        if (c, s) not in there and (cycles is not None or any((c, other) in there for other in seeds))
    ]
    if not jobs:
        what = f"there is no analysis of method {method}" + ("" if cycles is None else " at these cycles")
        root = config.run / "analyses" / method
        raise InputMissing(what, file=root, hint="stormda assimilate --cycle TIME, or another --method")
    for line in missing:
        log.warning(line)
    return jobs, missing


def _tally(
    config: Config, method: str, jobs: Sequence[Job], missing: list[str], progress: Progress
) -> tuple[Tally, tuple[Job, Record] | None, Reference]:
    """The sums of all jobs: those of earlier runs as they are, others made and written; and the newest analysis."""
    marks = [fingerprint(config, job) for job in jobs]
    files = [statistics_file(config, method, job) for job in jobs]
    keep = [config.verify.reuse and known(file, mark, missing) for file, mark in zip(files, marks, strict=True)]
    todo = sorted({job.cycle for job, kept in zip(jobs, keep, strict=True) if not kept})
    reference, scoring = read_reference(config, todo, missing), scoring_of(config)
    radar = None if config.verify.radar is None else RadarFields(config, config.verify.radar, missing)
    tally, single, lacking = Tally(), list[Part](), dict[str, set[np.datetime64]]()
    newest: tuple[Job, Record] | None = None
    for done, (job, file, kept) in enumerate(zip(jobs, files, keep, strict=True)):
        progress(f"verify {format_time(job.cycle)}", done, len(jobs))
        if kept:
            record = optional(lambda file=file: read_record(file), missing)  # type: ignore[misc]
        else:
            record = score(config, job, reference, scoring, radar)
            record = _richest(file, record) if config.verify.reuse else record
            write_record(file, record)
        if record is None:
            continue
        parts = [part for part in record.parts if _wanted(config, scoring, part)]
        one_sided = alone(parts)
        apart = set(map(id, one_sided))
        tally.add(part for part in parts if id(part) not in apart)
        single += one_sided
        missing += [line for line in record.missing if not line.startswith(_LATE)]
        for what in (w for w in _LATE if job.analysed and any(line.startswith(w) for line in record.missing)):
            lacking.setdefault(what, set()).add(job.cycle)
        if job.analysed and (newest is None or job.cycle > newest[0].cycle):
            newest = job, record
    for line in tally.add_alone(single):
        tell(line, missing)
    for what, times in lacking.items():
        shown = ", ".join(map(format_time, sorted(times)[:3])) + (", ..." if len(times) > 3 else "")
        missing.append(f"{what} {len(times)} of {len({j.cycle for j in jobs if j.analysed})} cycles ({shown})")
        log.info(missing[-1])  # no warning: a truth comes days later, and some runs have none
    return tally, newest, reference


def _richest(path: Path, record: Record) -> Record:
    """What an earlier run found, where that is all of this and more: a file was damaged or removed since."""
    try:
        old = read_record(path) if path.exists() else None
    except InputError:
        return record
    if old is None or old.fingerprint.split(":")[0] != record.fingerprint.split(":")[0] or not richer(old, record):
        return record
    return replace(old, missing=record.missing, fingerprint=record.fingerprint)


def _wanted(config: Config, scoring: Scoring, part: Part) -> bool:
    """Statistics whose files are gone may hold more than is asked for now."""
    if part.target == "balance":
        return True
    leads = config.verify.leads
    return (not leads or part.lead <= NO_LEAD or part.lead in leads) and scoring.wants(part.variable)


def _snapshot(config: Config, job: Job, reference: Reference, missing: Sequence[str]) -> Snapshot | None:
    """What the maps of an analysis show; what is in `missing` has been told of."""
    told = list(missing)
    if job.cycle not in reference.truth:
        reference = read_reference(config, [job.cycle], told)
    return snapshot_of(job.folder, job.cycle, job.split, reference.truth.get(job.cycle, {}), told)


def _folder(config: Config, method: str, cycles: Sequence[np.datetime64] | None) -> Path:
    """Of all times that are there, of one, or of a period."""
    root = verification_folder(config, method)
    if cycles is None:
        return root
    first, last = stamp(min(cycles)), stamp(max(cycles))
    return root / (first if first == last else f"{first}--{last}")


def _publish(
    config: Config,
    result: VerifyResult,
    tally: Tally,
    snapshot: Snapshot | None,
    newest: Sequence[Part],
    cycles: Sequence[np.datetime64] | None,
) -> VerifyResult:
    text = configuration.dump(config)
    facts = provenance(text, stage="verify", method=result.method)
    folder, singles = _folder(config, result.method, cycles), by_cycle(tally)
    files = [folder / "scores.json"]
    sections = map_sections(snapshot) if snapshot else ()
    cards = cards_of(tally, _others(config, result.method, tally)) if config.verify.report else {}
    several = cycles is None or len(set(cycles)) > 1
    if config.verify.report and several:  # of one time there is the page of its analysis
        page = verification_page(
            method=result.method,
            lead=result.lead(),
            rows=result.rows,
            more=result.more,
            by_cycle=singles,
            snapshot=snapshot,
            sections=sections,
            missing=result.missing,
            facts=facts,
            configuration=text,
            tally=tally,
            cards=cards,
        )
        write_text(folder / "report.html", page)
        files.append(folder / "report.html")
    if snapshot is not None:
        files.append(cycle_report(config, snapshot, newest, sections=sections))
    done = replace(result, files=tuple(str(f) for f in files))
    write_json(folder / "scores.json", {"scores": done, "by_cycle": singles, "score_cards": cards, "provenance": facts})
    return done


def _others(config: Config, method: str, tally: Tally) -> dict[str, Tally]:
    """The sums of other methods of the run folder, of the same analysis times."""
    times, found, scoring = set(tally.cycles()), {}, scoring_of(config)
    root = verification_folder(config, method).parent
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if folder.name == method or not (folder / "statistics").is_dir():
            continue
        other = Tally()
        for cycle, split in analysed(config, folder.name):
            name = analysis_folder(config, folder.name, cycle, split).name
            file = folder / "statistics" / f"{name}.parquet"
            if cycle not in times or not file.exists():
                continue
            record = optional(lambda file=file: read_record(file), [])  # type: ignore[misc]
            other.add(part for part in (record.parts if record else ()) if _wanted(config, scoring, part))
        if other:
            found[folder.name] = other
    return found


def _cells(row: Row) -> list[str]:
    def both(metric: str) -> str:
        sides = (row.background, row.analysis)
        return " > ".join("-" if s is None else number(s.scores[metric].value) for s in sides)

    better = row.improvement
    improvement = "-" if better is None or better.value is None else f"{better.value:.1f} %"
    name = f"{row.variable} [{row.unit}]"
    scores = [both("rmse"), both("bias"), both("crps"), both("spread_skill"), improvement]
    return [row.target, name, str(row.n), *scores]


def _ahead(line: Line, step: float) -> list[str]:
    """A forecast, or a reanalysis by how many later analyses it has seen, in the same columns."""
    when = f"+{line.lead:g} h" if line.lead > 0 else f"{line.side}, {-line.lead / step:g} later"
    scores = [number(line.scores[name].value) for name in ("rmse", "bias", "crps", "spread_skill")]
    return [f"{line.target} {when}", f"{line.variable} [{line.unit}]", str(line.n), *scores, "-"]


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
