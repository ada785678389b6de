"""The archive written by several processes: blocks of whole Zarr chunks, which no two processes share.

    this process      arrays of the full length, without data; afterwards the statistics, as of any archive
    each worker       reads the states of a block and writes its chunks

So the archive is the same, byte for byte, as one that a single process has written, and a run that is killed or fails
leaves the old one: the blocks go to the hidden folder that takes its place at the end. Where a block fails, those that
have begun are waited for before that folder is removed, and not cancelled at once: Dask calls a block cancelled whose
worker still writes. Those that have not begun find no group in the folder and end at once. Dask may have no worker any
more to tell of them, so the patience has an end; whoever writes even then does so under a hidden name, which nobody
reads and the next ingest removes.
"""

__all__ = ["Fields", "Workers", "write_archive_blocks"]

from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import suppress
from dataclasses import dataclass
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
_PATIENCE = 60.0  # s, for blocks that have begun when another one failed
_GROUP = "zarr.json"  # what makes a folder a group


@dataclass(frozen=True, eq=False)
class Workers:
    """Where to hand work to.

    Args:
        executor: processes, of this machine or others.
        count: how many there are.
        died: what a result is where the process that was to make it died.
        key, hint: of that error.
    """

    executor: Executor
    count: int
    died: tuple[type[Exception], ...]
    key: str
    hint: str


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
    workers: Workers,
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
        workers: who reads and writes.
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
                while starts and len(running) < _WAITING * workers.count:
                    start = starts.pop(0)
                    block = fields.cut(start, start + size)
                    running[workers.executor.submit(_write, folder, block, start)] = len(block.times)
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    done.result()
                    del running[done]
                left = sum(running.values()) + max(0, len(fields.times) - starts[0] if starts else 0)
                progress("times", len(fields.times) - left, len(fields.times))
        except BaseException as error:
            with suppress(OSError):
                (folder / _GROUP).unlink()
            wait(running, timeout=_PATIENCE)
            for future in running:
                future.cancel()
            wait(running)  # of processes, those that cannot be cancelled: nobody writes when the folder goes
            if isinstance(error, workers.died):
                what = "a process that reads fields died"
                raise InputError(what, file=path, key=workers.key, hint=workers.hint) from error
            raise
        writer.finish(step, harmonics, train, provenance)
    return Archive.open(path)


def _write(folder: Path, fields: Fields, at: int) -> None:
    """In a worker: the states of a block to its place."""
    group = zarr.open_group(folder, mode="r+")  # first: it is not there where the archive is given up
    state = fields.read(0, len(fields.times))
    for c, channel in enumerate(state.channels):
        array = group[channel.name]
        assert isinstance(array, zarr.Array)
        array[at : at + len(state.times)] = state.values[:, c]
