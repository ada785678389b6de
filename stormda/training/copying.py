"""The far copy: values have to travel half the domain, past tokens that say other things.

Every token of a square that wraps holds a standard normal value of its own, new in every draw, and a name, random
numbers that never change. Some tokens are sources: half the domain away from a source, along both axes, the answer
wanted is its value. What an answer is worth can be said without any training:

    knows nothing of the value                        error >= 1, the variance of a value
    takes the mean of m tokens, one of them right     error >= 1 - 1/m, so 1/2 at least unless it has singled one out

hence an error below 1/2 means that the value itself arrived, and `SOLVED` asks for a tenth of the variance. Tiles alone
cannot do it: a block carries a value tile - 1 + halo tokens at most, the rim of a patch one more (`blind`).
"""

__all__ = ["SOLVED", "Copier", "blind", "far_copy"]

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stormda.nn.storm import Storm
from stormda.training.loop import Outcome, Settings, fit
from stormda.types import Progress, silent

SOLVED = 0.1  # mean square error, of a variance of 1
_NAMES = 16  # numbers of a name
_PLANES = 5  # of the network's state: each holds the values
_CHECKED, _PART = 1024, 64  # draws that the error is the mean of: known within sqrt(2/1024) = 4 % of itself


class Copier(nn.Module):
    """The network on a square of side x side tokens, without noise, past or season: values to answers, [B, N] each.

    Args:
        side: tokens along an axis, even.
        network: width, blocks, heads, latents and the tiles of `Storm`.
        pairs: how many sources.
    """

    def __init__(self, side: int, network: Mapping[str, Any], pairs: int = 1) -> None:
        super().__init__()
        names = torch.randn(_NAMES, side, side)
        self.side = side
        self.storm = Storm(1, (side, side), names, periodic=(True, True), frames=1, patch=1, **network)
        source = torch.randperm(side**2)[:pairs]
        row, column = source // side + side // 2, source % side + side // 2
        self.register_buffer("source", source)
        self.register_buffer("target", row % side * side + column % side)
        self.source: Tensor
        self.target: Tensor

    def forward(self, x_BN: Tensor) -> Tensor:
        """The answer at every token."""
        b, shape = len(x_BN), (self.side, self.side)
        state = x_BN.view(b, 1, 1, *shape).expand(-1, _PLANES, -1, -1, -1)
        nothing = x_BN.new_zeros(1, 1, 1, *shape)
        absent = torch.zeros(1, 1, dtype=torch.bool, device=x_BN.device)
        y: Tensor = self.storm(state, x_BN.new_zeros(b), nothing, nothing + 1, absent, x_BN.new_zeros(b, 4))
        return y.flatten(1)

    def error(self, x_BN: Tensor) -> Tensor:
        """Mean square error of the copies, a scalar."""
        answer: Tensor = self(x_BN)
        return (answer[:, self.target] - x_BN[:, self.source]).square().mean()


def blind(side: int, network: Mapping[str, int]) -> bool:
    """Whether softmax in tiles cannot carry a value half the domain, however it is trained."""
    tile = network.get("tile", 0)
    if not tile:
        return False
    step = (tile - 1 + network.get("halo", 4)) * network.get("dilation", 1)
    return network["blocks"] * step + 1 < side // 2


def far_copy(
    side: int,
    network: Mapping[str, Any],
    folder: Path,
    *,
    pairs: int = 1,
    steps: int = 1600,
    batch: int = 16,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress = silent,
    stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train on draws of the task, or go on from the checkpoint in `folder`; `best["loss"]` is the error on new draws.

    Args:
        side, network, pairs: see `Copier`.
        folder: for checkpoint and log.
        steps, batch: of the training.
        seed: of weights, names, sources and draws.
        device: where to compute.
        progress, stop: see `fit`.

    Raises:
        ValueError: a network that cannot be built.
        CheckpointError: the checkpoint belongs to another task.
    """
    state = torch.random.get_rng_state()
    try:
        torch.manual_seed(seed)
        model = Copier(side, network, pairs).to(device)
    finally:
        torch.random.set_rng_state(state)

    def draw(count: int, number: int) -> Tensor:
        return torch.randn(count, side**2, generator=torch.Generator().manual_seed(number)).to(device)

    def objective(model: nn.Module, step: int) -> Tensor:
        assert isinstance(model, Copier)
        return model.error(draw(batch, seed * 1_000_003 + step))

    def check(model: nn.Module) -> Mapping[str, float]:
        assert isinstance(model, Copier)
        parts = [float(model.error(draw(_PART, (1 << 40) + seed * 1_000_003 + i))) for i in range(_CHECKED // _PART)]
        return {"loss": math.fsum(parts) / len(parts)}

    settings = Settings(steps, learning_rate=1e-2, warm_up=20, average=0.98, validate_every=max(25, steps // 8))
    facts = {"side": side, "pairs": pairs, "batch": batch, "seed": seed, "steps": steps} | dict(network)
    job = "\n".join(f"{key}: {value}" for key, value in facts.items())
    return fit(model, objective, check, settings, folder, job=job, progress=progress, stop=stop)
