"""Linear interpolation in time: an observation between two states sees a mixture of both.

With the previous frame p at t_0 and the state x at t_1, an observation at t = t_0 + a (t_1 - t_0) is

    y = a h(x) + (1 - a) h(p)

for an affine h. The previous frame is known before the analysis, so its share is a constant and y stays affine in x;
but it has an error of standard deviation e, and so the observation gets a variance of its own beside its R,

    (1 - a)^2 h(e)^2,

where interpolating the standard deviation takes the errors of neighbouring points for fully correlated: an upper bound.
That the errors of p and of the background of x are correlated too is ignored.

A wave of angular frequency w that is taken for one at t_1 is wrong by up to w (t_1 - t) of its amplitude; interpolated
between the frames, by no more than w^2 (t_1 - t_0)^2 / 8.
"""

__all__ = ["Frames"]

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stormda.operators.interpolate import Affine
from stormda.types import Array


@dataclass(frozen=True, eq=False)
class Frames:
    """The time of the state and, where there is one, a frame before it.

    Args:
        now: time of the state x.
        time: of the previous frame; None: there is none, and every observation sees x as it is.
        values: the previous frame, [C, H, W], physical units.
        error: standard deviation of its error, [C, H, W].
    """

    now: np.datetime64
    time: np.datetime64 | None = None
    values: Array | None = None
    error: Array | None = None

    def fraction(self, times: Array) -> Array:
        """a of each time, float64 [N]: 0 at the previous frame, 1 from `now` on and without a previous frame."""
        if self.time is None:
            return np.ones(len(times))
        second = np.timedelta64(1, "s")
        seconds = (times.astype("datetime64[us]") - self.time) / second
        return np.asarray(np.clip(seconds / ((self.now - self.time) / second), 0.0, 1.0))

    def blend(self, h: Affine, times: Array) -> tuple[Affine, Tensor]:
        """For observations at `times` [N]: the operator of x alone, a h(x) + (1 - a) h(p), and (1 - a)^2 h(e)^2 [N]."""
        a = self.fraction(times)
        variance = torch.zeros(len(a), dtype=torch.float64)
        if self.values is None:
            return h, variance
        if self.error is not None:
            spread = h(torch.as_tensor(self.error, dtype=torch.float64)) - h.offset
            variance = (torch.as_tensor(1.0 - a) * spread) ** 2
        before = h(torch.as_tensor(self.values, dtype=torch.float64)).numpy()
        return h.scaled(a, (1.0 - a) * before), variance
