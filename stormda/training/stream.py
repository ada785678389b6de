"""Training data larger than memory: windows of neighbouring times, shuffled, read ahead of the training.

Archives are stored in chunks of neighbouring times, and a sample needs its history, so single random times would read
everything many times over. The times are cut into windows of whole chunks; each pass goes through all windows in an
order of its own; a handful of them at a time are read, with the frames of history before them, into a `Series` from
which batches are drawn as from any other, while a thread reads the next handful. Which windows belong to a step
follows from its number and the seed alone, so that a training that was killed goes on with the same batches.

Half of the memory allowed is for the two handfuls; a quarter for the windows, spread evenly over all times, that
climate and linear-Gaussian guess are estimated from before training begins; a quarter is left for validation.
"""

__all__ = ["Reader", "Stream", "spread"]

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from torch import Tensor

from stormda.errors import ConfigError
from stormda.training.data import Series
from stormda.types import Array

_SHARE = 4  # parts of the memory
_WINDOWS = 16  # in a handful, where memory allows: enough to be mixed well
_HISTORIES = 8  # a window is so many times longer than the history that is read besides, where memory allows


class Reader(Protocol):
    """Standardised fields [T, C, H, W] on a disk."""

    @property
    def times(self) -> Array:
        """[T], datetime64, rising."""

    @property
    def step(self) -> np.timedelta64:
        """The distance of history frames."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""

    @property
    def chunks(self) -> Array:
        """Number of the stored chunk that each time is in [T], rising."""

    @property
    def identity(self) -> str:
        """Tells these fields from others."""

    def read(self, index: Array) -> Tensor:
        """The fields at some times [n, C, H, W], float32."""


@dataclass(eq=False)
class Stream:
    """Fields of a reader, a handful of windows at a time.

    Args:
        reader: all its times are learned.
        frames: K.
        batch: samples a step.
        memory: bytes of fields to hold at once.
        seed: of the order of windows.

    Raises:
        ConfigError: the memory does not hold a few fields.
    """

    reader: Reader
    frames: int
    batch: int
    memory: float
    seed: int
    _now: tuple[int, Series] | None = field(default=None, init=False)
    _ahead: tuple[int, "Future[Series]"] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        size = _capacity(self.reader, self.memory, self.frames)
        self._windows = _windows(self.reader, size, self.frames)
        length = len(self.reader.times) / len(self._windows)
        self._together = max(1, int(size / (length + self.frames)))
        self._steps = max(1, round(self._together * length / self.batch))

    @property
    def times(self) -> Array:
        """Of the reader."""
        return self.reader.times

    @property
    def step(self) -> np.timedelta64:
        """Of the reader."""
        return self.reader.step

    @cached_property
    def targets(self) -> Array:
        """All times."""
        return np.arange(len(self.times))

    def sample(self) -> Series:
        """Windows spread evenly over all times."""
        return spread(self.reader, self.memory, self.frames)

    def at(self, number: int) -> Series:
        """The handful that a step draws from; the next one is being read when this returns."""
        handful = number // self._steps
        if self._now is None or self._now[0] != handful:
            if self._ahead is None or self._ahead[0] != handful:
                self._ahead = handful, self._submit(handful)
            self._now = handful, self._ahead[1].result()
            self._ahead = handful + 1, self._submit(handful + 1)
        return self._now[1]

    def digest(self) -> str:
        """A hash of what the reader says it is, its times, and how they are handled."""
        cut = f"{self.reader.identity} {len(self._windows)} {self._together} {self.batch}".encode()
        return hashlib.sha256(cut + self.times.tobytes()).hexdigest()[:12]

    def _submit(self, handful: int) -> "Future[Series]":
        """Read in a thread that ends when it is done."""
        pool = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        future = pool.submit(self._load, handful)
        pool.shutdown(wait=False)
        return future

    def _load(self, handful: int) -> Series:
        numbers = range(handful * self._together, (handful + 1) * self._together)
        count = len(self._windows)
        passes = {n // count for n in numbers}
        orders = {p: np.random.default_rng([self.seed, p]).permutation(count) for p in passes}
        chosen = {
            int(orders[n // count][n % count]) for n in numbers
        }  # A window at the end of one pass may come again.
        return _assemble(self.reader, [self._windows[w] for w in sorted(chosen)], self.frames)


def spread(reader: Reader, memory: float, frames: int) -> Series:
    """Windows spread evenly over all times of a reader, in a quarter of the memory.

    Raises:
        ConfigError: the memory does not hold a few fields.
    """
    size = _capacity(reader, memory, frames)
    windows = _windows(reader, size, frames)
    count = max(1, int(size / (len(reader.times) / len(windows) + frames)))
    chosen = np.unique(np.linspace(0, len(windows) - 1, min(count, len(windows))).round().astype(int))
    return _assemble(reader, [windows[w] for w in chosen], frames)


def _capacity(reader: Reader, memory: float, frames: int) -> int:
    """Fields in a quarter of the memory."""
    field_bytes = 4 * int(np.prod(reader.shape))
    count, least = int(memory / _SHARE / field_bytes), 4 * (frames + 1)
    if count < least:
        needed = _SHARE * least * field_bytes / 2**20
        raise ConfigError(
            f"the memory for training holds {count} fields four times, {least} are the least",
            key="train.memory",
            hint=f"train.memory={int(needed) + 1}",
        )
    return count


def _windows(reader: Reader, size: int, frames: int) -> list[Array]:
    """Indices of the times of each window: whole chunks, so many that a window suits the memory and its history."""
    times, chunks = len(reader.times), reader.chunks
    wanted = max(size // _WINDOWS, min(size // 4, _HISTORIES * frames))
    together = max(1, int(wanted * len(np.unique(chunks)) / times))
    return np.split(np.arange(times), np.flatnonzero(np.diff(chunks // together)) + 1)


def _assemble(reader: Reader, windows: list[Array], frames: int) -> Series:
    """The times of some windows as targets, and the history before them, as far as the reader has it."""
    targets = np.concatenate(windows)
    wanted = (reader.times[targets][:, None] - reader.step * np.arange(frames, 0, -1)).ravel()
    place = np.minimum(np.searchsorted(reader.times, wanted), len(reader.times) - 1)
    index = np.union1d(targets, place[reader.times[place] == wanted])
    return Series(reader.read(index), reader.times[index], reader.step, np.searchsorted(index, targets))
