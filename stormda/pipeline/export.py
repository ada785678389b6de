"""Stage `export`: observations of the store for others, as IODA v3 NetCDF.

All rows of a time span go out, also those that quality control does not use: their `EffectiveQC` says why.
"""

__all__ = ["ExportResult", "export"]

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stormda import config as configuration
from stormda.config import Config
from stormda.errors import ConfigError, InputMissing
from stormda.observations import QC
from stormda.pipeline import build
from stormda.store.ioda import write_ioda
from stormda.store.provenance import provenance
from stormda.time import Window, format_time


@dataclass(frozen=True)
class ExportResult:
    """A file that was written, and what is in it."""

    file: str
    rows: int
    used: int
    locations: int
    variables: tuple[str, ...]


def export(
    config: Config, path: Path, start: np.datetime64, end: np.datetime64, *, sources: Sequence[str] | None = None
) -> ExportResult:
    """Write the stored observations of (start, end] to a file.

    Args:
        config: the run.
        path: the file; one that is there is replaced.
        start, end: the time span.
        sources: keys of sources; None: all.

    Raises:
        ConfigError: an empty time span, or an unknown source.
        InputMissing: nothing is stored in this span.
        OutputError: the file cannot be written.
    """
    if not start < end:
        raise ConfigError(f"the span {format_time(start)} .. {format_time(end)} is empty", key="--from")
    unknown = [name for name in sources or () if name not in config.observations.sources]
    if unknown:
        known = ", ".join(config.observations.sources)
        raise ConfigError(f"unknown source '{unknown[0]}'", key="--source", hint=f"known: {known}")
    found = build.store(config).read(Window(start, end), sources)
    if len(found) == 0:
        what = f"no observation is stored in {format_time(start)} .. {format_time(end)}"
        raise InputMissing(what, file=config.below_run(config.observations.path), hint="stormda ingest")
    facts = provenance(configuration.dump(config))
    told = {name: str(facts[name]) for name in ("commit", "created", "command", "config_sha256")}
    locations = write_ioda(path, found, {"title": config.name} | told)
    variables = tuple(sorted(set(found["variable"])))
    return ExportResult(str(path), len(found), int((found["qc"] == QC.USED).sum()), locations, variables)
