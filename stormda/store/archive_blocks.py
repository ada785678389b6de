"""The archive written by several processes: blocks of whole Zarr chunks, which no two processes share.

    this process      arrays of the full length, without data; afterwards the statistics, as of any archive
    each worker       reads the states of a block and writes its chunks

So the archive is the same, byte for byte, as one that a single process has written, and a run that is killed or fails
leaves the old one: the blocks go to the hidden folder that takes its place at the end.
"""

__all__ = ["Fields", "write_archive_blocks"]

from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import zarr

from stormda.config import Harmonics, Period
from stormda.errors import InputError
from stormda.grid import Grid
from stormda.state import State
from stormda.store.archive import Archive, ArchiveWriter
from stormda.store.publish import atomic_folder
from stormda.types import Array, Progress, silent
from stormda.variables import Channel

_WAITING = 3  # blocks handed out at once, a worker: what is sent ahead costs memory


class Fields(Protocol):
    """States of many times, which can be sent to another process."""

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Of every state."""

    @property
    def grid(self) -> Grid:
        """Of every state."""

    @property
    def times(self) -> Array:
        """datetime64[s] [T], rising."""

    @property
    def size(self) -> int:
        """Times that are best read together."""

    def cut(self, start: int, stop: int) -> "Fields":
        """Some of the times."""

    def read(self, start: int, stop: int) -> State:
        """The states at some of the times."""


def write_archive_blocks(
    path: Path,
    fields: Fields,
    workers: Executor,
    count: int,
    *,
    step: np.timedelta64,
    harmonics: Harmonics,
    train: Period | None,
    provenance: Mapping[str, Any],
    progress: Progress = silent,
) -> Archive:
    """As `write_archive`, by workers.

    Args:
        path: its folder, which the workers see under the same name.
        fields: the states.
        workers: processes, of this machine or others.
        count: how many there are.
        step, harmonics, train, provenance: as of `write_archive`.
        progress: told about the times.

    Raises:
        InputError: as `write_archive`, what reading finds, or a worker that died.
        OutputError: no room, no permission. An archive that was there is as it was.
    """
    with atomic_folder(path) as folder:
        folder = folder.absolute()
        writer = ArchiveWriter(zarr.open_group(folder, mode="w"))
        length = writer.reserve(fields.channels, fields.grid, fields.times)
        size = max(1, fields.size // length) * length
        starts = list(range(0, len(fields.times), size))
        running: dict[Future[None], int] = {}
        try:
            while starts or running:
                while starts and len(running) < _WAITING * count:
                    start = starts.pop(0)
                    block = fields.cut(start, start + size)
                    running[workers.submit(_write, folder, block, start)] = len(block.times)
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    _finished(done, path)
                    del running[done]
                left = sum(running.values()) + max(0, len(fields.times) - starts[0] if starts else 0)
                progress("times", len(fields.times) - left, len(fields.times))
        except BaseException:
            for future in running:
                future.cancel()
            wait(running)  # nobody writes any more when the folder goes
            raise
        writer.finish(step, harmonics, train, provenance)
    return Archive.open(path)


def _write(folder: Path, fields: Fields, at: int) -> None:
    """In a worker: the states of a block to its place."""
    state = fields.read(0, len(fields.times))
    group = zarr.open_group(folder, mode="r+")
    for c, channel in enumerate(state.channels):
        array = group[channel.name]
        assert isinstance(array, zarr.Array)
        array[at : at + len(state.times)] = state.values[:, c]


def _finished(future: Future[None], path: Path) -> None:
    try:
        future.result()
    except BrokenProcessPool as error:
        hint = "a damaged file, or too little memory: ingest.processes=1 tells which file it is"
        raise InputError("a process that reads fields died", file=path, key="ingest.processes", hint=hint) from error
