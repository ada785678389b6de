"""Several times as one state: the Gaussian prior of a window of L frames.

With the coordinates a_k = G a_{k-1} + q_k of the linear inverse model, the frames of a window are jointly Gaussian:

    Cov(a_k, a_k) = P_k = G P_{k-1} G^T + Q_k,      Cov(a_{k+n}, a_k) = G^n P_k

What the EOFs leave out has no memory. So L frames of C channels are one field of L C channels with a `Gaussian` whose
modes are L copies of the EOFs, one a frame; and whatever draws an analysis, in closed form or by reverse diffusion,
draws all frames of the window at once, given the observations of all of them: the fixed-interval smoother (Rauch, Tung
and Striebel 1965, https://doi.org/10.2514/3.3166).
"""

__all__ = ["Window"]

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stormda.assimilation.prior import GaussianPrior
from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.history import History
from stormda.types import Denoise, Mapping2


class Window:
    """The prior of L frames given the history before them; see the protocol `Prior`.

    Args:
        base: the prior of one frame.
        history: before the first frame.
        times: of the frames, one step of `base` apart.
    """

    def __init__(self, base: GaussianPrior, history: History, times: Sequence[np.datetime64]) -> None:
        self.base = base
        self.channels = base.channels * len(times)
        self.grid, self.normaliser, self.frames, self.step = base.grid, base.normaliser, base.frames, base.step
        self.sigma_max = base.sigma_max * len(times) ** 0.5  # frames that are all alike
        self.gaussian = _joint(base, history, times)

    @property
    def modes(self) -> Tensor:
        """L copies of the EOFs, [L R, L C H W]."""
        return self.gaussian.modes

    @property
    def signature(self) -> str | None:
        """Nothing is carried: the next analysis starts from that of the filter."""
        return None

    def linear(self, history: History, time: np.datetime64) -> Gaussian:
        """All of it; history and time are those of the window."""
        return self.gaussian

    def share(self, history: History, sigma: float) -> float:
        """All of it."""
        return 1.0

    def denoiser(self, history: History, time: np.datetime64) -> Denoise:
        """The Wiener filter."""
        return self.gaussian.denoise

    def carry(
        self, history: History, time: np.datetime64, operator: Mapping2, y: Tensor, variance: Tensor
    ) -> Tensor | None:
        """Nothing."""
        return None


def _joint(base: GaussianPrior, history: History, times: Sequence[np.datetime64]) -> Gaussian:
    first = base.linear(history, times[0])
    shape, g = first.mean.shape, base.propagator.double()
    count, size = base.modes.shape
    means = [first.mean]
    covariance = torch.zeros(len(times) * count, len(times) * count, dtype=torch.float64)
    covariance[:count, :count] = first.covariance
    known = torch.ones(1, dtype=torch.bool)
    for k, time in enumerate(times[1:], start=1):
        last, here = (slice((k - n) * count, (k - n + 1) * count) for n in (1, 0))
        past = History(means[-1][None], torch.ones_like(means[-1][None]), known, covariance[last, last])
        one_step = base.linear(past, time)
        means.append(one_step.mean)
        covariance[here, : k * count] = g @ covariance[last, : k * count]
        covariance[: k * count, here] = covariance[here, : k * count].T
        covariance[here, here] = one_step.covariance
    modes = torch.zeros(len(times) * count, len(times) * size, dtype=torch.float64)
    for k in range(len(times)):
        modes[k * count : (k + 1) * count, k * size : (k + 1) * size] = base.modes
    mean = torch.stack(means).reshape(len(times) * shape[0], *shape[1:])
    return Gaussian(mean, modes, covariance, base.residual)
