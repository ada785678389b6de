"""Stage `ingest`: files of fields become the archive, files of observations go through static QC into the store.

    gridded sources  -> one archive, all channels at the times that all of them have
    observations     -> read -> static checks -> one batch of the store a file

Running it again gives the same: the archive is exchanged at once, a file's batch replaces the one that it gave before,
wherever the file lay then.
A file that is missing or broken does not keep the others out: they are stored first, then the error is raised.
"""

__all__ = ["ArchiveFacts", "IngestResult", "SourceFacts", "ingest", "ingest_files"]

import difflib
import glob
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stormda.config import Config
from stormda.errors import ConfigError, InputError, InputMissing, StormdaError
from stormda.observations import QC
from stormda.pipeline.ingest_archive import ArchiveFacts, ingest_archive, simulate_archive
from stormda.pipeline.ingest_file import Job, SourceFacts, ingest_file
from stormda.pipeline.inputs import announced, cache_of, located, texts_of, to_fetch
from stormda.sources.cache import Known
from stormda.sources.urls import is_url
from stormda.store.observations import Input
from stormda.store.provenance import digest
from stormda.types import Progress, silent

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class IngestResult:
    """What was read, or, of a dry run, what would be."""

    dry_run: bool
    archive: ArchiveFacts | None
    sources: tuple[SourceFacts, ...]

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people."""
        rows = [] if self.archive is None else [self.archive.row()]
        for s in self.sources:
            rejected = ", ".join(f"{n} {words}" for words, n in s.codes.items() if words != QC.USED.words)
            used = str(s.codes.get(QC.USED.words, 0))
            rows.append([s.source, str(len(s.files)), str(s.rows), used, _span(s.first, s.last), rejected or s.note])
        title = "would be read" if self.dry_run else "ingested"
        return title, ["source", "files", "rows", "used", "times", "notes"], rows


def ingest(
    config: Config, sources: Sequence[str] | None = None, *, dry_run: bool = False, progress: Progress = silent
) -> IngestResult:
    """Read the sources of a configuration into the archive and the observation store.

    Args:
        config: the run.
        sources: names of sources, of the archive or of observations; None: all. What is named must be there, whatever
            its policy. A part of the archive cannot be made alone: naming one of its sources makes all of it.
        dry_run: find the files and write nothing.
        progress: told about the work.

    Raises:
        ConfigError: nothing to ingest, or an unknown source.
        InputMissing: a file of the archive or of a required source is not there, or no observation file is.
        InputError: a file is empty, truncated, or not what the configuration says.
        OutputError: the run folder cannot be written.
    """
    chosen = _chosen(config, sources)
    gridded = [name for name in config.archive.sources if name in chosen]
    archive = ingest_archive(config, dry_run, progress) if gridded else simulate_archive(config, dry_run, progress)
    observed = [name for name in config.observations.sources if name in chosen]
    return IngestResult(dry_run, archive, _observations(config, observed, sources is not None, dry_run, progress))


def ingest_files(
    config: Config,
    files: Mapping[str, Sequence[Path]],
    *,
    now: np.datetime64 | None = None,
    progress: Progress = silent,
) -> dict[Path, StormdaError]:
    """Read some files of observation sources into the store; what is wrong with one keeps none of the others out.

    Args:
        config: the run.
        files: by source, of those that its patterns match.
        now: the present time, where new files are read as they come: it tells the month of reports that do not.
        progress: told about the work.

    Returns:
        What is wrong, by file.

    Raises:
        OutputError: the run folder cannot be written.
    """
    wrong: dict[Path, StormdaError] = {}
    jobs: list[Job] = []
    for name in (n for n in config.observations.sources if n in files):
        for path in files[name]:
            trouble: list[StormdaError] = []
            jobs += _jobs(config, name, [path], trouble)
            if trouble:
                wrong[path] = trouble[0]
    for number, job in enumerate(jobs):
        progress(f"{job.source}: {job.path.name}", number, len(jobs))
        try:
            ingest_file(config, job, jobs[number:], now)
        except (InputError, InputMissing) as error:
            wrong[job.path] = error
    progress("observations", len(jobs), len(jobs))
    return wrong


def _chosen(config: Config, sources: Sequence[str] | None) -> list[str]:
    known = [*config.archive.sources, *config.observations.sources]
    if not known and config.twin.world.kind == "archive":
        raise ConfigError("there is nothing to ingest", key="archive.sources", hint="stormda init NAME shows how")
    for name in sources or ():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
            raise ConfigError(f"unknown source '{name}'", key="sources", hint=hint)
    return known if sources is None else list(sources)


def _span(first: str | None, last: str | None) -> str:
    return "" if first is None else f"{first} .. {last}"


def _observations(
    config: Config, names: list[str], named: bool, dry_run: bool, progress: Progress
) -> tuple[SourceFacts, ...]:
    """Every source in the order of the configuration: in that order the first of several duplicates is kept."""
    trouble: dict[str, list[StormdaError]] = {name: [] for name in names}
    if dry_run:
        return _announced(config, names, named, trouble)
    files = {name: _files(config, name, trouble[name], progress) for name in names}
    facts = {name: SourceFacts(name, tuple(str(f) for f in files[name])) for name in names}
    jobs = [job for name in names for job in _jobs(config, name, files[name], trouble[name])]
    for number, job in enumerate(jobs):
        progress(f"{job.source}: {job.path.name}", number, len(jobs))
        try:
            facts[job.source] = facts[job.source].plus(ingest_file(config, job, jobs[number:]))
        except InputError as error:
            trouble[job.source].append(error)
    progress("observations", len(jobs), len(jobs))
    notes = {name: "; ".join(str(e) for e in errors) for name, errors in trouble.items()}
    _judge(config, trouble, named, any(files.values()))
    return tuple(replace(facts[name], note=notes[name]) for name in names)


def _announced(
    config: Config, names: list[str], named: bool, trouble: dict[str, list[StormdaError]]
) -> tuple[SourceFacts, ...]:
    """What would be read and fetched."""
    facts = []
    for name in names:
        near: list[Path] = []
        far: list[Known] = []
        for text in texts_of(config, config.observations.sources[name]):
            try:
                here, there = announced(config, [text], key=f"observations.sources.{name}.files")
            except (InputMissing, InputError) as error:
                trouble[name].append(error)
            else:
                near, far = near + here, far + there
        notes = [to_fetch(far), *(str(e) for e in trouble[name][:3])]
        files = tuple(dict.fromkeys([*map(str, near), *(k.url for k in far)]))
        facts.append(SourceFacts(name, files, note="; ".join(n for n in notes if n)))
    _judge(config, trouble, named, any(f.files for f in facts))
    return tuple(facts)


def _files(config: Config, name: str, trouble: list[StormdaError], progress: Progress) -> list[Path]:
    found: list[Path] = []
    for text in texts_of(config, config.observations.sources[name]):
        try:
            found += located(config, [text], key=f"observations.sources.{name}.files", progress=progress)
        except (InputMissing, InputError) as error:
            trouble.append(error)
    return list(dict.fromkeys(found))


def _jobs(config: Config, name: str, files: list[Path], trouble: list[StormdaError]) -> list[Job]:
    """The files of a source as the store knows them: by their names below what all have in common, and their content.

    The common folder is a matter of the configuration alone: new files do not change the names of old ones. A file from
    a URL has the name that it has in the cache.
    """
    texts, cache = config.observations.sources[name].files, cache_of(config).folder
    near = [_folder(config.path(text)) for text in texts if not is_url(text)]
    jobs: list[Job] = []
    for path in files:
        base = cache if not near or path.is_relative_to(cache) else os.path.commonpath(near)
        relative = os.path.relpath(os.path.abspath(path), base)
        try:
            jobs.append(Job(name, path, Input(Path(relative).as_posix(), digest(path))))
        except (InputMissing, InputError) as error:
            trouble.append(error)
    return jobs


def _folder(path: Path) -> str:
    """The folder of a file, or of a pattern as far as it has no wildcard."""
    path = Path(os.path.abspath(path))
    if path.exists():
        return str(path.parent)
    return str(next(p for p in path.parents if not glob.has_magic(str(p)) and not re.search("[%{]", str(p))))


def _judge(config: Config, trouble: dict[str, list[StormdaError]], named: bool, any_file: bool) -> None:
    """Raise the first trouble that the policies do not allow, warn of the others.

    A missing file is an error where its source is required, was asked for by name, or where nothing at all was found;
    a broken one is an error unless its source is optional.
    """
    serious: list[StormdaError] = []
    for name, errors in trouble.items():
        policy = config.observations.sources[name].policy
        for error in errors:
            missing = isinstance(error, InputMissing)
            strict = named or policy == "required" or (policy == "warn" and not (missing and any_file))
            if strict:
                serious.append(error)
            elif policy == "warn" or not missing:
                log.warning("source '%s': %s", name, error)
    if serious:
        raise serious[0]
