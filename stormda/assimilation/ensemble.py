"""Draw an ensemble: members in micro-batches, each from noise that is its own.

The noise of a member is a pure function of seed, stream, member number and grid point, so member 7 starts from the same
noise in any batch; that of a later step is one of the number of the step besides. Of several batches all are full (the
last one is padded and cut), because the last bit of a matrix product depends on its size: for one micro-batch size the
members are bit-identical whatever their number, from one full batch on; fewer than one batch agree with them to
rounding.

Where memory runs out a batch is tried again with half as many members, and so are those after it. Members that are
drawn already stay.
"""

__all__ = ["draw", "noise"]

import gc
import itertools
import logging
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from stormda import random
from stormda.diffusion.sample.langevin import UNCORRECTED, Langevin, Sampler, Stir
from stormda.errors import StormdaError
from stormda.layout import WHOLE, Layout
from stormda.random import normal
from stormda.types import Denoise, Progress, silent

log = logging.getLogger(__name__)

_WORDS = ("out of memory", "can't allocate memory", "not enough memory")  # of torch, where its type does not say it


def noise(
    seed: int,
    stream: int,
    members: Sequence[int],
    shape: tuple[int, int, int],
    dtype: torch.dtype,
    layout: Layout = WHOLE,
    pairs: bool = False,
) -> Tensor:
    """Standard normal fields [B, C, H, W] of the given members, or the part of them that this process holds.

    With `pairs`, members 2 k and 2 k + 1 have opposite fields.
    """
    rows, columns = layout.part((shape[1], shape[2]))
    points = torch.arange(shape[0] * shape[1] * shape[2]).view(shape)[:, rows, columns]
    numbers = torch.as_tensor(list(members), dtype=torch.int64)
    if pairs:
        sign = (1 - 2 * (numbers % 2))[:, None]
        values = sign * normal(seed, stream, numbers // 2, points.flatten())
    else:
        values = normal(seed, stream, numbers, points.flatten())
    return values.to(dtype).reshape(len(members), *points.shape)


def draw(
    sampler: Sampler,
    denoise: Callable[[], Denoise],
    shape: tuple[int, int, int],
    sigmas: Tensor,
    members: Sequence[int],
    *,
    seed: int,
    stream: int,
    batch: int,
    of: int | None = None,
    dtype: torch.dtype = torch.float32,
    langevin: Langevin = UNCORRECTED,
    progress: Progress = silent,
    layout: Layout = WHOLE,
    again: bool = True,
    pairs: bool = False,
) -> Tensor:
    """Draw members from a denoiser.

    Args:
        sampler: such as `stormda.diffusion.sample.dpm2m.dpm2m`.
        denoise: makes the denoiser of a batch; a posterior keeps state from level to level, so each batch has its own.
        shape: (C, H, W), of the whole grid.
        sigmas: falling noise levels, the last one 0.
        members: member numbers; there may be none.
        seed, stream: of the noise.
        batch: members at once; fewer where memory runs out.
        of: how many members the ensemble has that these are a part of; None: these are all.
        dtype: precision of the state.
        langevin: corrections of the sampler.
        progress: told about members.
        layout: how a member is spread over processes, all of which draw the same members.
        again: whether a batch for which memory does not do is tried again: not where other processes go on with it.
        pairs: members in pairs of opposite noise.

    Returns:
        The members [M, C, H, W], or the part of them.

    Raises:
        StormdaError: memory does not do for one member.
    """
    parts, first = [noise(seed, stream, [], shape, dtype, layout)], 0
    drawn_by = partial(noise, layout=layout, pairs=pairs)
    several = (len(members) if of is None else of) > batch
    while first < len(members):
        progress("members", first, len(members))
        numbers = list(members[first : first + batch])
        padded = numbers + [numbers[-1]] * (batch - len(numbers) if several else 0)
        x = _batch(sampler, denoise, shape, sigmas, padded, seed, stream, dtype, langevin, layout, again, drawn_by)
        if x is None:
            batch = _fewer(len(padded))
            continue
        parts.append(x[: len(numbers)])
        first += len(numbers)
    progress("members", len(members), len(members))
    return torch.cat(parts)


def _batch(
    sampler: Sampler,
    denoise: Callable[[], Denoise],
    shape: tuple[int, int, int],
    sigmas: Tensor,
    members: Sequence[int],
    seed: int,
    stream: int,
    dtype: torch.dtype,
    langevin: Langevin,
    layout: Layout,
    again: bool,
    made: Callable[..., Tensor],
) -> Tensor | None:
    """A micro-batch; None where memory does not do. Several processes cannot try again: only one of them knows."""
    try:
        with torch.no_grad():
            start = made(seed, stream, members, shape, dtype)
            return sampler(denoise(), start, sigmas, _stir(seed, stream, members, shape, made), langevin)
    except (RuntimeError, MemoryError) as error:
        if layout is not WHOLE or not again or not _of_memory(error):
            raise
        return None  # Outside of this block the error, and with it every tensor of the attempt, is forgotten.


def _stir(
    seed: int, stream: int, members: Sequence[int], shape: tuple[int, int, int], made: Callable[..., Tensor]
) -> Stir:
    """Noise of every step after the first."""
    numbers = itertools.count(1)

    def stir(x_BCHW: Tensor, s: Tensor) -> Tensor:
        fresh = made(seed, random.stream(stream, next(numbers)), members, shape, x_BCHW.dtype)
        return x_BCHW + s.to(x_BCHW) * fresh.to(x_BCHW)

    return stir


def _of_memory(error: Exception) -> bool:
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(w in str(error).lower() for w in _WORDS)


def _fewer(batch: int) -> int:
    """Half of a batch that was too large, and say so."""
    if batch == 1:
        raise StormdaError("memory does not do for one member", hint="a smaller network or grid, or more memory")
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = -(-batch // 2)
    what = "%d members at once do not fit into memory: %d from here on (assimilate.batch=%d saves the attempt)"
    log.warning(what, batch, half, half)
    return half
