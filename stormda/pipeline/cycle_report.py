"""The page of one analysis, `report.html` beside it: made of the files of its folder, so it can be made at any time.

What is missing or damaged costs only its own part and is named at the head of the page; without `analysis.nc` there is
no page. Departures are drawn along the analyses before it, from their statistics files or else from their feedback.
"""

__all__ = ["cycle_report", "snapshot_of", "write_report"]

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from stormda import config as configuration
from stormda.config import Config
from stormda.errors import InputError, StormdaError
from stormda.pipeline.layout import analysis_folder, verification_folder
from stormda.pipeline.verify_score import analysed
from stormda.pipeline.verify_truth import Fields, on_grid, optional
from stormda.store.analysis import read_analysis
from stormda.store.feedback import read_feedback
from stormda.store.ledger import Ledger, ledger_path
from stormda.store.publish import write_text
from stormda.variables import Channel
from stormda.verification.compare import Part, against_observations, innovations
from stormda.verification.report import Snapshot, cycle_page, map_sections
from stormda.verification.statistics import read_record
from stormda.verification.summary import overview
from stormda.verification.tally import Tally

RECENT = 28
"""Analyses along which departures are drawn: a week of six-hourly ones."""


def write_report(config: Config, cycle: np.datetime64, split: int) -> Path | None:
    """Write the page of an analysis that is there; returns its path, None where its ensemble cannot be read.

    Scores are those of its statistics file; where there is none they are made of its feedback, without a truth.

    Raises:
        OutputError: the page cannot be written.
    """
    method, missing = config.assimilate.method, list[str]()
    snapshot = snapshot_of(analysis_folder(config, method, cycle, split), cycle, split, {}, missing)
    if snapshot is None:
        return None
    return cycle_report(config, snapshot, _parts(config, cycle, split), missing=missing)


def snapshot_of(
    folder: Path, cycle: np.datetime64, split: int, truth: Mapping[str, Any] | Fields, missing: list[str]
) -> Snapshot | None:
    """What the maps of an analysis show; None where its ensemble cannot be read.

    Args:
        folder: of the analysis.
        cycle, split: which one it is.
        truth: of that time, if there is one.
        missing: gets a sentence for what cannot be read.
    """
    analysis, background = (
        optional(lambda n=n: read_analysis(folder / f"{n}.nc"), missing)  # type: ignore[misc]
        for n in ("analysis", "background")
    )
    feedback = optional(lambda: read_feedback(folder / "feedback.nc"), missing)
    if analysis is None:
        return None
    return Snapshot(
        cycle=cycle,
        split=split,
        channels=analysis.state.channels,
        grid=analysis.state.grid,
        analysis=analysis.mean,
        spread=analysis.spread,
        background=None if background is None else background.mean,
        truth=optional(lambda: on_grid(truth, analysis.state.grid), []) or {},
        observations=None if feedback is None else feedback.observations,
    )


def cycle_report(
    config: Config,
    snapshot: Snapshot,
    parts: Sequence[Part],
    *,
    missing: Sequence[str] = (),
    sections: Sequence[Any] | None = None,
) -> Path:
    """Write `report.html` beside an analysis: maps, observations, departures, scores, timing; returns the path."""
    method = config.assimilate.method
    folder = analysis_folder(config, method, snapshot.cycle, snapshot.split)
    facts, notes = _provenance(folder)
    recent = Tally.of([*_recent(config, snapshot), *(p for p in parts if p.target == "innovations")])
    page = cycle_page(
        method=method,
        members=max((p.members for p in parts), default=int(facts.get("members", config.assimilate.ensemble))),
        rows=overview(Tally.of(parts)),
        snapshot=snapshot,
        sections=map_sections(snapshot) if sections is None else sections,
        facts={name: value for name, value in facts.items() if name != "seconds"},
        configuration=configuration.dump(config),
        recent=recent,
        timing=_timing(config, facts, snapshot.cycle),
        notes=[*notes, *missing],
    )
    write_text(folder / "report.html", page)
    return folder / "report.html"


def _parts(config: Config, cycle: np.datetime64, split: int) -> tuple[Part, ...]:
    """Of the statistics file of an analysis, else of its feedback."""
    method = config.assimilate.method
    folder = analysis_folder(config, method, cycle, split)
    try:
        return read_record(verification_folder(config, method) / "statistics" / f"{folder.name}.parquet").parts
    except InputError:
        pass
    try:
        feedback = read_feedback(folder / "feedback.nc")
    except StormdaError:
        return ()
    where = feedback.observations, tuple(map(Channel.parse, config.channels)), cycle, split
    parts = innovations(feedback.background, feedback.analysis, *where)
    for side, members in (("background", feedback.background), ("analysis", feedback.analysis)):
        parts += against_observations("withheld", side, members, *where)
    return tuple(parts)


def _recent(config: Config, snapshot: Snapshot) -> list[Part]:
    """The departures of the analyses before this one, of the same choice of withheld stations."""
    method = config.assimilate.method
    before = [c for c, s in analysed(config, method) if s == snapshot.split and c < snapshot.cycle][-RECENT + 1 :]
    return [p for cycle in before for p in _parts(config, cycle, snapshot.split) if p.target == "innovations"]


def _provenance(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """How the analysis was made, and what a reader must know before anything else."""
    try:
        facts = dict(json.loads((folder / "provenance.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}, ["there is no provenance.json"]
    except (OSError, ValueError, TypeError) as error:
        return {}, [f"the provenance cannot be read: {error}"]
    if facts.get("product") == "background":
        return facts, [f"There is no analysis: the background is in its place, because {facts.get('product_reason')}."]
    return facts, []


def _timing(config: Config, facts: Mapping[str, Any], cycle: np.datetime64) -> list[tuple[str, float]]:
    """Steps of the analysis by its provenance, and stages of the cycle by the ledger where there is one."""
    steps = facts.get("seconds")
    timing = [(f"analysis: {k}", float(v)) for k, v in steps.items()] if isinstance(steps, dict) else []
    try:
        with Ledger(ledger_path(config.run)) as ledger:
            known = ledger.cycle(cycle)
            stages = ledger.stages(known) if known else {}
    except StormdaError:
        return timing
    for stage in stages.values():
        if stage.ended is not None and stage.state == "done":
            span = datetime.fromisoformat(stage.ended) - datetime.fromisoformat(stage.started)
            timing.append((f"stage {stage.name}", span.total_seconds()))
    return timing
