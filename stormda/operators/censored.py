"""No rain: an observation that says `not more than c`, in an analysis that knows only numbers with Gaussian errors.

A gauge that stays dry, a radar without an echo: the value was below a threshold c, and that is all. If the instrument
would have measured h(x) + e with e ~ N(0, r^2), the likelihood of the state is that of a *censored* observation (Tobin
1958, https://doi.org/10.2307/1907382),

    p(y <= c | x) = Phi((c - h(x)) / r)            Phi: the normal distribution function

flat where the state is dry, and the same pull as an ordinary value where it rains much. Taken for a value c with a
Gaussian error it would pull every drier state up to c: it would make drizzle.

Guidance and filters want a Gaussian, exp(-(y - H(x))^2 / 2 r^2). Every likelihood that is at most 1 can be written so
*exactly*, with an operator that is the root of its logarithm: with y the value of the row, whatever it is,

    H(x) = y + r g(t),   t = (h(x) - c) / r,   g(t) = sqrt(-2 log Phi(-t))

    -(y - H)^2 / 2 r^2 = -g^2 / 2 = log Phi(-t)

g is smooth and increases: nearly 0 for a dry state, 1.18 at the threshold, t + O(log t / t) for rain. Its slope, from 0
to 1, tells a linearisation how much the observation has to say. So value and error of the row stay as they are, and
only H differs. The feedback file shows H(x) of the censored operator: `o - b` of a dry member is 0, not y - h.

Two things make it approximate: a variance that is added to that of the row (interpolation in time), and errors that are
correlated between rows.
"""

__all__ = ["Censored"]

from dataclasses import dataclass

import torch
from torch import Tensor

from stormda.operators.base import Operator
from stormda.types import Array

_FLAT = -5.0  # below, g < 8e-4: what a linearisation cannot tell from 0, and where its slope would be 0 / 0


@dataclass(frozen=True, eq=False)
class Censored:
    """N observations of which only is known that they do not exceed a threshold.

    Args:
        operator: h, what would have been measured, N rows.
        value: y, of the rows, float64 [N].
        threshold: c, float64 [N].
        error: r, standard deviation, float64 [N].
    """

    operator: Operator
    value: Tensor
    threshold: Tensor
    error: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """x [..., C, H, W] -> y + r g(t) [..., N]."""
        h = self.operator(x)
        y, c, r = (t.to(device=h.device, dtype=h.dtype) for t in (self.value, self.threshold, self.error))
        t = (h - c) / r
        flat = t < _FLAT
        logarithm = torch.special.log_ndtr(-torch.where(flat, _FLAT, t))
        return y + r * torch.where(flat, 0.0, (-2.0 * logarithm).sqrt())

    def __len__(self) -> int:
        return len(self.threshold)

    def subset(self, keep: Array) -> "Censored":
        """The rows where `keep`, bool [N], is true."""
        rows = torch.as_tensor(keep)
        return Censored(self.operator.subset(keep), self.value[rows], self.threshold[rows], self.error[rows])
