"""What a network has learned to draw: a forecast of one step from a nearly known past, and states without any past."""

__all__ = ["Samples", "draw_samples"]

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stormda.diffusion.denoise import EDM
from stormda.training.data import Batch
from stormda.training.ensemble import draw_members

_STEPS = 16
_MEMBERS, _CLIMATE = 8, 3


@dataclass(frozen=True, eq=False)
class Samples:
    """Standardised fields of one time.

    Args:
        time: of the truth.
        truth: [C, H, W].
        mean: one-step mean forecast [C, H, W].
        members: of the one-step ensemble [M, C, H, W].
        climate: members drawn without history [N, C, H, W].
    """

    time: np.datetime64
    truth: Tensor
    mean: Tensor
    members: Tensor
    climate: Tensor


@torch.no_grad()
def draw_samples(model: EDM, case: Batch, time: np.datetime64, sigma: tuple[float, float], seed: int) -> Samples:
    """Draw them; `case` is a batch of one, `sigma` the smallest and largest noise level of the training."""
    device = case.x.device
    g = torch.Generator(device).manual_seed(seed + 999)
    noise = torch.randn(_MEMBERS + _CLIMATE, *case.x.shape[1:], generator=g, device=device)
    level = torch.full((1,), sigma[1], device=device)
    mean = model(level * noise[:1], level, *case.told)[0][0]
    members = draw_members(model, case, noise[:_MEMBERS], sigma, _STEPS)
    climate = draw_members(model, case.forgotten(), noise[_MEMBERS:], sigma, _STEPS)
    return Samples(time, *(f.cpu() for f in (case.x[0], mean, members, climate)))
