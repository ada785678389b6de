"""The archive as training data: standardised fields in memory, or read from the disk while training goes on."""

__all__ = ["ArchiveReader", "training_data"]

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stormda.store.archive import Archive
from stormda.training.data import Data, Series
from stormda.training.stream import Stream, spread
from stormda.types import Array

_PIECE = 64e6  # bytes of float64 that are standardised at once


@dataclass(frozen=True, eq=False)
class ArchiveReader:
    """Some times of an archive.

    Args:
        archive: open for reading.
        positions: of the times [T], rising.
    """

    archive: Archive
    positions: Array

    @property
    def times(self) -> Array:
        """[T], datetime64, rising."""
        return self.archive.times[self.positions]

    @property
    def step(self) -> np.timedelta64:
        """The step of the archive."""
        return self.archive.step

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return len(self.archive.channels), *self.archive.grid.shape

    @property
    def chunks(self) -> Array:
        """Zarr chunk of each time [T]."""
        return self.positions // self.archive.chunk

    @property
    def size(self) -> int:
        """Bytes of all fields."""
        return 4 * len(self.positions) * int(np.prod(self.shape))

    @property
    def identity(self) -> str:
        """A hash of the climatology, which is fitted to every field that is learned."""
        arrays = self.archive.normaliser.arrays().values()
        return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()

    def read(self, index: Array) -> Tensor:
        """Standardised fields [n, C, H, W], float32; raises InputError where the archive is damaged."""
        out = torch.empty(len(index), *self.shape)
        piece = max(1, int(_PIECE / (8 * np.prod(self.shape))))
        for start in range(0, len(index), piece):
            at = self.positions[index[start : start + piece]]
            values = self.archive.normaliser.encode(self.archive.read(at).values, self.archive.times[at])
            out[start : start + piece] = torch.as_tensor(values)
        return out

    def all(self) -> Series:
        """Everything, in memory; history comes from among the times, so that nothing held back leaks."""
        every = np.arange(len(self.positions))
        return Series(self.read(every), self.times, self.step, every)


def training_data(
    archive: Archive, learn: Array, check: Array, *, memory: float, frames: int, batch: int, seed: int
) -> tuple[Data, Series]:
    """Training and validation data of an archive.

    Args:
        archive: open for reading.
        learn, check: positions of their times.
        memory: MiB of fields to hold at once; where all are more, training reads windows while it goes on, and
            validation uses windows that are spread evenly.
        frames, batch, seed: of the training.

    Raises:
        ConfigError: the memory does not hold a few fields.
        InputError: the archive is damaged.
    """
    train, validation = ArchiveReader(archive, learn), ArchiveReader(archive, check)
    allowed = memory * 2**20
    if train.size + validation.size <= allowed:
        return train.all(), validation.all()
    held = validation.all() if validation.size <= allowed / 4 else spread(validation, allowed, frames)
    return Stream(train, frames, batch, allowed, seed), held
