"""The linear-Gaussian guess that a network improves on, estimated from the data that it is trained on."""

__all__ = ["linear_guess"]

import torch
from torch import Tensor

from stormda.diffusion.guess import LinearGuess, inverse_model
from stormda.errors import InputError
from stormda.nn.transport import Transport
from stormda.training.data import Series, Statistics

_LEAST_PAIRS = 10
_STEPS, _AT_ONCE = 2000, 32  # of a model of the flow that its errors are estimated from, and how many together
_SHIFTS = 4  # copies of a field on a plane that wraps, spread evenly


def linear_guess(
    series: Series,
    climate: Statistics,
    frames: int,
    modes: int,
    *,
    roll: bool = False,
    transport: Transport | None = None,
) -> LinearGuess:
    """Estimate from the targets of a series.

    Args:
        series: the training data.
        climate: of the same data.
        frames: K.
        modes: leading EOFs to use at most; 0: independent points.
        roll: columns are statistically alike: shifted copies take part, and points of a row share one estimate.
        transport: takes the mean forward: Q and the correlations are those of its errors.

    Raises:
        InputError: too few pairs of times one step apart.
    """
    past = torch.as_tensor(series.past(frames))
    target = torch.as_tensor(series.targets)
    e = climate.modes[: min(modes, len(climate.modes))]
    pairs = past[:, -1] >= 0
    if int(pairs.sum()) < _LEAST_PAIRS:
        raise InputError(f"only {int(pairs.sum())} pairs of times one step apart", key="archive.step")
    g, q = _propagator(series.fields, past[pairs, -1], target[pairs], e, roll)

    beside = _beside(series.fields, e)
    correlations = []
    for k in range(frames):
        there = past[:, k] >= 0
        if int(there.sum()) < _LEAST_PAIRS:
            raise InputError(f"only {int(there.sum())} pairs of times {frames - k} steps apart", key="archive.step")
        before, after = beside[past[there, k]], beside[target[there]]
        product, squares = _alike((before * after).mean(dim=0), roll), _alike(before.square().mean(dim=0), roll)
        correlations.append(product / squares.clamp_min(1e-6))
    variance = _alike(beside[target].square().mean(dim=0), roll)
    energy = climate.energy[: len(e)]
    if transport is not None:
        q, left = _errors(transport, series.fields, past[pairs, -1], target[pairs], e)
        one_step = (1 - _alike(left, roll) / variance.clamp_min(1e-12)).clamp(0.0, 1.0).sqrt()
        powers = [one_step**age for age in range(frames, 0, -1)]
        return LinearGuess(climate.variance, torch.stack(powers), e, energy, g, q, variance, transport)
    return LinearGuess(climate.variance, torch.stack(correlations), e, energy, g, q, variance)


def _propagator(fields: Tensor, before: Tensor, after: Tensor, e: Tensor, roll: bool) -> tuple[Tensor, Tensor]:
    if len(e) == 0:
        return e.new_zeros(0, 0), e.new_zeros(0, 0)
    width = fields.shape[-1]
    coordinates = [
        (fields.roll(shift, dims=-1).flatten(1) @ e.T).double()
        for shift in (range(0, width, max(1, width // _SHIFTS)) if roll else (0,))
    ]
    g, errors = inverse_model(torch.cat([a[before] for a in coordinates]), torch.cat([a[after] for a in coordinates]))
    return g, errors.T @ errors / len(errors)


@torch.no_grad()
def _errors(transport: Transport, fields: Tensor, before: Tensor, after: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
    """Of one step: Q of the coordinates [R, R], and the variance of what the modes leave out [C, H, W]."""
    every = max(1, len(before) // _STEPS)
    pairs = zip(*(torch.split(index[::every], _AT_ONCE) for index in (before, after)), strict=True)
    errors = torch.cat([fields[there] - transport(fields[here]) for here, there in pairs])
    a = (errors.flatten(1) @ e.T).double()
    return a.T @ a / len(a), _beside(errors, e).square().mean(dim=0)


def _beside(fields: Tensor, e: Tensor) -> Tensor:
    """What the modes leave out."""
    x = fields.flatten(1)
    return (x - (x @ e.T) @ e).view_as(fields)


def _alike(x_CHW: Tensor, roll: bool) -> Tensor:
    return x_CHW.mean(dim=-1, keepdim=True).expand_as(x_CHW) if roll else x_CHW
