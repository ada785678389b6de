"""Wind speed: s = sqrt(u^2 + v^2) of the interpolated components, the first nonlinear operator.

Components themselves are channels like any other (`u10`, `v850`) and need no operator of their own. The gradient of s
is the unit vector (u, v) / s; at s = 0, a kink, it is taken as zero, the smallest subgradient, so that a calm never
spoils an analysis with 0/0.
"""

__all__ = ["COMPONENTS", "WindSpeed"]

from dataclasses import dataclass

import torch
from torch import Tensor

from stormda.operators.interpolate import Affine
from stormda.types import Array

COMPONENTS = {"ws10": ("u10", "v10"), "ws": ("u", "v")}
"""The variables whose speed a variable is."""


@dataclass(frozen=True, eq=False)
class WindSpeed:
    """Speed of the wind whose components are `u` and `v`, affine in the state, N rows each."""

    u: Affine
    v: Affine

    def __call__(self, x: Tensor) -> Tensor:
        """x [..., C, H, W] -> speed [..., N] in m s-1."""
        square = self.u(x) ** 2 + self.v(x) ** 2
        calm = square == 0
        return torch.where(calm, 0.0, torch.where(calm, 1.0, square).sqrt())

    def __len__(self) -> int:
        return len(self.u)

    def subset(self, keep: Array) -> "WindSpeed":
        """The rows where `keep`, bool [N], is true."""
        return WindSpeed(self.u.subset(keep), self.v.subset(keep))
