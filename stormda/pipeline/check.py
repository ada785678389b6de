"""Stage `check`: look before the work, read only.

Without a cycle the question is whether the run can begin: what later stages make themselves may be missing. With cycles
it is whether these analyses can be drawn now, from what is on the disk: archive or weights, and the observations of
each window, source by source, by the policy of each and beside what is usual (check_window.py).
"""

__all__ = ["check"]

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from stormda.assimilation.storm_prior import StormPrior
from stormda.config import Config, GriddedSource
from stormda.errors import ConfigError, InputMissing, StormdaError
from stormda.pipeline import build
from stormda.pipeline.check_window import BY_POLICY, window_findings
from stormda.pipeline.findings import Finding, Findings, Status
from stormda.pipeline.inputs import announced, texts_of, to_fetch
from stormda.pipeline.layout import analysis_folder
from stormda.time import format_time

_FREE = 1 << 30  # bytes that should be free whatever the job
_GIB = 1 << 30


def check(config: Config, cycles: Sequence[np.datetime64] = ()) -> Findings:
    """Look at inputs, stores, weights and disk.

    Args:
        config: the run.
        cycles: analyses that are to be drawn; none: the run is to begin.

    Returns:
        Findings; what is wrong is a finding and no error.
    """
    times = [format_time(cycle) for cycle in sorted(cycles)]
    when = "before the first cycle" if not times else times[0] if len(times) == 1 else f"{times[0]} .. {times[-1]}"
    return Findings.collect(
        f"{config.name}: {when}",
        _inputs(config),
        _archive(config, must=bool(cycles)),
        _weights(config, must=bool(cycles)),
        _stored(config, must=bool(cycles)),
        (finding for cycle in cycles for finding in window_findings(config, cycle)),
        _history(config, cycles),
        _room(config, max(len(cycles), 1)),
    )


def _look(what: str, look: Callable[[], str], missing: Status = Status.MISSING, hint: str = "") -> Finding:
    """What `look` says, or its error as a finding."""
    try:
        return Finding(Status.OK, what, look())
    except InputMissing as error:
        where = f" ({error.file})" if error.file else ""
        return Finding(missing, what, f"{error.what}{where}", error.hint or hint)
    except StormdaError as error:
        where = f" ({error.file})" if error.file else ""
        return Finding(Status.BROKEN, what, f"{error.what}{where}", error.hint or hint)


def _inputs(config: Config) -> Iterator[Finding]:
    """The files that the configuration names."""
    built = config.below_run(config.archive.path).exists()

    def files(names: Sequence[str], key: str, folders: bool = False) -> Callable[[], str]:
        def look() -> str:
            near, far = announced(config, names, key=key, folders=folders)
            return ", ".join(text for text in (_counted(near) if near else "", to_fetch(far)) if text)

        return look

    def gridded(what: str, source: GriddedSource, key: str, missing: Status) -> Finding:
        return _look(what, files(texts_of(config, source), key, source.kind == "zarr"), missing)

    for name, source in config.archive.sources.items():
        missing = Status.NOTE if built else Status.MISSING  # The archive that is there does not need them any more.
        yield gridded(f"archive source {name}", source, f"archive.sources.{name}.files", missing)
    for name, observed in config.observations.sources.items():
        key = f"observations.sources.{name}.files"
        yield _look(f"observation source {name}", files(texts_of(config, observed), key), BY_POLICY[observed.policy])
    if config.verify.truth is not None:
        yield gridded("truth", config.verify.truth, "verify.truth.files", Status.NOTE)
    for name, operator in config.operators.items():
        if operator.orography is not None:
            yield _look(f"orography of {name}", files([operator.orography], f"operators.{name}.orography"))


def _counted(paths: list[Path]) -> str:
    size = sum(p.stat().st_size for p in paths if p.is_file())
    return f"{len(paths)} file{'s' if len(paths) != 1 else ''}, {size / 1e6:.1f} MB"


def _archive(config: Config, must: bool) -> Iterator[Finding]:
    needed = must and config.assimilate.method != "storm"

    def look() -> str:
        archive = build.archive(config)
        learned = len(archive.select(config.archive.train))
        if not learned:
            raise ConfigError("the archive has no time in the training period", hint="look at archive.train")
        times = archive.times
        span = f"{len(times)} times {format_time(times[0])} .. {format_time(times[-1])}"
        return f"{span} on {archive.grid}, {learned} to learn from"

    if config.archive.sources or needed:
        yield _look("archive", look, Status.MISSING if needed else Status.NOTE, "stormda ingest")


def _weights(config: Config, must: bool) -> Iterator[Finding]:
    def look() -> str:
        path = build.weights_path(config)
        prior = StormPrior.load(path, channels=config.channels)
        return f"{path.name}: {', '.join(c.name for c in prior.channels)} on {prior.grid}"

    if config.assimilate.method == "storm":
        shipped = config.storm.weights.startswith("shipped:")
        yield _look("weights", look, Status.MISSING if must or shipped else Status.NOTE, "stormda train")


def _stored(config: Config, must: bool) -> Iterator[Finding]:
    def look() -> str:
        summary = build.store(config).summary()
        if not summary:
            raise InputMissing("nothing is ingested yet", hint="stormda ingest")
        return ", ".join(f"{row['source']}: {row['rows']}" for row in summary) + " values"

    if config.observations.sources:
        required = any(s.policy == "required" for s in config.observations.sources.values())
        yield _look("observation store", look, Status.MISSING if must and required else Status.NOTE)


def _history(config: Config, cycles: Sequence[np.datetime64]) -> Iterator[Finding]:
    if not cycles or config.history.source != "analyses":
        return
    first = min(cycles)
    before, split = first - config.archive.step, config.quality.withhold.seeds[0]
    there = (analysis_folder(config, config.assimilate.method, before, split) / "analysis.nc").exists()
    if there:
        yield Finding(Status.OK, "history", f"analysis of {format_time(before)}")
        return
    start = "the archive" if config.history.first == "archive" else "the climatology (cold start)"
    yield Finding(Status.NOTE, "history", f"no analysis of {format_time(before)}: starts from {start}")


def _room(config: Config, cycles: int) -> Iterator[Finding]:
    """Free room where the run folder is or will be, against what the analyses will take."""
    folder = next(p for p in (config.run, *config.run.parents) if p.exists())
    free = shutil.disk_usage(folder).free
    points = _points(config)
    # Analysis and background, float32, a file of members each, and mean and spread.
    need = 2 * 4 * points * (config.assimilate.ensemble + 2) * len(config.quality.withhold.seeds) * cycles
    detail = f"{free / _GIB:.1f} GiB free at {folder}" + (f", analyses take {need / 1e6:.0f} MB" if points else "")
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        yield Finding(Status.BROKEN, "disk", f"{folder} is not a folder that can be written", "set another run_dir")
    elif free < need + _FREE:
        status = Status.BROKEN if free < need else Status.NOTE
        yield Finding(status, "disk", detail, "free some room, or set another run_dir")
    else:
        yield Finding(Status.OK, "disk", detail)


def _points(config: Config) -> int:
    """Values of one state; 0 while there is no archive."""
    try:
        grid = build.archive(config).grid
    except StormdaError:
        return 0
    return int(np.prod(grid.shape)) * len(config.channels)
