"""What the trainings of the queue learn from: worlds simulated on the spot, and archives exported to .npz files.

Many short trajectories of a simulated world lie one after the other in one series, with gaps between them that no
history crosses. Points that are statistically alike (columns of the SQG plane, the circle of Lorenz-96) share one
climatology.
"""

__all__ = ["World", "exported", "lorenz96", "sqg"]

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stormda.grid import Grid
from stormda.nature.lorenz96 import Lorenz96
from stormda.nature.sqg import SQG
from stormda.normaliser import Normaliser
from stormda.training.data import Series
from stormda.variables import Channel

_EPOCH = np.datetime64("2001-01-01T00", "s")
_STEP = np.timedelta64(6 * 3600, "s")
_GAP = 16  # steps between two trajectories, more than any history
_HELD_SEED, _HELD_SHARE = 500, 8  # validation: other trajectories, an eighth of as many


@dataclass(frozen=True, eq=False)
class World:
    """Standardised fields to train and to validate on, all that belongs to them, and what they are in words."""

    train: Series
    validation: Series
    normaliser: Normaliser
    grid: Grid
    data: str


def sqg(device: str, *, points: int = 64, trajectories: int = 64, steps: int = 320, days: float = 100.0) -> World:
    """Surface quasi-geostrophic turbulence, a state every six hours."""
    model = SQG(points=points)

    def run(count: int, seed: int) -> Iterator[Tensor]:
        return model.run(model.spin_up(model.initial(count, seed).to(device), days), steps)

    what = f"SQG, {points} points, {trajectories} trajectories of {steps} six-hourly states, seed 0"
    return _simulated(run, model.channels, model.grid(), trajectories, what)


def lorenz96(device: str, *, dimension: int = 40, trajectories: int = 64, steps: int = 1000) -> World:
    """Lorenz-96 with F = 8, a state every 0.05 time units."""
    model = Lorenz96(d=dimension)

    def run(count: int, seed: int) -> Iterator[Tensor]:
        start = model.spin_up(model.initial(count, seed, torch.float64).to(device))
        return (x[:, None, None].float() for x in model.run(start, steps))

    what = f"Lorenz-96, d = {dimension}, {trajectories} trajectories of {steps} states, seed 0"
    return _simulated(run, model.channels, model.grid(), trajectories, what)


def _simulated(run, channels: tuple[Channel, ...], grid: Grid, trajectories: int, what: str) -> World:  # type: ignore[no-untyped-def]
    train = torch.stack(list(run(trajectories, 0)), dim=1)  # [B, T, C, H, W]
    held = torch.stack(list(run(max(2, trajectories // _HELD_SHARE), _HELD_SEED)), dim=1)
    mean = train.mean(dim=(0, 1, -1), keepdim=True)
    sd = (train - mean).square().mean(dim=(0, 1, 3, 4), keepdim=True).sqrt()
    coefficients = mean[0].expand(-1, -1, *grid.shape).double().cpu().numpy()
    normaliser = Normaliser(channels, coefficients, sd.flatten().double().cpu().numpy(), 0, 0)
    parts = [_series((x - mean) / sd, what) for x in (train, held)]
    return World(parts[0], parts[1], normaliser, grid, what)


def _series(x_BTCHW: Tensor, what: str) -> Series:
    count, steps = x_BTCHW.shape[:2]
    numbers = (np.arange(count)[:, None] * (steps + _GAP) + np.arange(steps)).ravel()
    return Series(x_BTCHW.flatten(0, 1), _EPOCH + _STEP * numbers, _STEP, np.arange(count * steps), identity=what)


def exported(path: Path, device: str) -> World:
    """What `benchmarks/export.py` wrote."""
    with np.load(path) as file:
        arrays = dict(file)
    facts = json.loads(str(arrays["facts"]))
    step = np.timedelta64(facts["step_seconds"], "s")
    grid = Grid(arrays["latitude"], arrays["longitude"], tuple(facts["periodic"]), facts["plane"])
    normaliser = Normaliser.from_arrays(arrays, tuple(Channel.parse(name) for name in facts["channels"]))
    series = {}
    for name in ("train", "validation"):
        times = arrays[f"{name}_times"].astype("datetime64[s]")
        series[name] = Series(torch.as_tensor(arrays[f"{name}_fields"]), times, step, np.arange(len(times)))
        series[name] = replace(series[name].to(device), identity=series[name].digest())
    return World(series["train"], series["validation"], normaliser, grid, facts["data"])
