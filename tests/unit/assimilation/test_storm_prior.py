"""The STORM prior is the network that the file holds, for one history or one a member, in any precision."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stormda.assimilation.storm_prior import StormPrior
from stormda.diffusion.denoise import EDM
from stormda.diffusion.guess import LinearGuess
from stormda.diffusion.history import History
from stormda.errors import CheckpointError
from stormda.grid import Grid
from stormda.nn.storm import Storm
from stormda.nn.weights import Weights, load_weights, save_weights
from stormda.normaliser import Normaliser
from stormda.variables import Channel

SHAPE, FRAMES = (4, 6), 2
TIME = np.datetime64("2010-03-04T06", "s")
NETWORK = {"patch": 2, "width": 16, "blocks": 1, "heads": 2, "latents": 2, "frames": FRAMES}


def saved(path: Path, **changes: int) -> EDM:
    """An untrained network with an output that is not zero, in a file."""
    torch.manual_seed(0)
    grid = Grid(np.linspace(50, 40, 4), np.arange(6.0))
    network = Storm(1, SHAPE, torch.randn(5, *SHAPE), periodic=grid.periodic, **NETWORK)  # type: ignore[arg-type]
    torch.nn.init.normal_(network.head.weight)
    guess = LinearGuess.pointwise(torch.rand(1, *SHAPE) + 0.5, torch.full((FRAMES, 1, *SHAPE), 0.9))
    model = EDM(network, guess)
    normaliser = Normaliser((Channel.parse("msl"),), np.full((1, 1, *SHAPE), 1e5), np.array([700.0]), 0, 0)
    step = np.timedelta64(21600, "s")
    save_weights(path, Weights(model.state_dict(), normaliser, grid, step, NETWORK | changes, (0.02, 50.0), {}))
    return model


def history(*batch: int) -> History:
    g = torch.Generator().manual_seed(1)
    mean = torch.randn(*batch, FRAMES, 1, *SHAPE, generator=g)
    return History(mean, torch.full_like(mean, 0.3), torch.ones(FRAMES, dtype=torch.bool))


def test_it_is_the_network_of_the_file(tmp_path: Path) -> None:
    model = saved(tmp_path / "w.safetensors")
    prior = StormPrior.load(tmp_path / "w.safetensors", channels=["msl"])
    assert (prior.frames, prior.sigma_max, prior.step) == (FRAMES, 50.0, np.timedelta64(6, "h"))
    x, past = torch.randn(3, 1, *SHAPE), history()
    d = prior.denoiser(past, TIME)(x, torch.tensor(0.7))
    from stormda.nn.embedding import forcing

    season = torch.as_tensor(forcing(np.array([TIME]))).expand(3, -1)
    expected = model(x, torch.full((3,), 0.7), past.mean[None], past.error[None], past.mask[None], season)[0]
    torch.testing.assert_close(d, expected.detach())


def test_one_history_a_member(tmp_path: Path) -> None:
    saved(tmp_path / "w.safetensors")
    prior = StormPrior.load(tmp_path / "w.safetensors")
    x, past = torch.randn(3, 1, *SHAPE), history(3)
    d = prior.denoiser(past, TIME)(x, torch.tensor(0.7))
    for i in range(3):
        one = History(past.mean[i], past.error[i], past.mask)
        torch.testing.assert_close(prior.denoiser(one, TIME)(x[i : i + 1], torch.tensor(0.7)), d[i : i + 1])


def test_precision_of_the_state_is_kept_and_gradients_flow(tmp_path: Path) -> None:
    saved(tmp_path / "w.safetensors")
    denoise = StormPrior.load(tmp_path / "w.safetensors").denoiser(History.none(FRAMES, (1, *SHAPE)), TIME)
    x = torch.randn(2, 1, *SHAPE, dtype=torch.float64, requires_grad=True)
    d = denoise(x, torch.tensor(2.0, dtype=torch.float64))
    assert d.dtype == torch.float64 and bool(torch.isfinite(d).all())
    (gradient,) = torch.autograd.grad(d.sum(), x)
    assert bool(torch.isfinite(gradient).all()) and float(gradient.abs().max()) > 0


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    saved(path)
    with pytest.raises(CheckpointError, match="msl, not msl, t850"):
        StormPrior.load(path, channels=["msl", "t850"])
    saved(path, width=32)
    with pytest.raises(CheckpointError, match="architecture"):
        StormPrior.load(path)


def test_the_share_that_the_network_leaves_is_that_of_its_validation(tmp_path: Path) -> None:
    saved(tmp_path / "w.safetensors")
    assert StormPrior.load(tmp_path / "w.safetensors").share(history(), 1.0) == 1.0  # nothing is known of it
    weights = load_weights(tmp_path / "w.safetensors")
    scores = {"loss at 0.1": 0.9, "loss at 10": 0.5, "cold loss at 1": 0.8, "loss": 0.7}
    prior = StormPrior.of(replace(weights, card={"scores": scores}))
    # ln sigma halfway between, below and above the levels; the only level without history.
    assert [prior.share(history(), sigma) for sigma in (1.0, 0.01, 99.0)] == pytest.approx([0.7, 0.9, 0.5])
    assert prior.share(History.none(FRAMES, (1, *SHAPE)), 7.0) == 0.8


def test_its_linear_part_is_the_guess(tmp_path: Path) -> None:
    """An untrained network (its head is zero) is its linear part."""
    model = saved(tmp_path / "w.safetensors")
    prior = StormPrior.load(tmp_path / "w.safetensors")
    torch.nn.init.zeros_(prior.model.network.head.weight)  # type: ignore[union-attr, arg-type]
    past, x = history(), torch.randn(2, 1, *SHAPE)
    expected, _ = model.guess(past.mean[None], past.error[None], past.mask[None]).denoise(x, torch.tensor([0.5]))
    torch.testing.assert_close(prior.denoiser(past, TIME)(x, torch.tensor(0.5)), expected)
    torch.testing.assert_close(prior.linear(past, TIME).mean, 0.9 * past.mean[-1])
