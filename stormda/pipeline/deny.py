"""Stage `verify --deny`: what a source of observations is worth, by doing without it.

The analyses of a period are made once more without one source (an observing-system experiment): the same prior, seeds,
other observations, and past before the first of them. Then both runs are scored at the same values: the gridded truth,
and observations of the other sources that both runs found good. What the background of a time knows it has from the
analyses before, so it shows what the source is worth for the next hours.

    change = 100 (score without / score with - 1) per cent: above 0 the source helps

Its interval is a block bootstrap over analysis times of both runs together, so that weather which is hard for both does
not count as a difference.

    <run_dir>/denied/without-<source>/                               the run without it; what is there is not made again
    <run_dir>/verification/<method>/without-<source>/{scores.json,report.html}  the changes
"""

__all__ = ["DenyResult", "DenyRow", "deny"]

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from stormda import config as configuration
from stormda.config import Config
from stormda.errors import ConfigError, InputError, InputMissing
from stormda.observations import QC, Observations
from stormda.pipeline import build
from stormda.pipeline.assimilate import assimilate
from stormda.pipeline.layout import analysis_folder, parse_folder, verification_folder
from stormda.pipeline.verify_truth import Reference, on_grid, optional, read_reference, scoring_of
from stormda.store.analysis import read_analysis
from stormda.store.feedback import read_feedback
from stormda.store.provenance import provenance
from stormda.store.publish import write_json, write_text
from stormda.time import format_time
from stormda.types import Array, Progress, silent
from stormda.variables import Channel
from stormda.verification.changes import Change, compare, per_cent
from stormda.verification.compare import ALL, Part, Scoring, against_observations, against_truth
from stormda.verification.denial_page import denial_page
from stormda.verification.lines import Score
from stormda.verification.report import number
from stormda.verification.tally import Tally

_SIDES = ("background", "analysis")
_DRAWN = ("gaussian", "sampler", "guidance", "letkf", "ensf")
_SETTINGS = ("channels", "operators", "quality", "history", "storm", "nwp", *_DRAWN)
"""Sections that an analysis depends on, besides the observations and the section `assimilate`."""


@dataclass(frozen=True)
class DenyRow:
    """A variable against a target, of one side: scores with and without the source, and their change in per cent."""

    target: str
    variable: str
    unit: str
    side: str
    n: int
    cycles: int
    rmse_with: float
    rmse_without: float
    rmse_change: Score
    crps_with: float
    crps_without: float
    crps_change: Score


@dataclass(frozen=True)
class DenyResult:
    """What a source is worth; `missing` says what could not be compared."""

    method: str
    source: str
    cycles: tuple[str, ...]
    rows: tuple[DenyRow, ...]
    missing: tuple[str, ...]
    files: tuple[str, ...]

    def lead(self) -> str:
        """What was compared, in one sentence."""
        when = self.cycles[0] if len(self.cycles) == 1 else f"{self.cycles[0]} to {self.cycles[-1]}"
        count = f"{len(self.cycles)} {'cycle' if len(self.cycles) == 1 else 'cycles'}"
        return f"Without '{self.source}', method {self.method}, {count} ({when})."

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people: with > without, and the change with its interval."""
        title = f"{self.lead()} Each score: with > without; a change above 0 says that the source helps."
        columns = ["target", "variable", "side", "n", "RMSE", "change", "CRPS", "change"]
        rows = [
            [
                row.target,
                f"{row.variable} [{row.unit}]",
                row.side,
                str(row.n),
                f"{number(row.rmse_with)} > {number(row.rmse_without)}",
                per_cent(row.rmse_change),
                f"{number(row.crps_with)} > {number(row.crps_without)}",
                per_cent(row.crps_change),
            ]
            for row in self.rows
        ]
        return title, columns, rows


def deny(
    config: Config, source: str, cycles: Sequence[np.datetime64] | None = None, *, progress: Progress = silent
) -> DenyResult:
    """Make the analyses of a period again without one source, and say how the scores change.

    Args:
        config: the run, whose analyses are there.
        source: a key of `observations.sources`.
        cycles: None: all that are there.
        progress: told about the work.

    Raises:
        ConfigError: no such source, or the only one.
        InputMissing: an analysis with the source is not there.
        InputError: nothing could be compared.
    """
    method = config.assimilate.method
    without = _without(config, source)
    times = _times(config, method, cycles)
    _make(config, without, times, progress)
    missing: list[str] = []
    reference, scoring = read_reference(config, times, missing), scoring_of(config)
    both = Tally(), Tally()
    for done, time in enumerate(times):
        progress(f"deny {source}: scores of {format_time(time)}", done, len(times))
        for seed in config.quality.withhold.seeds:
            for tally, parts in zip(
                both, _compared(config, without, time, seed, reference, scoring, missing), strict=True
            ):
                tally.add(parts)
    progress(f"deny {source} done", len(times), len(times))
    found = [compare(*both, key) for key in both[0].keys() if key.region == ALL]
    changes = [change for change in found if change is not None]
    if not changes:
        raise InputError(
            f"nothing could be compared: {'; '.join(missing) or 'neither truth nor observations'}", key="verify"
        )
    text = configuration.dump(config)
    folder = verification_folder(config, method) / _folder(source)
    files = [folder / "scores.json", *([folder / "report.html"] if config.verify.report else [])]
    result = DenyResult(
        method=method,
        source=source,
        cycles=tuple(map(format_time, times)),
        rows=tuple(map(_row, changes)),
        missing=tuple(dict.fromkeys(missing)),
        files=tuple(map(str, files)),
    )
    facts = provenance(text, stage="deny", method=method, denied=source)
    if config.verify.report:
        page = denial_page(
            source=source,
            lead=result.lead(),
            changes=changes,
            missing=result.missing,
            facts=facts,
            configuration=text,
        )
        write_text(folder / "report.html", page)
    write_json(folder / "scores.json", {"denial": result, "provenance": facts})
    return result


def _folder(source: str) -> str:
    """A name of one part, whatever the source is called."""
    return "without-" + re.sub(r"[^A-Za-z0-9_.-]", "_", source)


def _without(config: Config, source: str) -> Config:
    """The run without a source: its products below `denied/`, its inputs those of the whole run."""
    sources = config.observations.sources
    if source not in sources:
        known = ", ".join(sources) or "none"
        raise ConfigError(f"there is no source '{source}'", key="observations.sources", hint=f"one of {known}")
    if len(sources) == 1:
        what = f"'{source}' is the only source: without it there is no observation"
        raise ConfigError(what, key="observations.sources", hint="stormda forecast, then stormda verify")
    there = {
        "archive": config.archive.model_copy(update={"path": str(config.below_run(config.archive.path))}),
        "observations": config.observations.model_copy(
            update={
                "path": str(config.below_run(config.observations.path)),
                "sources": {name: own for name, own in sources.items() if name != source},
            }
        ),
        "nwp": config.nwp.model_copy(update={"error": str(config.below_run(config.nwp.error))}),
        "run_dir": str(config.run / "denied" / _folder(source)),
    }
    bias = config.quality.bias.model_copy(
        update={"path": str(config.below_run(config.quality.bias.path)), "update": False}
    )
    there["quality"] = config.quality.model_copy(update={"bias": bias})
    if not config.storm.weights.startswith("shipped:"):
        weights = str(config.beside_run(config.storm.weights))
        there["storm"] = config.storm.model_copy(update={"weights": weights})
    return config.model_copy(update=there)


def _times(config: Config, method: str, cycles: Sequence[np.datetime64] | None) -> list[np.datetime64]:
    """The analysis times that are there with the source, every split of them."""
    root = config.run / "analyses" / method
    found = [parse_folder(p.name) for p in root.iterdir()] if root.is_dir() else []
    times = sorted({name[0] for name in found if name}) if cycles is None else sorted(set(cycles))
    now = _drawn_with(configuration.dump(config))
    for time in times:
        for seed in config.quality.withhold.seeds:
            folder = analysis_folder(config, method, time, seed)
            if not (folder / "analysis.nc").is_file():
                hint = f"stormda assimilate --cycle {format_time(time)} --method {method}"
                raise InputMissing("there is no analysis with the source", file=folder, hint=hint)
            _made_alike(now, folder / "config.yaml")
    if not times:
        raise InputMissing(f"there is no analysis of method {method}", file=root, hint="stormda assimilate")
    return times


def _drawn_with(text: str) -> dict[str, object]:
    """The settings of a configuration that members are drawn with, by key."""
    tree = yaml.safe_load(text)
    drawn = {f"{name}.{key}": value for name in _DRAWN for key, value in dict(tree.get(name) or {}).items()}
    own = dict(tree.get("assimilate") or {})
    return drawn | {f"assimilate.{key}": own.get(key) for key in ("ensemble", "seed", "inflation")}


def _made_alike(now: Mapping[str, object], file: Path) -> None:
    """A comparison is of sources and nothing else: refuse an analysis that was drawn with other settings than these."""
    if not file.is_file():
        return
    then = _drawn_with(file.read_text(encoding="utf-8"))
    for key, value in now.items():
        if then.get(key) is not None and then[key] != value:
            what = f"the analysis with the source was made with {key}={then[key]}, and this is to be one with {value}"
            raise ConfigError(what, file=file, key=key, hint=f"stormda verify --deny SOURCE {key}={then[key]}")


def _make(config: Config, without: Config, times: Sequence[np.datetime64], progress: Progress) -> None:
    """The analyses without the source, from the first that is not there or was made of something else."""
    method, seeds = config.assimilate.method, config.quality.withhold.seeds
    wanted = _marks(config, without, times)
    file = without.run / "denied.json"
    try:
        known = dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        known = {}

    def there(time: np.datetime64) -> bool:
        folders = [analysis_folder(without, method, time, seed) for seed in seeds]
        return known.get(format_time(time)) == wanted[format_time(time)] and all(f.is_dir() for f in folders)

    first = next((k for k, time in enumerate(times) if not there(time)), len(times))
    if first == len(times):
        return
    if first == 0:
        _lend_past(config, without, times[0])
    prior = build.prior(without, method)
    for time in times[first:]:
        assimilate(without, [time], prior=prior, progress=progress)
        known[format_time(time)] = wanted[format_time(time)]
        write_json(file, known)


def _marks(config: Config, without: Config, times: Sequence[np.datetime64]) -> dict[str, str]:
    """What each analysis without the source depends on: settings, and when the one with it was made."""
    method = config.assimilate.method
    own = without.model_dump(mode="json", include={*_SETTINGS, "assimilate", "observations"})
    settings = json.dumps([own, format_time(times[0])], sort_keys=True, default=str)  # the first one has the past
    marks = {}
    for time in times:
        files = [analysis_folder(config, method, time, s) / "analysis.nc" for s in config.quality.withhold.seeds]
        made = [[f.stat().st_size, f.stat().st_mtime_ns] for f in files]
        marks[format_time(time)] = hashlib.sha256(f"{settings}{made}".encode()).hexdigest()[:24]
    return marks


def _lend_past(config: Config, without: Config, first: np.datetime64) -> None:
    """The analyses before the period, so that both runs come from the same past; what is older there goes."""
    method = config.assimilate.method
    shutil.rmtree(without.run / "analyses" / method, ignore_errors=True)
    root = config.run / "analyses" / method
    for folder in sorted(root.iterdir()):
        named = parse_folder(folder.name)
        if named and first - config.history.max_age <= named[0] < first:
            shutil.copytree(folder, without.run / "analyses" / method / folder.name)


def _compared(
    config: Config,
    without: Config,
    time: np.datetime64,
    seed: int,
    reference: Reference,
    scoring: Scoring,
    missing: list[str],
) -> tuple[list[Part], list[Part]]:
    """The parts of one analysis time, with and without, at the same values."""
    folders = [analysis_folder(run, config.assimilate.method, time, seed) for run in (config, without)]
    made: tuple[list[Part], list[Part]] = ([], [])
    for side in _SIDES:
        ensembles = [optional(lambda f=f: read_analysis(f), missing) for f in (d / f"{side}.nc" for d in folders)]  # type: ignore[misc]
        for parts, ensemble in zip(made, ensembles, strict=True):
            if ensemble is None or any(e is None for e in ensembles) or time not in reference.truth:
                continue
            state = ensemble.state
            truth = optional(lambda g=state.grid: on_grid(reference.truth[time], g), missing) or {}  # type: ignore[misc]
            parts += against_truth(side, state.values, state.channels, state.grid, truth, time, seed, scoring=scoring)
    feedback = [optional(lambda d=d: read_feedback(d / "feedback.nc"), missing) for d in folders]  # type: ignore[misc]
    if any(f is None for f in feedback):
        return made
    shared = set.intersection(*(set(_rows(f.observations)) for f in feedback if f is not None))
    channels = tuple(map(Channel.parse, config.channels))
    for parts, own in zip(made, feedback, strict=True):
        assert own is not None
        keep = np.array([row in shared for row in _keys(own.observations)], dtype=bool)
        keep &= _good(own.observations)
        observations = own.observations.where(keep)
        for target in config.verify.against:
            for side, members in zip(_SIDES, (own.background, own.analysis), strict=True) if target != "truth" else ():
                where = observations, channels, time, seed
                parts += against_observations(target, side, members[:, keep], *where, scoring=scoring)
    return made


def _good(observations: Observations) -> Array:
    return np.asarray(observations["qc"] == QC.USED)


def _keys(observations: Observations) -> list[tuple[object, ...]]:
    """What tells one row from another in two runs of the same store."""
    columns = ("source", "report_id", "station_id", "variable", "level", "time", "latitude", "longitude", "value")
    return list(
        zip(
            *(np.nan_to_num(c) if c.dtype.kind == "f" else c for c in map(observations.__getitem__, columns)),
            strict=True,
        )
    )


def _rows(observations: Observations) -> list[tuple[object, ...]]:
    """The keys of the rows that are good."""
    return [key for key, good in zip(_keys(observations), _good(observations), strict=True) if good]


def _row(change: Change) -> DenyRow:
    return DenyRow(
        target=change.target,
        variable=change.variable,
        unit=change.unit,
        side=change.side,
        n=change.n,
        cycles=change.cycles,
        rmse_with=change.rmse,
        rmse_without=change.rmse_other,
        rmse_change=change.rmse_change,
        crps_with=change.crps,
        crps_without=change.crps_other,
        crps_change=change.crps_change,
    )
