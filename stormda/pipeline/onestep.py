"""How good a prior is by itself: its mean forecast of one step from the true past, without observations."""

__all__ = ["one_step_errors"]

import numpy as np
import torch

from stormda.assimilation.prior import Prior
from stormda.diffusion.history import History
from stormda.pipeline.worlds import World
from stormda.random import normal, stream
from stormda.time import format_time
from stormda.types import Array

_ERROR = 0.01  # of the past, in climatological standard deviations: as good as known
_DRAWS = 4  # of noise at the highest level, where the denoised state hardly depends on it


def one_step_errors(prior: Prior, world: World, first: int) -> Array:
    """Squared errors averaged by area, by time and channel, [T - first, C], for the world's times from `first` on.

    In physical units. The forecast is the denoised state at the highest noise level, E[x | history]: frames of history
    are the truth.
    """
    rows, columns = prior.grid.within(world.grid)
    truth = world.values[:, :, rows[:, None], columns]
    z = torch.as_tensor(prior.normaliser.encode(truth, world.times))
    shape = (len(prior.channels), *prior.grid.shape)
    weights = prior.grid.weights / prior.grid.weights.sum()
    sigma = torch.tensor(prior.sigma_max)
    errors = []
    for k in range(max(first, 1), len(world.times)):
        numbers = [k - age for age in range(prior.frames, 0, -1)]
        there = torch.tensor([n >= 0 for n in numbers])
        mean = torch.stack([z[max(n, 0)] for n in numbers]).float() * there[:, None, None, None]
        error = torch.where(there[:, None, None, None], torch.full_like(mean, _ERROR), torch.ones_like(mean))
        time = world.times[k]
        points = torch.arange(int(np.prod(shape)))
        noise = normal(0, stream("one step", format_time(time)), torch.arange(_DRAWS), points).float()
        with torch.no_grad():
            d = prior.denoiser(History(mean, error, there), time)(sigma * noise.reshape(_DRAWS, *shape), sigma)
        forecast = prior.normaliser.decoder(time)(d.mean(dim=0, keepdim=True))[0].double().numpy()
        errors.append(((forecast - truth[k]) ** 2 * weights).sum(axis=(1, 2)))
    return np.stack(errors)
