"""Mean and covariance of a sampler's result, exactly, where its denoiser is affine.

Every step is then an affine map of the state and the noise, x = A n + b. Zero and every unit vector pushed through the
real code give b and A; with L L^T the covariance of the state, its columns L are carried along in a batch

    [m, m + L_1, ..., m + L_n]

and where the sampler adds noise of standard deviation s, L is replaced by a root of L L^T + s^2 I. So one batch of
n + 1 states does for any number of steps. A sampler that adds noise and remembers more than its state between steps
(DPM-Solver++ 2M with corrections) is beyond this: its memory belongs to the columns from before.
"""

__all__ = ["propagate"]

import torch
from torch import Tensor

from stormda.diffusion.sample.langevin import UNCORRECTED, Langevin, Sampler
from stormda.types import Denoise


def propagate(
    sampler: Sampler,
    denoise: Denoise,
    shape: tuple[int, int, int],
    sigmas: Tensor,
    langevin: Langevin = UNCORRECTED,
) -> tuple[Tensor, Tensor]:
    """Mean [n] and covariance [n, n] of what `sampler` draws, n = C H W, in float64.

    Args:
        sampler: a sampler without noise of its own, or one whose steps know only the state.
        denoise: affine in the state.
        shape: (C, H, W).
        sigmas: falling noise levels, the last one 0.
        langevin: corrections.
    """
    n = shape[0] * shape[1] * shape[2]
    eye = torch.eye(n, dtype=torch.float64)

    def stir(x: Tensor, s: Tensor) -> Tensor:
        mean, columns = _parts(x)
        values, vectors = torch.linalg.eigh(columns.T @ columns + s.double() ** 2 * eye)
        root = values.clamp_min(0.0).sqrt()[:, None] * vectors.T
        return torch.cat([mean[None], mean + root]).view_as(x)

    start = torch.cat([torch.zeros_like(eye[:1]), eye]).view(n + 1, *shape)
    mean, columns = _parts(sampler(denoise, start, sigmas, stir, langevin))
    return mean, columns.T @ columns


def _parts(x: Tensor) -> tuple[Tensor, Tensor]:
    """m [n], and L^T [n, n]."""
    flat = x.flatten(1)
    return flat[0], flat[1:] - flat[0]
