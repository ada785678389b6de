"""Two denoisers that learned from the same draws, compared on the same draws of a later period.

Losses are those of the training (`denoising_error`: units of what the linear-Gaussian guess leaves). With a_i and b_i
those of the sample i, which both see with the same noise and the same past, the ratio and its standard error (delta
method; Cochran 1977, Sampling Techniques, section 2.11) are

    r = sum_i a_i / sum_i b_i        se(r)^2 = var_i(a_i - r b_i) / (n mean(b)^2)

and for the mean over noise levels the variances of the levels add up. Because they share what is hard about a sample,
a_i - r b_i is small and a ratio known much better than either loss. The error is that of the choice of samples and
noise, not that of another seed of the training.

Reach is the median gradient norm of the network's answer between tokens more than half of the largest distance apart
(`stormda.nn.reach`), at the same states, tokens and signs.
"""

__all__ = ["Comparison", "Loss", "Reach", "compare"]

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from stormda.diffusion.denoise import EDM
from stormda.errors import InputError
from stormda.nn import reach as jacobian
from stormda.nn.storm import Storm
from stormda.training.data import Batch, Sampler
from stormda.training.loss import NoiseDensity, denoising_error, draw_noise
from stormda.types import Progress, silent

_LEVELS = 8
_REACH_AT = (0.3, 1.0, 3.0)  # noise levels, climatological standard deviations
_BATCH = 16


@dataclass(frozen=True)
class Loss:
    """Of a model and of the reference at one noise level (None: the mean over levels), with a past or without."""

    sigma: float | None
    past: bool
    loss: float
    reference: float
    ratio: float
    error: float


@dataclass(frozen=True)
class Reach:
    """Median gradient norms between far tokens and between the others, of a model and of the reference."""

    sigma: float
    far: float
    far_reference: float
    near: float
    near_reference: float

    @property
    def share(self) -> float:
        """Far, of the reference's."""
        return self.far / self.far_reference if self.far_reference else math.inf

    @property
    def near_share(self) -> float:
        """The others, of the reference's."""
        return self.near / self.near_reference if self.near_reference else math.inf


@dataclass(frozen=True)
class Comparison:
    """The mean loss with a past first, then level by level."""

    losses: tuple[Loss, ...]
    reach: tuple[Reach, ...]


def compare(
    model: EDM,
    reference: EDM,
    sampler: Sampler,
    density: NoiseDensity,
    weights_HW: Tensor,
    *,
    samples: int = 64,
    asked: int = 16,
    members: int = 4,
    seed: int = 0,
    progress: Progress = silent,
) -> Comparison:
    """Losses and reach of a model beside those of a reference.

    Args:
        model, reference: denoisers of the same state.
        sampler: of a period that neither has learned from, without dropout.
        density: of the noise levels of the training.
        weights_HW: area weights, mean 1.
        samples: a level.
        asked, members: tokens whose answer is looked at, and states.
        seed: of all draws.
        progress: told about noise levels.

    Raises:
        InputError: a grid so small that no tokens are far apart.
    """
    device = sampler.series.fields.device
    g = torch.Generator(device).manual_seed(seed + 4242)
    pair = (model, reference)
    rows: list[Loss] = []
    known_pairs: list[tuple[Tensor, Tensor]] = []
    for done, sigma in enumerate(density.levels(_LEVELS).tolist()):
        progress("comparing losses", done, _LEVELS)
        batch = sampler.draw(samples, g)
        noise = draw_noise(batch, g)
        for past, known in ((True, batch), (False, batch.forgotten())):
            a, b = (_errors(edm, known, sigma, noise, weights_HW) for edm in pair)
            rows.append(_loss(sigma, past, (a, b)))
            known_pairs += [(a, b)] if past else []
    overall = _loss(None, True, *known_pairs)
    reach = []
    for done, sigma in enumerate(_REACH_AT):
        progress("comparing reach", done, len(_REACH_AT))
        batch = sampler.draw(members, g)
        noise = draw_noise(batch, g)
        far, near = zip(*(_medians(edm, batch, sigma, noise, asked, seed) for edm in pair), strict=True)
        reach.append(Reach(sigma, *far, *near))
    return Comparison((overall, *rows), tuple(reach))


def _errors(edm: EDM, batch: Batch, sigma: float, noise: Tensor, weights_HW: Tensor) -> Tensor:
    """Loss of each sample [B]."""
    found = []
    with torch.no_grad():
        for first in range(0, len(batch.x), _BATCH):
            part = slice(first, first + _BATCH)
            some = batch.cut(part)
            level = torch.full((len(some.x),), sigma, device=some.x.device)
            found.append(denoising_error(edm, some, level, noise[part], weights_HW))
    return torch.cat(found).double()


def _loss(sigma: float | None, past: bool, *pairs: tuple[Tensor, Tensor]) -> Loss:
    """Of the samples of a level, or of several, each with equally many."""
    a_LB, b_LB = (torch.stack(part) for part in zip(*pairs, strict=True))
    ratio = float(a_LB.sum() / b_LB.sum())
    around = (a_LB - ratio * b_LB).var(dim=1) if a_LB.shape[1] > 1 else torch.full((len(a_LB),), math.nan)
    error = (around / a_LB.shape[1]).sum().sqrt() / len(a_LB) / b_LB.mean()
    return Loss(sigma, past, float(a_LB.mean()), float(b_LB.mean()), ratio, float(error))


def _medians(edm: EDM, batch: Batch, sigma: float, noise: Tensor, asked: int, seed: int) -> tuple[float, float]:
    """Of norms between far tokens, and between the others."""
    network = edm.network
    assert isinstance(network, Storm)
    level = torch.full((len(batch.x),), sigma, device=batch.x.device)
    x_t = batch.x + sigma * noise
    known = batch.mean, batch.error, batch.mask, batch.forcing
    state_BPCHW, *rest = jacobian.inputs_of(edm, network, x_t, level, *known)
    g = torch.Generator().manual_seed(seed)
    far, near = jacobian.reach(lambda x: network(x, *rest), state_BPCHW, network.patches, asked=asked, generator=g)
    if not far.numel():
        raise InputError("the grid is too small: no tokens are far apart")
    return float(far.median()), float(near.median())
