"""Score one analysis time: read its background, its analysis, its feedback, its reanalysis and the forecasts that are
valid then.

What an analysis time adds to the scores is kept in its statistics file; it is made again where a file that it was made
of has changed, where something was missing, or where other scores are asked for.
"""

__all__ = ["NO_TRUTH", "Forecast", "Job", "analysed", "find_jobs", "fingerprint", "known", "score", "statistics_file"]

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from stormda.config import Config
from stormda.errors import InputError
from stormda.observations import QC
from stormda.operators.build import build_operator
from stormda.pipeline.inputs import resolver
from stormda.pipeline.layout import analysis_folder, parse_folder, verification_folder
from stormda.pipeline.verify_radar import NO_RADAR, RadarFields
from stormda.pipeline.verify_truth import Reference, on_grid, optional, tell
from stormda.pipeline.window import REANALYSIS
from stormda.store.analysis import Analysis, read_analysis
from stormda.store.feedback import Feedback, read_feedback
from stormda.time import format_time, parse_time
from stormda.types import Array
from stormda.variables import Channel
from stormda.verification.balance import balances, shocks
from stormda.verification.compare import (
    NO_LEAD,
    Part,
    Scoring,
    against_observations,
    against_truth,
    innovations,
    power_spectra,
)
from stormda.verification.statistics import LAYOUT, Record, read_facts

NO_TRUTH = "no gridded truth at"
_SIDES = ("background", "analysis")


@dataclass(frozen=True)
class Forecast:
    """A forecast that is valid at the time of a job, or the reanalysis of that time.

    Args:
        lead: how far ahead; None: of a reanalysis, whose file says until when it has seen observations.
        path: the file.
        before: the file of the step before it, for H between them; None: there is none.
        start: of a second step, the analysis that it began from; else None.
        scored: whether its lead is asked for; a second step shows the shock in any case.
    """

    lead: np.timedelta64 | None
    path: Path
    before: Path | None
    start: Path | None = None
    scored: bool = True


@dataclass(frozen=True)
class Job:
    """An analysis time that is to be scored; its folder may not be there where only forecasts are."""

    cycle: np.datetime64
    split: int
    folder: Path
    forecasts: tuple[Forecast, ...] = ()

    @property
    def analysed(self) -> bool:
        """Whether there is an analysis."""
        return self.folder.is_dir()

    @property
    def inputs(self) -> list[Path]:
        """Every file that it may be made of."""
        own = [self.folder / f"{name}.nc" for name in (*_SIDES, "feedback")]
        ahead = (path for f in self.forecasts for path in (f.path, f.before, f.start) if path is not None)
        return [*own, *dict.fromkeys(ahead)]


def analysed(config: Config, method: str) -> list[tuple[np.datetime64, int]]:
    """Analysis time and split of every analysis, and of those that only statistics are left of, in order."""
    seeds, statistics = config.quality.withhold.seeds, verification_folder(config, method) / "statistics"
    return sorted({*_named(config.run / "analyses" / method, seeds), *_named(statistics, seeds)})


def find_jobs(config: Config, method: str) -> dict[tuple[np.datetime64, int], Job]:
    """All that could be scored, by analysis time and split: analyses, forecasts, statistics whose files are gone."""
    forecasts = _forecasts(config, method)
    for time, again in _reanalyses(config, method).items():
        forecasts.setdefault(time, []).insert(0, again)
    found = {*analysed(config, method), *forecasts}
    return {
        (cycle, split): Job(
            cycle, split, analysis_folder(config, method, cycle, split), tuple(forecasts.get((cycle, split), ()))
        )
        for cycle, split in sorted(found)
    }


def statistics_file(config: Config, method: str, job: Job) -> Path:
    """Where the statistics of a job are."""
    return verification_folder(config, method) / "statistics" / f"{job.folder.name}.parquet"


def known(path: Path, wanted: str, missing: list[str]) -> bool:
    """Whether the statistics of an earlier run are what would be made now, or can no longer be made."""
    facts = optional(lambda: read_facts(path), missing) if path.exists() else None
    if facts is None:
        return False
    _, _, lacks, made_of = facts
    settings, files = wanted.split(":")
    if files:
        return made_of == wanted and not lacks
    if made_of.split(":")[0] != settings:
        tell(f"{path.name} was made with other settings of verify, and its analysis is gone", missing)
    return True


def fingerprint(config: Config, job: Job) -> str:
    """What the statistics of a job depend on, as `settings:files`; `files` is empty where no file is there."""
    own = config.verify.model_dump(mode="json", exclude={"report", "reuse"})
    operators = {name: operator.model_dump(mode="json") for name, operator in config.operators.items()}
    masks = [_mark(config.path(r.mask)) for r in config.verify.regions.values() if r.mask is not None]
    settings = [LAYOUT, own, operators, list(config.channels), masks]
    files = [[str(path.name), *mark] for path in job.inputs if (mark := _mark(path))]
    return f"{_digest(settings)}:{_digest(files) if files else ''}"


def score(config: Config, job: Job, reference: Reference, scoring: Scoring, radar: RadarFields | None = None) -> Record:
    """All parts of one analysis time."""
    missing: list[str] = []
    sides: dict[str, Analysis | None] = {}
    feedback = None
    if job.analysed:
        for side in _SIDES:
            sides[side] = optional(lambda side=side: read_analysis(job.folder / f"{side}.nc"), missing)  # type: ignore[misc]
        feedback = optional(lambda: read_feedback(job.folder / "feedback.nc"), missing)
    parts: list[Part] = []
    for side, ensemble in sides.items():
        if ensemble is not None:
            parts += _against_truth(job, side, ensemble, reference, scoring, missing)
            parts += _against_radar(job, side, ensemble, radar, scoring, missing)
            parts += _balances(job, side, ensemble, ensemble.mean)
    background, analysis = (sides.get(side) for side in _SIDES)
    if background is not None and analysis is not None:
        parts += _balances(job, "increment", analysis, analysis.mean - background.mean)
    channels = tuple(map(Channel.parse, config.channels))
    targets = [t for t in config.verify.against if t != "truth"]
    if feedback is not None:
        where = feedback.observations, channels, job.cycle, job.split
        for target in targets:
            for side, members in (("background", feedback.background), ("analysis", feedback.analysis)):
                parts += against_observations(target, side, members, *where, scoring=scoring)
        parts += innovations(feedback.background, feedback.analysis, *where, scoring=scoring)
    for forecast in job.forecasts:
        ensemble = optional(lambda forecast=forecast: read_analysis(forecast.path), missing)  # type: ignore[misc]
        if ensemble is None:
            continue
        if ensemble.time != job.cycle:
            tell(f"{forecast.path} is valid at {format_time(ensemble.time)}, not as its name says", missing)
            continue
        side, lead = "reanalysis" if forecast.lead is None else "forecast", _lead(forecast, ensemble)
        if forecast.scored:
            parts += _against_truth(job, side, ensemble, reference, scoring, missing, lead)
            parts += _against_radar(job, side, ensemble, radar, scoring, missing, lead)
        if forecast.scored and feedback is not None and targets:
            parts += _observed(config, job, forecast.before, side, lead, ensemble, feedback, targets, scoring, missing)
        if forecast.start is not None and forecast.before is not None:
            parts += _shocks(job, forecast.start, forecast.before, ensemble, missing)
    if "truth" in config.verify.against and job.cycle not in reference.truth:
        missing.append(f"{NO_TRUTH} {format_time(job.cycle)}")
    if radar is not None and not len(radar.rows(job.cycle)):
        missing.append(f"{NO_RADAR} {format_time(job.cycle)}")
    return Record(job.cycle, job.split, tuple(parts), tuple(missing), fingerprint(config, job))


def _lead(forecast: Forecast, ensemble: Analysis) -> np.timedelta64:
    """How far ahead; of a reanalysis, from its last observations back to its time."""
    if forecast.lead is not None:
        return forecast.lead
    return ensemble.time - parse_time(ensemble.attributes.get("observations_until", format_time(ensemble.time)))


def _against_truth(
    job: Job,
    side: str,
    ensemble: Analysis,
    reference: Reference,
    scoring: Scoring,
    missing: list[str],
    lead: np.timedelta64 = NO_LEAD,
) -> list[Part]:
    state = ensemble.state
    truth = optional(lambda: on_grid(reference.truth.get(job.cycle, {}), state.grid), missing)
    if not truth:
        return []
    try:
        climatology = on_grid(reference.climatology(job.cycle), state.grid)
    except InputError:  # An archive of another domain: there is a truth, and no anomaly correlation.
        climatology = {}
    where = side, state.values, state.channels, state.grid, truth, job.cycle, job.split
    parts = against_truth(*where, scoring=scoring, climatology=climatology, lead=lead)
    return parts + power_spectra(*where, scoring=scoring, lead=lead)


def _against_radar(
    job: Job,
    side: str,
    ensemble: Analysis,
    radar: RadarFields | None,
    scoring: Scoring,
    missing: list[str],
    lead: np.timedelta64 = NO_LEAD,
) -> list[Part]:
    if radar is None:
        return []
    where = side, ensemble.state, job.cycle, job.split
    return optional(lambda: radar.score(*where, scoring=scoring, lead=lead), missing) or []


def _balances(job: Job, side: str, ensemble: Analysis, field_CHW: Array) -> list[Part]:
    state = ensemble.state
    return balances(side, field_CHW, state.channels, state.grid, job.cycle, job.split, len(state.values))


def _shocks(job: Job, start: Path, before: Path, second: Analysis, missing: list[str]) -> list[Part]:
    """The first step of a forecast against its second, where both are as long."""
    analysis, first = (optional(lambda p=p: read_analysis(p), missing) for p in (start, before))  # type: ignore[misc]
    if analysis is None or first is None or first.time - analysis.time != second.time - first.time:
        return []
    steps = analysis.state.values, first.state.values, second.state.values
    if len({s.shape for s in steps}) > 1:
        return []
    return shocks(steps, second.state.channels, second.state.grid, job.cycle, job.split)


def _observed(
    config: Config,
    job: Job,
    path: Path | None,
    side: str,
    lead: np.timedelta64,
    ensemble: Analysis,
    feedback: Feedback,
    targets: Sequence[str],
    scoring: Scoring,
    missing: list[str],
) -> list[Part]:
    """The parts of an ensemble at the observations that its analysis found good; `path` is a step before."""
    good = (feedback.observations["qc"] == QC.USED) & np.isfinite(feedback.observations["error"])
    observations = feedback.observations.where(good)
    before = None if path is None else optional(lambda: read_analysis(path), missing)
    previous = None if before is None else (before.time, np.asarray(before.mean, dtype=np.float64))
    state = ensemble.state
    operator, flagged, rows = build_operator(
        observations, state.grid, state.channels, config.operators, job.cycle, previous, resolve=resolver(config)
    )
    members = np.full((len(state.values), len(flagged)), np.nan)
    members[:, rows] = operator(torch.as_tensor(state.values, dtype=torch.float64)).numpy()
    return [
        part
        for target in targets
        for part in against_observations(
            target, side, members, flagged, state.channels, job.cycle, job.split, scoring=scoring, lead=lead
        )
    ]


def _named(root: Path, seeds: Sequence[int]) -> list[tuple[np.datetime64, int]]:
    """Cycle and split of what is named so in a folder, as the configuration's number of splits would name it."""
    found = []
    for entry in sorted(root.iterdir()) if root.is_dir() else ():
        parsed = parse_folder(entry.name.removesuffix(".parquet"))
        if parsed and (parsed[1] is None) == (len(seeds) == 1) and parsed[1] in (None, *seeds):
            found.append((parsed[0], seeds[0] if parsed[1] is None else parsed[1]))
    return found


def _forecasts(config: Config, method: str) -> dict[tuple[np.datetime64, int], list[Forecast]]:
    """By valid time and split."""
    found: dict[tuple[np.datetime64, int], list[Forecast]] = {}
    root, seeds, leads = config.run / "forecasts" / method, config.quality.withhold.seeds, config.verify.leads
    for start, split in _named(root, seeds):
        analysis = analysis_folder(config, method, start, split)
        steps = [analysis / "analysis.nc"]
        for path in sorted((root / analysis.name).glob("forecast_*h.nc")):
            match = re.fullmatch(r"forecast_(\d+)h\.nc", path.name)
            lead = np.timedelta64(3600 * int(match[1]) if match else 0, "s")
            first, scored = steps[0] if len(steps) == 2 else None, not leads or lead in leads
            if match and (scored or first is not None):
                found.setdefault((start + lead, split), []).append(Forecast(lead, path, steps[-1], first, scored))
            steps.append(path)
    return found


def _reanalyses(config: Config, method: str) -> dict[tuple[np.datetime64, int], Forecast]:
    """Of the analysis times that were drawn again, with the newest file of the time before for H between them."""
    found, step = {}, config.archive.step
    for time, split in _named(config.run / "analyses" / method, config.quality.withhold.seeds):
        path = analysis_folder(config, method, time, split) / REANALYSIS
        if path.is_file():
            folder = analysis_folder(config, method, time - step, split)
            before = next((f for f in (folder / REANALYSIS, folder / "analysis.nc") if f.is_file()), None)
            found[time, split] = Forecast(None, path, before)
    return found


def _mark(path: Path) -> list[int]:
    """Size and time of change; empty where there is no such file."""
    try:
        found = path.stat()
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:24]
