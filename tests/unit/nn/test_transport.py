"""The model of the flow: what it can be, what it keeps, and that fitting finds a known one."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from stormda.diffusion.guess import LinearGuess
from stormda.errors import ConfigError
from stormda.grid import Grid
from stormda.layout import WHOLE
from stormda.nn.transport import Transport
from stormda.normaliser import Normaliser
from stormda.training.data import Series
from stormda.training.loop import Outcome
from stormda.training.team import Alone
from stormda.training.transport import Flow, check_flow, fit_transport, untrained
from stormda.variables import Channel

WIND = 1.7  # grid spacings a step


def set_to(model: Transport, **values: torch.Tensor) -> Transport:
    with torch.no_grad():
        for name in ("winds", "flux", "linear", "force"):
            getattr(model, name).copy_(values.get(name, torch.zeros_like(getattr(model, name))))
    return model.requires_grad_(False)


def test_a_uniform_wind_moves_waves() -> None:
    """One channel of u = x + 1 with wind u = 1 + x: Burgers' equation, whose small waves move with the wind of 1."""
    h, w = 8, 16
    model = Transport(torch.ones(1, h, w), substeps=8)
    winds = torch.zeros_like(model.winds)
    winds[1, 0, 0] = WIND  # the second field multiplies what is differentiated along the columns
    set_to(model, winds=winds, flux=model.flux.detach().clone())
    x = 1e-4 * torch.cos(2 * math.pi * torch.arange(w) / w).expand(1, 1, h, w)
    after = model(x)
    # (WIND u^2)_x = 2 WIND u u_x: a small wave on u = 1 moves by 2 WIND.
    expected = 1e-4 * torch.cos(2 * math.pi * (torch.arange(w) - 2 * WIND) / w).expand_as(x)
    # Runge-Kutta: (2 WIND k / 8)^5 / 120 a substep = 6e-7 of the wave, 8 substeps; its own square: 1e-4 x 1.3; float32
    # of u = 1: 1e-7 a substep, 1e-3 x 8 of the wave.
    assert torch.allclose(after, expected, atol=1e-4 * (1e-2 + 2e-4))


def test_what_advection_keeps() -> None:
    """As a divergence of products, whatever the winds: the mean of each channel stays."""
    model = Transport(torch.zeros(2, 12, 10), substeps=3, seed=1)
    model.requires_grad_(False)
    model.winds.mul_(10)
    x = torch.randn(4, 2, 12, 10, generator=torch.Generator().manual_seed(0))
    after = model(x)
    assert float((after - x).abs().max()) > 0.01
    # sums of 120 numbers of size 1 in float32, 12 tendencies: 120 x 6e-8 x 12 / sqrt(120)
    assert torch.allclose(after.mean(dim=(2, 3)), x.mean(dim=(2, 3)), atol=1e-5)


def test_no_place_is_special() -> None:
    model = Transport(torch.zeros(2, 9, 14), seed=2).requires_grad_(False)
    for name in ("winds", "linear"):
        getattr(model, name).normal_(std=0.1, generator=torch.Generator().manual_seed(3))
    x = torch.randn(1, 2, 9, 14, generator=torch.Generator().manual_seed(0))
    moved = model(x.roll((2, 5), dims=(-2, -1)))
    assert torch.allclose(moved, model(x).roll((2, 5), dims=(-2, -1)), atol=2e-5)  # float32, 48 transforms


def test_no_direction_is_special_where_sides_differ() -> None:
    """A wave of 8 points is damped alike along the rows and along the columns of 8 x 16 points."""
    model = Transport(torch.zeros(1, 8, 16), seed=2).requires_grad_(False)
    set_to(model, linear=-torch.rand(1, 1, 3, model.linear.shape[-1], generator=torch.Generator().manual_seed(4)))
    model.linear[:, :, 1:] = 0
    wave = torch.cos(2 * math.pi * torch.arange(16) / 8)
    along, down = wave.expand(1, 1, 8, 16), wave[:8, None].expand(1, 1, 8, 16)
    # float32, 16 evaluations
    assert torch.allclose(model(along)[0, 0, 0, :8], model(down)[0, 0, :, 0], atol=1e-5)
    assert float((model(along) - along).abs().max()) > 0.01


def test_errors_are_taken_forward_to_second_order() -> None:
    """Mean and covariance of many draws, where the derivative alone would be wrong by several times what is left."""
    g = torch.Generator().manual_seed(0)
    model = Transport(torch.zeros(1, 1, 12), substeps=6, seed=3).requires_grad_(False)
    model.winds.zero_()
    model.winds[1, 0, 0] = 0.25  # Burgers' equation: a wind of a quarter of the state
    patterns = torch.linalg.qr(torch.randn(12, 3, generator=g))[0].T
    x = torch.cos(2 * math.pi * torch.arange(12.0) / 12).view(1, 1, 12)
    root = torch.tensor([[0.8], [0.5], [0.2]]) * patterns
    mean, covariance = model.spread(x, root, patterns)
    count = 40_000
    draws = model(x + (torch.randn(count, 3, generator=g) @ root).view(-1, 1, 1, 12))
    exact, a = draws.mean(dim=0), (draws - draws.mean(dim=0)).flatten(1) @ patterns.T
    spread = (a.T @ a).double() / count
    first = model(x[None])[0]
    # Sampling: a mean errs by sd / 200 <= 0.004 a point, a covariance by sqrt(2) / 200 of a variance <= 0.7, 0.005;
    # four of these, and as much again for fourth and higher orders.
    assert float((mean - exact).abs().max()) < 0.032 < float((first - exact).abs().max())
    assert torch.allclose(covariance, spread, atol=0.04)


def test_its_state_builds_it_again() -> None:
    model = Transport(torch.randn(2, 4, 6), substeps=3, seed=5)
    again = Transport.of(model.state_dict())
    x = torch.randn(2, 2, 4, 6)
    assert torch.equal(again(x), model(x))
    assert not any(p.requires_grad for p in again.parameters())


def series(model: Transport, seed: int, runs: int = 12, length: int = 8) -> Series:
    """States of short runs, an hour apart within a run and a day between runs."""
    g = torch.Generator().manual_seed(seed)
    c, h, w = model.offset.shape
    long = torch.fft.rfft(torch.randn(runs, c, h, w, generator=g))
    long[..., 5:] = 0  # of waves that the wind does not break within a run
    states = [0.5 * torch.fft.irfft(long, n=w)]
    for _ in range(length - 1):
        states.append(model(states[-1]))
    fields = torch.stack(states, dim=1).flatten(0, 1)
    start = np.datetime64("2000-01-01", "s")
    hours = (np.arange(runs)[:, None] * 24 + np.arange(length)).ravel() * np.timedelta64(3600, "s")
    times = start + hours
    return Series(fields, times, np.timedelta64(3600, "s"), np.arange(len(times)))


@pytest.fixture(scope="module")
def nature() -> Transport:
    """A linear wave equation of two channels with a damping, and a wind."""
    model = Transport(torch.zeros(1, 1, 24), substeps=4, seed=0).requires_grad_(False)
    model.linear[0, 0, 0] = -0.05
    model.linear[0, 0, 2] = 0.3
    model.winds.zero_()
    model.winds[1, 0, 0] = 0.4
    return model


@pytest.fixture(scope="module")
def fitted(nature: Transport, tmp_path_factory: pytest.TempPathFactory) -> tuple[Transport, Outcome, Series]:
    model = Transport(torch.zeros(1, 1, 24), substeps=4, seed=1)
    learn, held = series(nature, 1), series(nature, 2)
    folder = tmp_path_factory.mktemp("flow")
    return model, fit_transport(model, learn, held, Flow(300), folder), held


def test_fitting_finds_a_known_model(fitted: tuple[Transport, Outcome, Series]) -> None:
    model, outcome, held = fitted
    persistence = float((held.fields[1:] - held.fields[:-1]).square().mean().sqrt())
    assert outcome.finished
    # Noise of 0.01 is added to what it learns from, and it has seen 84 pairs of 24 numbers.
    assert outcome.best["loss"] < 0.05 * persistence


def test_ranks_beyond_the_batch_add_nothing(tmp_path: Path, nature: Transport) -> None:
    """Eleven ranks of one process: the other ten add what they would, so the curve is that of one."""

    class Last(Alone):
        number, count = 10, 11

    learn, held = series(nature, 1), series(nature, 2)
    model = Transport(torch.zeros(1, 1, 24), seed=1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    outcome = fit_transport(model, learn, held, Flow(2, batch=8), tmp_path, team=Last())
    assert outcome.curve[-1]["train"] == 0.0
    # Without gradients Adam stays where it is.
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_the_guess_moves_with_it_and_knows_its_errors(fitted: tuple[Transport, Outcome, Series]) -> None:
    model, _, held = fitted
    model.requires_grad_(False)
    one, zero = torch.ones(1, 1, 24), torch.zeros(0, 0)
    guess = LinearGuess(
        one, torch.full((2, 1, 1, 24), 0.99), torch.zeros(0, 24), torch.zeros(0), zero, zero, one, model
    )
    x = held.fields[:2]
    mean = torch.stack([x, x], dim=1)
    error, mask = torch.full_like(mean, 0.01), torch.tensor([[True, True], [True, False]])
    found = guess(mean, error, mask).mean
    assert torch.allclose(found[0], model(x[:1])[0])
    assert torch.allclose(found[1], model(model(x[1:]))[0])  # a frame two steps old
    cold = guess(mean, error, torch.zeros_like(mask)).mean
    assert torch.equal(cold, torch.zeros_like(cold))
    again = LinearGuess.of(guess.state_dict())
    assert torch.equal(again(mean, error, mask).mean, found)


def test_it_cannot_be_cut(fitted: tuple[Transport, Outcome, Series]) -> None:
    one, zero = torch.ones(1, 1, 24), torch.zeros(0, 0)
    guess = LinearGuess(
        one, torch.full((1, 1, 1, 24), 0.9), torch.zeros(0, 24), torch.zeros(0), zero, zero, one, fitted[0]
    )
    with pytest.raises(ConfigError, match="all of a member"):
        guess.part(WHOLE)


@pytest.mark.parametrize(
    ("grid", "harmonics", "said"),
    [
        (Grid(np.linspace(50, 40, 4), np.arange(6.0)), (0, 0), "wraps"),
        (Grid(np.linspace(-45, 45, 4), np.arange(0, 360, 60.0), periodic=(True, True), plane=True), (1, 0), "seasons"),
    ],
)
def test_domains_that_it_is_not_for(grid: Grid, harmonics: tuple[int, int], said: str) -> None:
    features = (1 + 2 * harmonics[0]) * (1 + 2 * harmonics[1])
    channel = (Channel("theta", 0.0),)
    normaliser = Normaliser(channel, np.zeros((features, 1, 4, 6)), np.ones(1), *harmonics)
    check_flow(Flow(), normaliser, grid)
    with pytest.raises(ConfigError, match=said):
        check_flow(Flow(10), normaliser, grid)


def test_waves_that_the_archive_lacks_are_dropped() -> None:
    normaliser = Normaliser((Channel("theta", 0.0),), np.full((1, 1, 1, 24), 3.0), np.ones(1), 0, 0)
    x = torch.randn(40, 1, 1, 24, generator=torch.Generator().manual_seed(0))
    spectrum = torch.fft.rfft(x)
    spectrum[..., 9:] = 0
    times = np.datetime64("2000-01-01", "s") + np.arange(40) * np.timedelta64(3600, "s")
    states = Series(torch.fft.irfft(spectrum, n=24), times, np.timedelta64(3600, "s"), np.arange(40))
    model = untrained(Flow(10), states, normaliser, 0)
    assert model.waves[0].tolist() == [1.0] * 9 + [0.0] * 4
    after = torch.fft.rfft(model(x) + model.offset).abs()
    assert after[..., 9:].max().item() < 1e-4 < after[..., 8].max().item()  # float32: 24 points of size 4, 1e-5
