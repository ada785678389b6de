"""A series of states that lie in files: where each channel of each time is, and how it is read from there.

A series can be sent to another process, whole or a part of it, and read there: each process opens the files that it
needs by itself, and keeps some of them open until it reads another series.
"""

__all__ = ["CHUNK_BYTES", "Entries", "Files", "Part", "Series", "Target", "Targets"]

import atexit
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stormda.config import GriddedSource
from stormda.grid import Grid
from stormda.sources.apart import open_fields
from stormda.sources.fields import Field
from stormda.sources.layers import Layer, layer_of
from stormda.state import State
from stormda.types import Array
from stormda.variables import Channel

CHUNK_BYTES = 32e6
"""Of the states that are read together."""

_OPEN_FILES = 16
_OPEN_SERIES = 4


@dataclass(frozen=True)
class Part:
    """A file and the source that it belongs to."""

    path: Path
    source: GriddedSource
    key: str


@dataclass(eq=False)
class Entries:
    """Where a channel is: times [n] in order, the part and the entry within it of each."""

    times: Array
    part: Array
    entry: Array

    def at(self, times: Array) -> "Entries":
        """Those of some times, which are all there."""
        index = np.searchsorted(self.times, times)
        return Entries(times, self.part[index], self.entry[index])


class Files:
    """Layers of files, a few of which are kept open."""

    def __init__(self, parts: Sequence[Part], channels: Sequence[Channel]) -> None:
        self._parts, self._channels = parts, channels
        self._open: OrderedDict[int, tuple[ExitStack, dict[Channel, Layer], list[Field]]] = OrderedDict()

    def __enter__(self) -> "Files":
        return self

    def __exit__(self, *_: object) -> None:
        while self._open:
            self._open.popitem()[1][0].close()

    def layers(self, number: int) -> dict[Channel, Layer]:
        """The layers of part `number`."""
        return self._get(number)[1]

    def fields(self, number: int) -> list[Field]:
        """All that part `number` has."""
        return self._get(number)[2]

    def _get(self, number: int) -> tuple[ExitStack, dict[Channel, Layer], list[Field]]:
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        if len(self._open) >= _OPEN_FILES:
            self._open.popitem(last=False)[1][0].close()
        part = self._parts[number]
        with ExitStack() as stack:
            fields = stack.enter_context(open_fields(part.path, part.source, part.key))
            found = {c: layer_of(c, fields, part.source, part.key) for c in self._channels}
            layers = {c: layer for c, layer in found.items() if layer is not None}
            self._open[number] = (stack.pop_all(), layers, fields)
        return self._open[number]

    def read(self, channel: Channel, where: Entries, targets: "Targets") -> Array:
        """The fields of a channel at all of `where`, [T, H, W] on the common grid."""
        breaks = np.flatnonzero((np.diff(where.part) != 0) | (np.diff(where.entry) != 1)) + 1
        runs = np.split(np.arange(len(where.times)), breaks)
        blocks = []
        for run in runs:
            number, first = int(where.part[run[0]]), int(where.entry[run[0]])
            x = self.layers(number)[channel].read(first, first + len(run))
            blocks.append(targets[number, channel].take(x))
        return np.concatenate(blocks)


@dataclass(frozen=True, eq=False)
class Target:
    """How a file's points become those of the common grid: rows and columns to take, None for all as they are."""

    rows: Array | None = None
    columns: Array | None = None

    def take(self, x: Array) -> Array:
        """Fields [T, H, W] of the file, on the common grid."""
        if self.rows is not None:
            x = x[:, self.rows]
        return x if self.columns is None else x[:, :, self.columns]


Targets = dict[tuple[int, Channel], Target]


@dataclass(frozen=True, eq=False)
class Series:
    """States of successive times that can be read in any order, also in another process.

    Args:
        channels: in the order of the states.
        grid: of all of them.
        times: datetime64[s] [T], rising.
    """

    channels: tuple[Channel, ...]
    grid: Grid
    times: Array
    _parts: Sequence[Part]
    _entries: tuple[Entries, ...]
    _targets: Targets
    _name: str

    def read(self, start: int, stop: int) -> State:
        """The states at positions start..stop-1 of `times`."""
        if self._name not in _open:
            while len(_open) >= _OPEN_SERIES:
                _open.popitem(last=False)[1].__exit__()
            _open[self._name] = Files(self._parts, self.channels)
        times, files = self.times[start:stop], _open[self._name]
        entries = zip(self.channels, self._entries, strict=True)
        values = np.stack([files.read(c, e.at(times), self._targets) for c, e in entries], axis=1)
        return State(values, self.channels, self.grid, times)

    def cut(self, start: int, stop: int) -> "Series":
        """The positions start..stop-1 alone: little to send to another process."""
        times = self.times[start:stop]
        entries = tuple(e.at(times) for e in self._entries)
        needed = {(int(n), c) for c, e in zip(self.channels, entries, strict=True) for n in np.unique(e.part)}
        targets = {key: self._targets[key] for key in needed}
        return replace(self, times=times, _entries=entries, _targets=targets)

    @contextmanager
    def using(self, files: "Files") -> Iterator["Series"]:
        """Read through these open files, in this process."""
        _open[self._name] = files
        try:
            yield self
        finally:
            _open.pop(self._name, None)

    @property
    def size(self) -> int:
        """Times that are read together: about 32 MB."""
        return max(1, int(CHUNK_BYTES / (4 * len(self.channels) * self.grid.shape[0] * self.grid.shape[1])))


_open: OrderedDict[str, Files] = OrderedDict()  # of this process, by series


@atexit.register
def _close() -> None:
    while _open:
        _open.popitem()[1].__exit__()
