"""`bench reach`: a weights file as trained and as softmax, at states that it knows by itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stormda.diffusion.denoise import EDM
from stormda.diffusion.guess import LinearGuess
from stormda.errors import CheckpointError, ConfigError, InputError, InputMissing
from stormda.grid import Grid
from stormda.nn.storm import Storm
from stormda.nn.weights import Weights, save_weights
from stormda.normaliser import Normaliser
from stormda.pipeline.bench_reach import reach
from stormda.variables import Channel

SIZE = {"patch": 2, "width": 16, "blocks": 1, "heads": 2, "latents": 2, "frames": 2}
TILES = {"tile": 2, "halo": 1, "dilation": 1}


def save(path: Path, size: Mapping[str, int] | None = None, shape: tuple[int, int] = (4, 32)) -> Path:
    """An untrained network with an output that is not zero, and a guess with two modes."""
    torch.manual_seed(0)
    grid = Grid(np.linspace(50, 40, shape[0]), np.arange(float(shape[1])))
    architecture: Mapping[str, Any] = SIZE | dict(size or {})
    network = Storm(1, shape, torch.randn(5, *shape), periodic=grid.periodic, **architecture)
    torch.nn.init.normal_(network.head.weight)
    modes = torch.linalg.qr(torch.randn(shape[0] * shape[1], 2))[0].T
    matrices = {"energy": torch.tensor([9.0, 4.0]), "propagator": 0.8 * torch.eye(2), "noise": torch.eye(2)}
    fields = {"variance": torch.ones(1, *shape), "beside": 0.5 * torch.ones(1, *shape)}
    past = {"correlation": torch.full((2, 1, *shape), 0.9), "modes": modes}
    model = EDM(network, LinearGuess.of(past | fields | matrices))
    normaliser = Normaliser((Channel.parse("msl"),), np.full((1, 1, *shape), 1e5), np.array([700.0]), 0, 0)
    step = np.timedelta64(21600, "s")
    save_weights(path, Weights(model.state_dict(), normaliser, grid, step, architecture, (0.02, 50.0), {}))
    return path


def test_tiles_are_compared_with_the_same_weights_as_softmax(tmp_path: Path) -> None:
    with_latents, without = save(tmp_path / "a", TILES), save(tmp_path / "b", TILES | {"latents": 0})
    result = reach([with_latents, without], asked=6, members=2)
    tiles, softmax, blind, _ = result.rows
    assert (tiles.trained, softmax.trained) == (True, False) and "tiles of 2, halo 1, 2 latents" in tiles.attention
    assert tiles.far > 0 and tiles.share == tiles.far / softmax.far
    assert blind.far == 0.0 and blind.share == 0.0 and blind.near >= 0.0  # one block of tiles without latents
    assert len(result.table()[1]) == len(result.table()[2][0])
    assert reach([with_latents], asked=6, members=2).rows == result.rows[:2]  # the same draws


def test_softmax_is_itself(tmp_path: Path) -> None:
    (row,) = reach([save(tmp_path / "a")], asked=3, members=1).rows
    assert row.trained and row.share == 1.0 and row.far > 0


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    path = save(tmp_path / "a")
    for arguments in ({"sigma": 0.0}, {"asked": 0}, {"members": -1}):
        with pytest.raises(ConfigError):
            reach([path], **arguments)
    with pytest.raises(ConfigError):
        reach([])
    with pytest.raises(InputMissing):
        reach([tmp_path / "none"])
    with pytest.raises(InputError, match="too small"):
        reach([save(tmp_path / "b", shape=(2, 2))], asked=1)
    path.write_bytes(b"no weights")
    with pytest.raises(CheckpointError):
        reach([path])
