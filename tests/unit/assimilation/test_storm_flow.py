"""A STORM prior whose guess has a model of the flow that takes errors forward: in a linear world, the Kalman filter."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stormda.assimilation.prior import signature_of
from stormda.assimilation.storm_prior import StormPrior
from stormda.diffusion.denoise import EDM
from stormda.diffusion.guess import LinearGuess
from stormda.diffusion.history import History
from stormda.grid import Grid
from stormda.nn.transport import Transport
from stormda.normaliser import Normaliser
from stormda.variables import Channel

N = 12
TIME = np.datetime64("2010-01-01T06", "s")


class Silent(nn.Module):
    """A network that adds nothing."""

    def forward(self, state_BPCHW: Tensor, *_: object, **told: object) -> Tensor:
        return torch.zeros_like(state_BPCHW[:, 0])


def linear_flow(errors: bool) -> Transport:
    """A damped wave equation."""
    model = Transport(torch.zeros(1, 1, N), substeps=4, errors=errors).requires_grad_(False)
    model.winds.zero_()
    model.linear[0, 0, 0], model.linear[0, 0, 2] = -0.1, 0.5
    return model


def prior(errors: bool = True) -> StormPrior:
    one, r = torch.ones(1, 1, N), torch.arange(1.0, N + 1)
    modes = torch.linalg.qr(torch.randn(N, N, generator=torch.Generator().manual_seed(0)))[0].T
    guess = LinearGuess(
        one, torch.full((2, 1, 1, N), 0.9), modes, 2 / r, 0.3 * torch.eye(N), torch.diag(0.01 / r), 1e-4 * one,
        linear_flow(errors),
    )  # fmt: skip
    grid = Grid(np.zeros(1), np.arange(0, 360, 360 / N), periodic=(False, True), plane=True)
    channel = (Channel.parse("x0"),)
    normaliser = Normaliser(channel, np.zeros((1, 1, 1, N)), np.ones(1), 0, 0)
    step = np.timedelta64(6 * 3600, "s")
    return StormPrior(channel, grid, normaliser, 2, step, 30.0, EDM(Silent(), guess).eval(), ({30.0: 0.5}, {30.0: 0.5}))


@pytest.fixture
def past() -> History:
    g = torch.Generator().manual_seed(1)
    mean = torch.randn(2, 1, 1, N, generator=g)
    root = 0.1 * torch.randn(N, N, generator=g, dtype=torch.float64)
    return History(mean, torch.full_like(mean, 0.3), torch.ones(2, dtype=torch.bool), root @ root.T)


def propagator(model: StormPrior) -> Tensor:
    """E T E^T of the linear flow."""
    guess = model.model.guess
    assert guess.transport is not None
    images = guess.transport(guess.modes.view(N, 1, 1, N)).flatten(1)
    return (images @ guess.modes.T).T.double()


def test_the_cycle_is_the_kalman_filter(past: History) -> None:
    model = prior()
    g, q, p = propagator(model), model.model.guess.noise.double(), past.covariance
    assert p is not None
    forecast = g @ p @ g.T + q
    gaussian = model.linear(past, TIME)
    # differences in float32 of states of size 4: 1e-4 of the propagator (`Transport.tangent`), twice in the product
    scale = float(forecast.abs().max())
    assert torch.allclose(gaussian.covariance, forecast, atol=4e-4 * scale)

    points, y, variance = torch.tensor([1, 4, 7]), torch.tensor([0.5, -0.2, 0.1]), torch.tensor([0.04, 0.01, 0.09])

    def operator(z: Tensor) -> Tensor:
        return z.flatten(1)[:, points]

    h = model.model.guess.modes.double().T[points]
    own = gaussian.residual * (1 - h.square().sum(dim=1))  # nothing: these modes are all there are
    s = h @ forecast @ h.T + torch.diag(variance.double() + own)
    expected = forecast - forecast @ h.T @ torch.linalg.solve(s, h @ forecast)
    carried = model.carry(past, TIME, operator, y, variance)
    assert carried is not None
    assert torch.allclose(carried, expected, atol=1e-3 * scale)  # the same, and the update's own share of it
    assert model.signature == signature_of(model.model.guess.modes)


def test_draws_are_those_of_the_gaussian_around_the_background(past: History) -> None:
    model = prior()
    transport = model.model.guess.transport
    assert transport is not None
    b = transport(past.mean[-1:])
    x = b + torch.randn(3, 1, 1, N, generator=torch.Generator().manual_seed(2))
    sigma = torch.tensor(0.3)
    d = model.denoiser(past, TIME)(x, sigma)
    s = model.linear(past, TIME).covariance
    e = model.model.guess.modes.double()
    gain = e.T @ s @ torch.linalg.inv(s + 0.09 * torch.eye(N)) @ e
    expected = b + ((x - b).flatten(1).double() @ gain.T).view_as(x)
    assert torch.allclose(d.double(), expected.double(), atol=1e-4)  # float32
    assert model.share(past, 1.0) == 1.0


def test_without_a_covariance_the_network_denoises(past: History) -> None:
    model = prior()
    alone = History(past.mean, past.error, past.mask)
    assert model.share(alone, 30.0) == 0.5
    # P from the error and the climate's correlations, taken forward by the linear model: 0.3^2 x 0.3^2 of the energy
    energy = model.model.guess.energy.double()
    expected = torch.diag(0.09 * 0.09 * energy) + model.model.guess.noise.double()
    assert torch.allclose(model.linear(alone, TIME).covariance, expected, atol=1e-6)


def test_a_flow_without_errors_carries_nothing(past: History) -> None:
    model = prior(errors=False)
    assert model.signature is None
    assert model.carry(past, TIME, lambda z: z.flatten(1)[:, :1], torch.zeros(1), torch.ones(1)) is None


def test_another_device_asks_for_another_guess(past: History) -> None:
    model = prior()
    before = model._guess(past)
    assert model._guess(past) is before
    assert model.on("cpu")._guess(past) is not before


def test_a_past_two_steps_old_is_taken_two_steps(past: History) -> None:
    model = prior()
    mask = torch.tensor([True, False])
    older = History(past.mean, past.error, mask, past.covariance)
    g, q, p = propagator(model), model.model.guess.noise.double(), past.covariance
    assert p is not None
    twice = g @ (g @ p @ g.T + q) @ g.T + q
    assert torch.allclose(model.linear(older, TIME).covariance, twice, atol=1e-3 * float(twice.abs().max()))


def test_of_two_pasts_one_may_be_missing(past: History) -> None:
    guess = prior().model.guess
    assert past.covariance is not None
    mean, error = (f.expand(2, -1, -1, -1, -1) for f in (past.mean, past.error))
    mask = torch.tensor([[True, True], [False, False]])
    found = guess(mean, error, mask, past.covariance.expand(2, -1, -1)).covariance
    alone = guess(mean[:1], error[:1], mask[:1], past.covariance[None]).covariance
    assert torch.allclose(found[0], alone[0])
    assert torch.allclose(found[1], torch.diag(guess.energy).double())  # the climate's
