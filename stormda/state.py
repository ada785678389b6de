"""State: gridded fields in physical units, with the names of their axes."""

__all__ = ["State"]

from dataclasses import dataclass

import numpy as np

from stormda.errors import InputError
from stormda.grid import Grid
from stormda.types import Array
from stormda.variables import Channel


@dataclass(frozen=True, eq=False)
class State:
    """Fields of several channels on one grid, at several times or of several members.

    Args:
        values: physical units, float, [S, C, H, W]; S counts times or members.
        channels: C channels, in the order of the axis.
        grid: H x W points.
        times: valid time of each entry of S, datetime64[s] [S]; one time for members of an ensemble.

    Raises:
        InputError: shapes that do not fit, or a value that is not finite (the message says which channel and time).
    """

    values: Array
    channels: tuple[Channel, ...]
    grid: Grid
    times: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "times", np.atleast_1d(np.asarray(self.times, dtype="datetime64[s]")))
        if self.values.ndim != 4 or self.values.shape[1:] != (len(self.channels), *self.grid.shape):
            raise InputError(
                f"a state of shape {self.values.shape} does not fit {len(self.channels)} channels on {self.grid.shape}"
            )
        if self.times.size not in (1, self.values.shape[0]):
            raise InputError(f"{self.times.size} times for {self.values.shape[0]} entries")
        bad = ~np.isfinite(self.values)
        if bad.any():
            s, c = np.argwhere(bad)[0][:2]
            time = self.times[s if self.times.size > 1 else 0]
            raise InputError(f"{int(bad.sum())} values are not finite, first in {self.channels[c]} at {time}Z")

    def channel(self, name: str) -> Array:
        """The fields of one channel, [S, H, W]."""
        return np.asarray(self.values[:, [c.name for c in self.channels].index(name)])
