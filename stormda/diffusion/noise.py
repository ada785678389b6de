"""Noise levels of the reverse diffusion.

x_t = x + sigma n with n ~ N(0, I): a level is known by its sigma alone (variance-exploding form). The schedule of
Karras et al. (2022, "Elucidating the design space of diffusion-based generative models",
https://arxiv.org/abs/2206.00364, eq. 5) spaces sigma^(1/rho) evenly, which puts most levels where the sample takes its
final shape.

Stopping at sigma_min, where D ends the sample, leaves a share v / (v + sigma_min^2) of a direction's variance v.
"""

__all__ = ["karras"]

import torch
from torch import Tensor


def karras(
    sigma_min: float, sigma_max: float, steps: int, rho: float = 7.0, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Noise levels [steps + 1] from `sigma_max` down to `sigma_min`, then 0."""
    ramp = torch.linspace(0.0, 1.0, steps, dtype=torch.float64)
    sigmas = (sigma_max ** (1 / rho) + ramp * (sigma_min ** (1 / rho) - sigma_max ** (1 / rho))) ** rho
    return torch.cat([sigmas, sigmas.new_zeros(1)]).to(dtype)
