"""One-step ensembles at validation: is the network's distribution sharp, and as wide as its error?

Members are drawn with few steps of DPM-Solver++ 2M. They begin at the noise level where nothing of the state is left,
as the linear-Gaussian guess knows it: five standard deviations of its leading direction given the history, which is far
below that of the climate. They end at a tenth of the spread of a point. In a linear-Gaussian world ten steps give 4 %
too much spread, 24 steps 1 %, with history and without.

    CRPS, fair   mean_i |x_i - y| - sum_i (2 i - M - 1) x_(i) / (M (M - 1)),  x_(1) <= ... <= x_(M)
    spread/skill sqrt(mean (1 + 1/M) s^2) / sqrt(mean (y - xbar)^2)

are those of `stormda.metrics.probabilistic` (Ferro 2014, https://doi.org/10.1002/qj.2270; Fortin et al. 2014,
https://doi.org/10.1175/JHM-D-14-0008.1), averaged over cases and places.
"""

__all__ = ["crps_fair", "draw_members", "ensemble_scores"]

import torch
from torch import Tensor

from stormda.diffusion.denoise import EDM
from stormda.diffusion.guess import Guess
from stormda.diffusion.noise import karras
from stormda.diffusion.sample.dpm2m import dpm2m
from stormda.training.data import Batch

STEPS = 10
_ABOVE, _BELOW = 5.0, 0.1  # first and last noise level, in standard deviations of the guess


def draw_members(model: EDM, case: Batch, noise_MCHW: Tensor, sigma: tuple[float, float], steps: int = STEPS) -> Tensor:
    """Members [M, C, H, W] of p(x | history) of one sample.

    Args:
        model: the denoiser.
        case: a batch of one.
        noise_MCHW: standard normal.
        sigma: smallest and largest noise level of the training.
        steps: calls of the denoiser a member.
    """

    def denoise(x_BCHW: Tensor, level: Tensor) -> Tensor:
        d: Tensor = model(x_BCHW, level.to(x_BCHW).reshape(1), *case.told)[0]
        return d

    low, high = _range(model.guess(case.mean, case.error, case.mask), sigma)
    return dpm2m(denoise, noise_MCHW, karras(low, high, steps))


def _range(guess: Guess, sigma: tuple[float, float]) -> tuple[float, float]:
    """The noise levels between which a state with this guess is decided."""
    low, high = sigma
    point = float(guess.variance.mean().sqrt())
    low = min(max(low, _BELOW * point), high / 2)
    if len(guess.modes):
        leading = float(torch.linalg.eigvalsh(guess.covariance[0])[-1])
        high = min(high, _ABOVE * max(leading, float(guess.beside.amax())) ** 0.5)
    return low, max(high, 2 * low)


def crps_fair(members_MX: Tensor, truth_X: Tensor) -> Tensor:
    """Fair CRPS of every value, of the shape of the truth; M >= 2."""
    m = len(members_MX)
    ordered = (members_MX - truth_X).sort(dim=0).values
    rank = torch.arange(1, m + 1, device=ordered.device, dtype=ordered.dtype).view(-1, *[1] * truth_X.ndim)
    error: Tensor = ordered.abs().mean(dim=0) - ((2 * rank - m - 1) * ordered).sum(dim=0) / (m * (m - 1))
    return error


def ensemble_scores(members_BMCHW: Tensor, truth_BCHW: Tensor, weights_HW: Tensor) -> tuple[Tensor, Tensor]:
    """Fair CRPS and spread/skill of each channel [C], averaged over cases and places."""
    m = members_BMCHW.shape[1]
    places = (0, 2, 3)
    crps = crps_fair(members_BMCHW.transpose(0, 1), truth_BCHW)
    variance = (1 + 1 / m) * members_BMCHW.var(dim=1)
    error = (members_BMCHW.mean(dim=1) - truth_BCHW).square()
    spread, skill = ((f * weights_HW).mean(dim=places) for f in (variance, error))
    return (crps * weights_HW).mean(dim=places), (spread / skill).sqrt()
