"""What a member takes and a process has: from these, and from nobody's guess, a mesh is chosen."""

from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from stormda.config import load
from stormda.diffusion.denoise import EDM
from stormda.diffusion.guess import LinearGuess
from stormda.errors import InputMissing
from stormda.grid import Grid
from stormda.nn.storm import Storm
from stormda.nn.weights import Weights, save_weights
from stormda.normaliser import Normaliser
from stormda.pipeline.room import member_bytes, room
from stormda.variables import Channel

SHAPE = (15, 20)
STORM = ("channels=[t850]", "assimilate.method=storm")


def written(path: Path, tile: int) -> str:
    size: dict[str, Any] = {"patch": 2, "width": 32, "blocks": 3, "heads": 2, "latents": 2, "tile": tile, "frames": 1}
    grid = Grid.regular(np.linspace(50, 40, 15), np.arange(20) * 2.0)
    network = Storm(1, SHAPE, torch.zeros(2, *SHAPE), periodic=grid.periodic, **size)
    model = EDM(network, LinearGuess.pointwise(torch.ones(1, *SHAPE), torch.ones(1, 1, *SHAPE)))
    normaliser = Normaliser((Channel.parse("t850"),), np.zeros((1, 1, *SHAPE)), np.ones(1), 0, 0)
    step = np.timedelta64(21600, "s")
    save_weights(path, Weights(model.state_dict(), normaliser, grid, step, size, (0.02, 40.0), {}))
    return f"storm.weights={path}"


def test_a_member_takes_what_its_tokens_and_fields_do(tmp_path: Path) -> None:
    weights = written(tmp_path / "tiles.safetensors", 2)
    fields = 12 * 4 * 15 * 20 * 2  # numbers of a point; a state and a frame of history
    tokens = 8 * 10 * 32 * 4  # patches of 2 x 2, the last row half full
    assert member_bytes(load(None, [*STORM, weights])) == 9 * tokens + fields
    guided = load(None, [*STORM, weights, "guidance.kind=mmps"])
    assert member_bytes(guided) == (9 + 12 * 3) * tokens + fields


@pytest.mark.parametrize("how", ["assimilate.method=gaussian", "window.frames=3", "assimilate.inflation=innovations"])
def test_what_cannot_be_cut_asks_for_nothing(tmp_path: Path, how: str) -> None:
    assert member_bytes(load(None, [*STORM, written(tmp_path / "w.safetensors", 2), how])) == 0
    assert member_bytes(load(None, [*STORM, written(tmp_path / "w.safetensors", 0)])) == 0


def test_weights_that_are_not_there() -> None:
    with pytest.raises(InputMissing):
        member_bytes(load(None, [*STORM, "storm.weights=/nowhere/w.safetensors"]))


def test_processes_of_a_host_share_what_is_left() -> None:
    half = room(2, "cpu")
    assert 0 < half <= 0.5 * psutil.virtual_memory().total
    assert room(4, "cpu") == pytest.approx(half / 2, rel=0.2)  # others come and go in between
