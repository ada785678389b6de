"""New observation files: what lies there and was not read before goes into the store.

A file is known by its size, time of change and number (inode): one that grows, is replaced or is repaired is read
again. One that cannot be read is told of once, and tried again as soon as it changes; it keeps no other out. What is
too little is decided by the source's policy when the values of the window are counted.
"""

__all__ = ["read_new"]

import logging
import os
import stat
from pathlib import Path

import numpy as np

from stormda.config import Config
from stormda.errors import InputError, InputMissing
from stormda.pipeline.inputs import located, texts_of
from stormda.sources.urls import is_url
from stormda.store.ledger import Ledger
from stormda.types import Progress, silent

log = logging.getLogger(__name__)

_TOGETHER = 20  # files between two notes of how far we are: a call that is cut does not begin from the first again


def read_new(config: Config, ledger: Ledger, now: np.datetime64, *, progress: Progress = silent) -> int:
    """Read files that are new at the present time into the store; returns how many were read without trouble.

    Raises:
        OutputError: the run folder cannot be written.
    """
    known, found = ledger.inputs(), _found(config, now)
    new = {
        name: [path for path, signature in files.items() if known.get(f"{name} {path}") != signature]
        for name, files in found.items()
    }
    bad = 0
    for name, paths in new.items():
        for first in range(0, len(paths), _TOGETHER):
            from stormda.pipeline.ingest import ingest_files  # Brings torch, which an idle call does without.

            some = paths[first : first + _TOGETHER]
            wrong = ingest_files(config, {name: some}, now=now, progress=progress)
            for error in wrong.values():
                log.warning("an observation file is left out: %s", error)
            bad += len(wrong)
            ledger.remember({f"{name} {p}": (found[name][p], str(wrong.get(p, ""))) for p in some})
    there = {f"{name} {path}" for name, files in found.items() for path in files}
    if gone := [key for key in known if key not in there]:
        ledger.forget(gone)
    return sum(map(len, new.values())) - bad


def _found(config: Config, now: np.datetime64) -> dict[str, dict[Path, str]]:
    """The files of every source with what tells whether they changed. What is missing is no error here."""
    found: dict[str, dict[Path, str]] = {}
    for name, source in config.observations.sources.items():
        found[name] = {}
        for text in texts_of(config, source, now):
            try:
                paths = located(config, [text], key=f"observations.sources.{name}.files")
            except InputMissing:
                continue
            except InputError as error:  # Of several files one is empty, or a folder.
                paths = [] if is_url(text) else _regular(config, text)
                log.log(logging.WARNING if is_url(text) else logging.DEBUG, "%s", error)
            found[name] |= {path: mark for path in paths if (mark := _signature(path))}
    return found


def _regular(config: Config, text: str) -> list[Path]:
    """The files of a pattern that can be opened and hold something."""
    import glob

    paths = sorted(Path(name) for name in glob.glob(str(config.path(text)), recursive=True))
    return [p for p in paths if p.is_file() and os.access(p, os.R_OK) and p.stat().st_size]


def _signature(path: Path) -> str | None:
    """None for what vanished or is no file: a pipe would be waited for."""
    try:
        found = path.stat()
    except OSError:
        return None
    return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ino}" if stat.S_ISREG(found.st_mode) else None
