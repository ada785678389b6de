"""Ingest of one file of observations: read, checked against itself and what came before, stored as one batch.

Memory is that of the file's rows; a table of more than a million values goes through a spool on the disk (spool.py) and
is checked and stored part by part in the order of time, each part with the neighbours in time that the checks look at.
Runs of stuck values may be longer than any part: a first pass joins them over all parts. So the result is that of the
whole, and memory grows with the stations of the file, not with its rows.
"""

__all__ = ["READERS", "Job", "SourceFacts", "ingest_file"]

import glob
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np

from stormda.config import Config, TableSource
from stormda.observations import Observations
from stormda.pipeline import build
from stormda.pipeline.inputs import resolver
from stormda.quality.report import counts
from stormda.quality.static import near, reach, run_static
from stormda.quality.stuck import Streaks
from stormda.sources.bufr import read_bufr
from stormda.sources.ghcnh import read_ghcnh
from stormda.sources.ioda import read_ioda
from stormda.sources.isd import read_isd
from stormda.sources.madis import read_madis
from stormda.sources.metar import read_metar
from stormda.sources.radar import read_radar
from stormda.sources.table import PART, read_table, table_parts
from stormda.sources.vobs import read_vobs
from stormda.store.observations import Input, ObservationStore
from stormda.store.spool import Span, Spool
from stormda.time import Window, format_time
from stormda.types import Array

READERS: dict[str, Callable[..., Observations]] = {
    "table": read_table,
    "vobs": read_vobs,
    "bufr": read_bufr,
    "metar": read_metar,
    "madis": read_madis,
    "ioda": read_ioda,
    "isd": read_isd,
    "ghcnh": read_ghcnh,
    "radar": read_radar,
}
_SECOND = np.timedelta64(1, "s")


@dataclass(frozen=True)
class Job:
    """A file that is to be read."""

    source: str
    path: Path
    origin: Input


@dataclass(frozen=True)
class SourceFacts:
    """An observation source: its files, its rows by QC code, its time span, and what went wrong."""

    source: str
    files: tuple[str, ...]
    rows: int = 0
    codes: dict[str, int] = field(default_factory=dict)
    first: str | None = None
    last: str | None = None
    note: str = ""

    def plus(self, new: "SourceFacts") -> "SourceFacts":
        """With the rows of one more file, or part of one."""
        codes = dict(self.codes)
        for words, number in new.codes.items():
            codes[words] = codes.get(words, 0) + number
        first = min((t for t in (self.first, new.first) if t), default=None)
        last = max((t for t in (self.last, new.last) if t), default=None)
        return replace(self, rows=self.rows + new.rows, codes=codes, first=first, last=last)

    @classmethod
    def of(cls, source: str, rows: Observations) -> "SourceFacts":
        """What rows are, without the files that they came from."""
        time = rows["time"][~np.isnat(rows["time"])].astype("datetime64[s]")
        span = [format_time(time.min()), format_time(time.max())] if time.size else [None, None]
        return cls(source, (), len(rows), next(iter(counts(rows).values()), {}), *span)


def ingest_file(config: Config, job: Job, later: Sequence[Job] = (), now: np.datetime64 | None = None) -> SourceFacts:
    """Read a file, check it and store it.

    Args:
        config: the run.
        job: the file.
        later: what this run is about to replace, this file among it: not what the checks look at.
        now: the present time, where new files are read as they come.

    Raises:
        InputError, InputMissing, OutputError: as `stormda.pipeline.ingest`.
    """
    source = config.observations.sources[job.source]
    own = source.model_copy(update={"files": (glob.escape(str(job.path)),)})
    store, find = build.store(config), resolver(config)  # a table of stations may be at a URL
    without = store.given((j.source, j.origin) for j in (job, *later))
    facts = SourceFacts(job.source, ())

    def checked(rows: Observations) -> Observations:
        before = _before(config, store, _window(config, rows["time"]), without)
        rows = run_static(Observations.concat([before, rows]), config.quality.static)
        return Observations(rows.table.slice(len(before)))

    def told(parts: Iterator[Observations]) -> Iterator[Observations]:
        nonlocal facts
        for part in parts:
            facts = facts.plus(SourceFacts.of(job.source, part))
            yield part

    if isinstance(own, TableSource):
        parts = table_parts(own, job.source, find)
        first, second = next(parts), next(parts, None)
        if second is not None:
            with Spool(store.path, PART) as spool:
                for part in chain((first, second), parts):
                    spool.append(part)
                del first, second, part
                store.add_parts(told(_checked_parts(config, store, spool, without)), job.source, job.origin)
            return facts
        rows = first
    else:
        present = {"near": now} if source.kind == "metar" else {}
        rows = READERS[source.kind](own, job.source, find, **present)
    store.add_parts(told(iter([checked(rows)])), job.source, job.origin)
    return facts


def _checked_parts(config: Config, store: ObservationStore, spool: Spool, without: list[str]) -> Iterator[Observations]:
    """The rows of a file in the order of time, with the codes that they have if all are checked at once."""
    checks, streaks = config.quality.static, dict[int, Streaks]()
    window, far = _window(config, np.array([spool.first, spool.last])), near(checks)

    def around() -> Iterator[tuple[Observations, int, Span]]:
        """Of each part: rows of other files and its own, with what is near; how many the former are; its times."""
        for rows, span in spool.parts(far):
            before = _before(config, store, _part_of(window, span, far), without)
            yield Observations.concat([before, rows]), len(before), span

    for number, check in enumerate(checks):
        if check.check == "stuck":
            runs = Streaks(check)
            for rows, _, span in around():
                runs.add(run_static(rows, checks[:number], streaks).where(span.has(rows["time"])))
            streaks[number] = runs
    for rows, others, span in around():
        mine = span.has(rows["time"]) & (np.arange(len(rows)) >= others)
        yield run_static(rows, checks, streaks).where(mine)


def _window(config: Config, times: Array) -> Window | None:
    """Of what other files gave, the times that the checks look at; None: nothing."""
    time, far = times[~np.isnat(times)], reach(config.quality.static)
    if time.size == 0 or far is None:
        return None
    start, end = (t.astype("datetime64[s]") for t in (time.min(), time.max()))
    return Window(start - far - _SECOND, end + _SECOND)


def _part_of(window: Window | None, span: Span, far: np.timedelta64) -> Window | None:
    """A window as far as it is in or near the times of a part."""
    if window is None or not span.dated:
        return None
    start, end = window.start, window.end
    if span.after is not None:
        start = max(start, span.after.astype("datetime64[s]") - far - _SECOND)
    if span.until is not None:
        end = min(end, span.until.astype("datetime64[s]") + far + _SECOND)
    return Window(start, end) if start < end else None


def _before(config: Config, store: ObservationStore, window: Window | None, without: list[str]) -> Observations:
    """What other files gave for the times that the checks look at; not what this run is about to replace."""
    if window is None:
        return Observations.empty()
    return store.read(window, list(config.observations.sources), without=without)
