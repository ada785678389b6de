"""A prior whose network is cut over processes draws the same members, to the last bit, and holds its share of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gloo_world import ranks
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from stormda.assimilation.methods import Problem, Settings, analysis
from stormda.assimilation.storm_prior import StormPrior
from stormda.config import GuidanceConfig
from stormda.diffusion.denoise import EDM
from stormda.diffusion.guess import LinearGuess
from stormda.diffusion.history import History
from stormda.diffusion.sample.dpm2m import dpm2m
from stormda.distributed.parallelize import Held
from stormda.errors import CheckpointError
from stormda.grid import Grid
from stormda.nn.storm import Storm
from stormda.nn.weights import Weights, save_weights
from stormda.normaliser import Normaliser
from stormda.variables import Channel

SHAPE = (6, 8)
TIME = np.datetime64("2010-03-04T06", "s")
SIZE: dict[str, Any] = {"patch": 2, "width": 64, "blocks": 2, "heads": 2, "latents": 2}


def written(path: Path, **changes: Any) -> Path:
    """Weights of a network that answers; the first layers of its blocks are zero, and so stored once."""
    grid = Grid.regular(np.linspace(50, 40, 6), np.arange(8) * 2.0)
    torch.manual_seed(0)
    network = Storm(1, SHAPE, torch.randn(2, *SHAPE), periodic=grid.periodic, frames=1, **SIZE)
    torch.nn.init.normal_(network.head.weight, std=0.02)
    variance = torch.full((1, *SHAPE), 0.5)
    model = EDM(network, LinearGuess.pointwise(variance, 0.5 * torch.ones(1, 1, *SHAPE)))
    normaliser = Normaliser((Channel.parse("t850"),), np.zeros((1, 1, *SHAPE)), np.ones(1), 0, 0)
    architecture = {"frames": 1, **SIZE, **changes}
    step = np.timedelta64(21600, "s")
    save_weights(path, Weights(model.state_dict(), normaliser, grid, step, architecture, (0.02, 40.0), {}))
    return path


def drawn(prior: StormPrior) -> Tensor:
    """With products of the network's derivative, whose number depends on the solver."""
    g = torch.Generator().manual_seed(1)
    past = torch.randn(1, 1, *SHAPE, generator=g)
    history = History(past, torch.full_like(past, 0.3), torch.ones(1, dtype=torch.bool))
    y = torch.randn(10, generator=g, dtype=torch.float64)
    problem = Problem(TIME, history, lambda z: z.flatten(-3)[..., ::5], y, torch.full_like(y, 0.1))
    how = GuidanceConfig(kind="mmps", derivative_below=1e9)
    return analysis("storm", prior, problem, Settings(3, 5, 2, dpm2m, 4, 7.0, None, None, how, again=False))[0]


def held(path: Path) -> tuple[Tensor, float]:
    mesh = init_device_mesh("cpu", (1, 2), mesh_dim_names=("ensemble", "shard"))
    prior = StormPrior.load(path, blocks=Held(mesh))
    parameters = list(prior.model.network.parameters())
    own = sum(p.to_local().numel() for p in parameters if isinstance(p, DTensor))
    return drawn(prior), own / sum(p.numel() for p in parameters)


def test_a_network_that_two_processes_hold(tmp_path: Path) -> None:
    path = written(tmp_path / "weights.safetensors")
    wanted = drawn(StormPrior.load(path))
    for found, share in ranks(2, held, path):
        assert torch.equal(found, wanted)
        assert share == pytest.approx(0.5, abs=0.03)  # odd numbers of rows: the first rank has one more


def misfit(path: Path) -> None:
    mesh = init_device_mesh("cpu", (1, 2), mesh_dim_names=("ensemble", "shard"))
    with pytest.raises(CheckpointError, match="lack|shape|do not fit"):
        StormPrior.load(path, blocks=Held(mesh))


def test_weights_of_another_network(tmp_path: Path) -> None:
    ranks(2, misfit, written(tmp_path / "weights.safetensors", blocks=3))
