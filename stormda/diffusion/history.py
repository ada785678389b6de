"""History: what is known of the past, as a distribution.

Frames of the past reach a prior as their mean *and* the standard deviation of their error, at every channel and
place. A member that took its own past for a fact would use the gain of the one-step error and under-use the
observations, while its spread still matched its error.
"""

__all__ = ["History"]

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stormda.layout import Layout


@dataclass(frozen=True, eq=False)
class History:
    """K frames of standardised fields before the analysis time, `step` apart, oldest first.

    Args:
        mean: [K, C, H, W]; zeros in frames that are missing.
        error: [K, C, H, W], standard deviation of the error of `mean`; ones in frames that are missing.
        mask: bool [K], true where a frame is there.
        covariance: [R, R], error covariance of the newest frame that is there, in the EOF coordinates of the prior,
            where it is known; None: only `error` is.
    """

    mean: Tensor
    error: Tensor
    mask: Tensor
    covariance: Tensor | None = None

    @classmethod
    def none(cls, frames: int, shape: tuple[int, int, int], dtype: torch.dtype = torch.float32) -> "History":
        """No past at all: a cold start."""
        return cls(
            torch.zeros(frames, *shape, dtype=dtype),
            torch.ones(frames, *shape, dtype=dtype),
            torch.zeros(frames, dtype=torch.bool),
        )

    @property
    def age(self) -> int:
        """Of the newest frame that is there, in steps: 1 for the last one; 0 where none is."""
        there = torch.nonzero(self.mask)
        return len(self.mask) - int(there[-1]) if len(there) else 0

    def part(self, layout: Layout) -> "History":
        """What one process holds of it."""
        rows, columns = layout.part((self.mean.shape[-2], self.mean.shape[-1]))
        return replace(self, mean=self.mean[..., rows, columns], error=self.error[..., rows, columns])

    def to(self, dtype: torch.dtype) -> "History":
        """The same in another precision."""
        covariance = None if self.covariance is None else self.covariance.to(dtype)
        return replace(self, mean=self.mean.to(dtype), error=self.error.to(dtype), covariance=covariance)
