"""The STORM prior is the network that the file holds, for one history or one a member, in any precision."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stormda.assimilation.methods import Problem, Settings
from stormda.assimilation.posterior import guided
from stormda.assimilation.smoother import Frame, redraw
from stormda.assimilation.storm_prior import StormPrior
from stormda.config import GuidanceConfig
from stormda.diffusion.background import BackgroundError
from stormda.diffusion.denoise import EDM
from stormda.diffusion.guess import LinearGuess
from stormda.diffusion.history import History
from stormda.diffusion.sample.dpm2m import dpm2m
from stormda.errors import CheckpointError, ConfigError
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


def with_background(path: Path, width: float = 1.0) -> StormPrior:
    """The same with a background error covariance in five EOFs."""
    saved(path)
    weights = load_weights(path)
    e = torch.linalg.qr(torch.randn(24, 24, generator=torch.Generator().manual_seed(3)))[0][:5]
    linear = LinearGuess(
        torch.ones(1, *SHAPE), torch.zeros(FRAMES, 1, *SHAPE), e, torch.full((5,), 4.0), 0.8 * torch.eye(5),
        torch.eye(5), torch.full((1, *SHAPE), 0.1),
    )  # fmt: skip
    levels = torch.tensor([0.1, 10.0])
    background = BackgroundError(
        linear, torch.zeros(5), levels, torch.tensor([0.9, 1.1]), torch.ones(2), torch.tensor(width)
    )
    state = {f"background.{name}": value for name, value in background.state_dict().items()}
    save_weights(path, replace(weights, tensors=dict(weights.tensors) | state))
    return StormPrior.load(path)


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


def test_it_carries_the_posterior_of_its_background_error(tmp_path: Path) -> None:
    prior = with_background(tmp_path / "w.safetensors")
    p = torch.diag(torch.tensor([3.0, 2.0, 1.0, 1.0, 0.5], dtype=torch.float64))
    past = replace(history(), covariance=p)
    b = 0.64 * p + torch.eye(5).double()
    # Single precision of propagator, noise and modes.
    torch.testing.assert_close(prior.linear(past, TIME).covariance, b, rtol=1e-6, atol=1e-6)
    assert abs(prior.share(past, 1.0) - 1.0) < 1e-6  # half way between 0.9 and 1.1

    e, points = prior.linear(past, TIME).modes.double(), [3, 17]
    variance = torch.tensor([0.5, 0.2])
    carried = prior.carry(past, TIME, lambda z: z.flatten(1)[:, points], torch.tensor([1.0, -1.0]), variance)
    assert carried is not None
    rho = 0.1 * 24 / float((1 - e.square().sum(dim=0)).sum())
    s = e.T @ b @ e + rho * (torch.eye(24) - e.T @ e)
    at = s[points]
    gain = torch.linalg.solve(at[:, points] + torch.diag(variance.double()), at @ e.T)
    torch.testing.assert_close(carried, b - (at @ e.T).T @ gain, rtol=1e-5, atol=1e-5)


def test_draws_are_widened_around_the_background_where_there_is_one(tmp_path: Path) -> None:
    plain, wide = with_background(tmp_path / "plain"), with_background(tmp_path / "wide", width=1.25)
    x, past, nothing = torch.randn(3, 1, *SHAPE), history(), History.none(FRAMES, (1, *SHAPE))
    level, least = torch.tensor(0.7), torch.tensor(0.7 / 1.25)
    d = plain.denoiser(past, TIME)
    b = d(plain.model.guess(past.mean[None], past.error[None], past.mask[None]).mean, torch.tensor(plain.sigma_max))
    expected = b + 1.25 * (d(b + (x - b) / 1.25, least) - b)
    torch.testing.assert_close(wide.denoiser(past, TIME)(x, level), expected)
    for other in (nothing, history(3)):  # no past; one past a member
        torch.testing.assert_close(wide.denoiser(other, TIME)(x, level), plain.denoiser(other, TIME)(x, level))


def test_what_it_carries_is_for_its_own_eofs(tmp_path: Path) -> None:
    saved(tmp_path / "plain.safetensors")
    plain, prior = StormPrior.load(tmp_path / "plain.safetensors"), with_background(tmp_path / "w.safetensors")
    assert plain.signature is None and prior.signature is not None
    assert plain.carry(history(), TIME, lambda z: z.flatten(1)[:, :1], torch.ones(1), torch.ones(1)) is None
    assert prior.signature == with_background(tmp_path / "again.safetensors").signature


def test_a_window_goes_back_by_the_covariance_that_it_carries(tmp_path: Path) -> None:
    """Two analyses; the later one is moved by 1 along the first EOF: the earlier one follows by C = P G^T B^-1."""
    prior = with_background(tmp_path / "w.safetensors")
    assert prior.background is not None
    e, p = prior.background.linear.modes, torch.diag(torch.tensor([1.0, 0.5, 0.5, 0.5, 0.5], dtype=torch.float64))
    settings = Settings(4, 0, 4, dpm2m, 4, 7.0, None, None, GuidanceConfig())
    y = torch.zeros(1)
    past = history()
    later = replace(past, covariance=p)
    ensemble = torch.randn(4, 1, *SHAPE, generator=torch.Generator().manual_seed(2))
    problems = [
        Problem(TIME + k * prior.step, h, lambda z: z[:, 0, 0, :1], y, y + 1) for k, h in enumerate((past, later))
    ]
    drawn = [
        redraw("storm", prior, [Frame(problems[0], ensemble), Frame(problems[1], ensemble + shift)], settings)
        for shift in (0.0, e[0].view(1, *SHAPE))
    ]
    assert drawn[0][0] is not None and drawn[1][0] is not None and drawn[1][1] is not None
    moved = (drawn[1][0] - drawn[0][0]).flatten(1)
    # B = 0.8 P 0.8 + 1, G = 0.8: the gain of the first coordinate is 0.8 / 1.64. Single precision: 1e-6.
    torch.testing.assert_close(moved, (0.8 / 1.64 * e[0]).expand(4, -1), atol=1e-5, rtol=0)
    assert torch.equal(drawn[1][1], ensemble + e[0].view(1, *SHAPE))
    bare = [Frame(problems[0], ensemble), Frame(replace(problems[1], history=past), ensemble)]
    assert redraw("storm", prior, bare, settings)[0] is None  # no covariance was carried: as it was
    saved(tmp_path / "plain.safetensors")
    with pytest.raises(ConfigError, match="no background error covariance"):
        redraw("storm", StormPrior.load(tmp_path / "plain.safetensors"), bare, settings)


def test_without_a_past_guidance_knows_the_climate_and_no_background_errors(tmp_path: Path) -> None:
    prior = with_background(tmp_path / "w.safetensors")
    nothing = History.none(FRAMES, (1, *SHAPE))
    plain = replace(prior, background=None)
    operator, y = (lambda z: z.flatten(1)[:, :3]), torch.tensor([1.0, -1.0, 0.5])
    x, sigma = torch.randn(2, 1, *SHAPE, generator=torch.Generator().manual_seed(1)), torch.tensor(2.0)

    def posterior(p: StormPrior, history: History) -> torch.Tensor:
        problem = Problem(TIME, history, operator, y, torch.full((3,), 0.1))
        return guided(p, problem, GuidanceConfig(kind="jfps"))()(x, sigma)

    assert torch.equal(posterior(prior, nothing), posterior(plain, nothing))
    known = replace(nothing, mask=torch.ones(FRAMES, dtype=torch.bool), error=torch.full_like(nothing.error, 0.3))
    assert not torch.allclose(posterior(prior, known), posterior(plain, known), atol=1e-3)
    carried = prior.carry(nothing, TIME, operator, y, torch.full((3,), 0.1))
    assert carried is not None and carried.shape == (5, 5)  # in the modes of B, for the next cycle


def test_bfloat16_is_for_the_network_alone(tmp_path: Path) -> None:
    saved(tmp_path / "w.safetensors")
    prior = StormPrior.load(tmp_path / "w.safetensors")
    x, sigma, nothing = torch.randn(2, 1, *SHAPE), torch.tensor(1.5), History.none(FRAMES, (1, *SHAPE))
    exact = prior.denoiser(nothing, TIME)(x, sigma)
    rounded = prior.on("cpu", torch.bfloat16).denoiser(nothing, TIME)(x, sigma)
    assert rounded.dtype == torch.float32 and not torch.equal(rounded, exact)
    scale = prior.model.guess(*(f[None] for f in (nothing.mean, nothing.error, nothing.mask))).variance.sqrt()
    # Eight bits of mantissa (0.4 %) in each of some ten layers of numbers of unit size, in units of c_out.
    assert float(((rounded - exact) / scale).abs().max()) < 0.1
