"""Stage `bench reach`: how far a trained network looks, with its attention as trained and as softmax over everything.

Gradients of the network's answer (`stormda.nn.reach`) are taken at states drawn from the linear-Gaussian climate and
step of the weights themselves, with noise: the file is all that is needed. The network is measured, not the denoiser:
what it improves on is linear and global anyway. Tiles and softmax over everything have the same parameters, so the same
weights run either way. Trained in tiles and run as softmax is not the same as trained as softmax; for that, name both
files.
"""

__all__ = ["ReachResult", "Row", "reach"]

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stormda.assimilation.storm_prior import StormPrior
from stormda.errors import ConfigError, InputError
from stormda.nn import reach as jacobian
from stormda.nn.embedding import forcing
from stormda.nn.storm import Storm
from stormda.nn.weights import load_weights
from stormda.types import Progress, silent

_KNOWN = 0.1  # error of the history, share of the climatological standard deviation
_SEASON = np.datetime64("2019-01-01T12:00:00")


@dataclass(frozen=True)
class Row:
    """One network: the median gradient norm between far tokens, and its share of that of the same weights as softmax.

    Args:
        weights: the file.
        attention: `tiles of 8, halo 4, 32 latents` or `softmax, 32 latents`.
        trained: whether it is the one that was trained.
        near: the median norm between all other tokens.
    """

    weights: str
    attention: str
    trained: bool
    far: float
    near: float
    share: float | None


@dataclass(frozen=True)
class ReachResult:
    """What was measured, and the rows."""

    sigma: float
    asked: int
    members: int
    seed: int
    rows: tuple[Row, ...]

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people."""
        title = (
            f"median gradient norm between tokens more than half of the largest distance apart; noise {self.sigma:g}, "
            f"{self.asked} tokens of {self.members} states"
        )
        lines = [
            [row.weights, row.attention, "trained" if row.trained else "", f"{row.far:.3g}", f"{row.near:.3g}"]
            + ["" if row.share is None else f"{row.share:.2f}"]
            for row in self.rows
        ]
        return title, ["weights", "attention", "", "far", "other", "far, of softmax"], lines


def reach(
    weights: Sequence[Path],
    *,
    sigma: float = 1.0,
    asked: int = 16,
    members: int = 4,
    seed: int = 0,
    progress: Progress = silent,
) -> ReachResult:
    """Measure each file as trained, and as softmax over everything.

    Args:
        weights: files.
        sigma: noise level, in climatological standard deviations.
        asked: tokens whose answer is looked at.
        members: states.
        seed: of states, noise and tokens.
        progress: told about each network.

    Raises:
        ConfigError: a number that is too small.
        InputMissing, CheckpointError: a file that is not there, or holds no weights.
        InputError: a grid so small that no tokens are far apart.
    """
    for name, value in (("sigma", sigma), ("tokens", asked), ("members", members)):
        if not value > 0:
            raise ConfigError(f"{name} must be positive", key=f"--{name}")
    if not weights:
        raise ConfigError("no weights are named", key="--weights", hint="--weights weights.safetensors")
    rows = []
    for done, path in enumerate(weights):
        progress("bench reach", done, len(weights))
        rows += _rows(path, sigma, asked, members, seed)
    progress("bench reach", len(weights), len(weights))
    return ReachResult(sigma, asked, members, seed, tuple(rows))


def _rows(path: Path, sigma: float, asked: int, members: int, seed: int) -> list[Row]:
    prior, weights = StormPrior.load(path), load_weights(path)
    size = weights.architecture
    tiles, latents = int(size.get("tile", 0)), f"{size['latents']} latents"
    everything = StormPrior.of(replace(weights, architecture=dict(size) | {"tile": 0, "dilation": 1}))
    softmax = _medians(everything, path, sigma, asked, members, seed)
    rows = [Row(str(path), f"softmax, {latents}", not tiles, *softmax, 1.0)]
    if not tiles:
        return rows
    found = _medians(prior, path, sigma, asked, members, seed)
    cut = f"tiles of {tiles}, halo {size.get('halo', 4)}, {latents}"
    return [Row(str(path), cut, True, *found, found[0] / softmax[0] if softmax[0] else None), *rows]


def _medians(prior: StormPrior, path: Path, sigma: float, asked: int, members: int, seed: int) -> tuple[float, float]:
    """Median norms between far tokens, and between the others."""
    g = torch.Generator().manual_seed(seed)
    network, state, rest = _inputs(prior, sigma, members, g)
    far, near = jacobian.reach(lambda x: network(x, *rest), state, network.patches, asked=asked, generator=g)
    if not far.numel():
        raise InputError("the grid is too small: no tokens are far apart", file=path)
    return float(far.median()), float(near.median())


def _inputs(
    prior: StormPrior, sigma: float, members: int, g: torch.Generator
) -> tuple[Storm, Tensor, Sequence[Tensor]]:
    """The network, its planes at a noisy state, and its other arguments."""
    model, k = prior.model, prior.frames
    shape = (members, len(prior.channels), *prior.grid.shape)
    history = model.guess.variance.new_zeros(members, k, *shape[1:])
    there = torch.zeros(members, k, dtype=torch.bool)
    climate = model.guess(history, torch.ones_like(history), there).gaussian()
    history += climate.sample(torch.randn(shape, generator=g))[:, None]  # of all frames: the past stood still
    there[:] = True
    known = history, torch.full_like(history, _KNOWN), there
    x = model.guess(*known).gaussian().sample(torch.randn(shape, generator=g))
    x_t = x + sigma * torch.randn(shape, generator=g)
    season = torch.as_tensor(forcing(np.asarray([_SEASON])))
    assert isinstance(model.network, Storm)
    level = torch.full((members,), sigma)
    state_BPCHW, *rest = jacobian.inputs_of(model, model.network, x_t, level, *known, season)
    return model.network, state_BPCHW, rest
