"""Ingest of gridded fields: all sources of the archive become one archive, or the nature run of a simulated world."""

__all__ = ["ArchiveFacts", "ingest_archive", "simulate_archive"]

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stormda import config as configuration
from stormda.config import Config
from stormda.pipeline.inputs import announced, located, origin, texts_of, to_fetch
from stormda.pipeline.workers import workers
from stormda.pipeline.worlds import simulated_archive, world_config
from stormda.sources.gridded import open_sources, read_sources
from stormda.sources.remote_file import remote_file
from stormda.sources.remote_zarr import remote_store
from stormda.store.archive import Archive, write_archive
from stormda.store.archive_blocks import write_archive_blocks
from stormda.store.provenance import digest, provenance
from stormda.time import format_time, hours
from stormda.types import Progress


@dataclass(frozen=True)
class ArchiveFacts:
    """The archive: what it holds, or the files that it would be made of."""

    path: str
    files: tuple[str, ...]
    channels: tuple[str, ...] = ()
    grid: str = ""
    times: int = 0
    first: str | None = None
    last: str | None = None
    step_hours: float | None = None
    fetch: str = ""

    def row(self) -> list[str]:
        """Of the table of an ingest: name, files, rows, used, times, notes."""
        span = "" if self.first is None else f"{self.first} .. {self.last}"
        notes = f"{', '.join(self.channels)} on {self.grid}" if self.channels else self.fetch or self.path
        return ["archive", str(len(self.files)), str(self.times), str(self.times), span, notes]


def ingest_archive(config: Config, dry_run: bool, progress: Progress) -> ArchiveFacts:
    """Make the archive of all of its sources, fetched where they are at URLs; raises as `stormda.pipeline.ingest`."""
    settings, path = config.archive, config.below_run(config.archive.path)
    texts = {name: texts_of(config, s) for name, s in settings.sources.items()}
    how: dict[str, Any] = {
        name: {"key": f"archive.sources.{name}.files", "folders": s.kind == "zarr"}
        for name, s in settings.sources.items()
    }
    if dry_run:
        looked = [announced(config, texts[name], **how[name]) for name in texts]
        known = [k for _, far in looked for k in far]
        names = tuple(str(f) for near, far in looked for f in [*near, *(k.url for k in far)])
        return ArchiveFacts(str(path), names, fetch=to_fetch(known))
    lazy = {name: s.lazy and s.kind == "netcdf" for name, s in settings.sources.items()}
    files = {name: located(config, texts[name], **how[name], lazy=lazy[name], progress=progress) for name in texts}
    names = tuple(str(f) for found in files.values() for f in found)
    inputs = {name: [_identity(config, f) for f in found] for name, found in files.items()}
    about: dict[str, Any] = {
        "step": settings.step,
        "harmonics": settings.climatology,
        "train": settings.train,
        "provenance": provenance(configuration.dump(config), inputs=inputs),
    }
    shape: dict[str, Any] = {"plane": settings.plane, "periodic": settings.periodic}
    with workers(config.ingest) as others:
        if others is None:
            states = read_sources(
                settings.sources, config.channels, config.path, **shape, files=files, progress=progress
            )
            return _facts(write_archive(path, states, **about), path, names)
        with open_sources(settings.sources, config.channels, files, **shape, progress=progress) as fields:
            archive = write_archive_blocks(path, fields, others, **about, progress=progress)
    return _facts(archive, path, names)


def _identity(config: Config, path: Path) -> Any:
    """What tells an input from others: its SHA-256, of a file that was fetched also its URL and version."""
    far = remote_file(path)
    if far is not None:
        return {"url": far.url, "size": far.size}
    store = remote_store(path) if path.is_dir() else None
    return {"url": store.url} if store else origin(config, path) or digest(path)


def simulate_archive(config: Config, dry_run: bool, progress: Progress) -> ArchiveFacts | None:
    """Without gridded files, the nature run of a simulated `twin.world`; None where there is none."""
    if config.archive.sources or config.twin.world.kind == "archive":
        return None
    path = config.below_run(config.archive.path)
    if dry_run:
        return ArchiveFacts(str(path), ())
    return _facts(simulated_archive(world_config(config), progress), path, ())


def _facts(archive: Archive, path: Path, files: tuple[str, ...]) -> ArchiveFacts:
    times = archive.times
    return ArchiveFacts(
        str(path),
        files,
        tuple(c.name for c in archive.channels),
        str(archive.grid),
        len(times),
        format_time(times[0]),
        format_time(times[-1]),
        hours(archive.step),
    )
