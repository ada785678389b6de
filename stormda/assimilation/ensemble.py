"""Draw an ensemble: members in micro-batches, each from noise that is its own.

The noise of a member is a pure function of seed, stream, member number and grid point, so member 7 starts from the same
noise in any batch. Of several batches all are full (the last one is padded and cut), because the last bit of a matrix
product depends on its size: for one micro-batch size the members are bit-identical whatever their number, from one full
batch on; fewer than one batch agree with them to rounding.
"""

__all__ = ["draw"]

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from stormda.random import normal
from stormda.types import Denoise, Progress, silent


def noise(seed: int, stream: int, members: Sequence[int], shape: tuple[int, int, int], dtype: torch.dtype) -> Tensor:
    """Standard normal fields [B, C, H, W] of the given members."""
    points = torch.arange(shape[0] * shape[1] * shape[2])
    return normal(seed, stream, torch.as_tensor(list(members)), points).to(dtype).reshape(len(members), *shape)


def draw(
    sampler: Callable[[Denoise, Tensor, Tensor], Tensor],
    denoise: Callable[[], Denoise],
    shape: tuple[int, int, int],
    sigmas: Tensor,
    members: Sequence[int],
    *,
    seed: int,
    stream: int,
    batch: int,
    dtype: torch.dtype = torch.float32,
    progress: Progress = silent,
) -> Tensor:
    """Draw members from a denoiser.

    Args:
        sampler: such as `stormda.diffusion.sample.dpm2m.dpm2m`.
        denoise: makes the denoiser of a batch; a posterior keeps state from level to level, so each batch has its own.
        shape: (C, H, W).
        sigmas: falling noise levels, the last one 0.
        members: member numbers.
        seed, stream: of the noise.
        batch: members at once.
        dtype: precision of the state.
        progress: told about members.

    Returns:
        The members [M, C, H, W].
    """
    parts = []
    for first in range(0, len(members), batch):
        progress("members", first, len(members))
        numbers = list(members[first : first + batch])
        padded = numbers + [numbers[-1]] * (batch - len(numbers) if len(members) > batch else 0)
        with torch.no_grad():
            x = sampler(denoise(), noise(seed, stream, padded, shape, dtype), sigmas)
        parts.append(x[: len(numbers)])
    progress("members", len(members), len(members))
    return torch.cat(parts)
