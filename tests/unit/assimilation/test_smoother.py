"""A window of past frames, drawn again, is the Kalman smoother: means and covariances, by both ways.

The reference is a textbook Kalman filter and Rauch-Tung-Striebel smoother in numpy that shares no code.
"""

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pytest
import torch

from stormda.assimilation import methods
from stormda.assimilation.prior import GaussianPrior, Prior
from stormda.assimilation.smoother import Between, Frame, backwards, redraw
from stormda.config import GuidanceConfig
from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.history import History
from stormda.diffusion.sample.dpm2m import dpm2m
from stormda.errors import ConfigError
from stormda.grid import Grid
from stormda.normaliser import Normaliser
from stormda.types import Denoise
from stormda.variables import Channel

N, CYCLES, MEMBERS = 6, 5, 3000
START, STEP = np.datetime64("2020-01-01T00", "s"), np.timedelta64(21600, "s")


@dataclass(frozen=True)
class Linear:
    """x_k = G x_{k-1} + q, observed at some points; and what a smoother says of it."""

    prior: GaussianPrior
    frames: list[Frame]
    mean: np.ndarray
    covariance: np.ndarray


def linear(method: str, members: int) -> Linear:
    """Five cycles of a filter, and the textbook's smoother."""
    generator = np.random.default_rng(3)
    g = 0.9 * np.roll(np.eye(N), 1, axis=0) + 0.2 * np.triu(generator.normal(size=(N, N)), 1) / N
    a = generator.normal(size=(N, N))
    q = 0.1 * a @ a.T / N + 0.05 * np.eye(N)
    basis, _ = np.linalg.qr(generator.normal(size=(N, N)))
    channels = (Channel.parse("x0"),)
    normaliser = Normaliser(channels, np.zeros((1, 1, 1, N)), np.ones(1), 0, 0)
    amplitudes = torch.as_tensor(generator.normal(size=(50, N)))
    grid = Grid(np.zeros(1), np.arange(N) * 60.0, periodic=(False, True), plane=True)
    prior = GaussianPrior(
        channels, grid, normaliser, STEP, torch.as_tensor(basis.T.copy()), amplitudes,
        np.arange(50) * STEP + START, 0.0, torch.as_tensor(basis.T @ g @ basis), torch.as_tensor(basis.T @ q @ basis),
    )  # fmt: skip
    settings = methods.Settings(members, 0, 4000, dpm2m, 24, 7.0, 1e-3, None, GuidanceConfig(tolerance=1e-6))
    truth, history = generator.normal(size=N), History.none(1, (1, 1, N), torch.float64)
    m, p = np.zeros(N), basis @ prior.climatology(START).numpy() @ basis.T
    frames, filtered, predicted = [], [], []
    for k in range(CYCLES):
        truth = g @ truth + np.linalg.cholesky(q) @ generator.normal(size=N)
        rows = generator.choice(N, size=2, replace=False)
        h, r = np.eye(N)[rows], np.array([0.2, 0.05])
        y = h @ truth + np.sqrt(r) * generator.normal(size=2)
        if k:
            m, p = g @ m, g @ p @ g.T + q
        predicted.append((m, p))
        gain = p @ h.T @ np.linalg.inv(h @ p @ h.T + np.diag(r))
        m, p = m + gain @ (y - h @ m), p - gain @ h @ p
        filtered.append((m, p))
        matrix = torch.as_tensor(h)

        def operator(x: torch.Tensor, matrix: torch.Tensor = matrix) -> torch.Tensor:
            return x.flatten(1) @ matrix.T.to(x)

        time = START + k * STEP
        problem = methods.Problem(time, history, operator, torch.as_tensor(y), torch.as_tensor(r))
        ensemble, carry = methods.analysis(method, prior, problem, settings)
        frames.append(Frame(problem, ensemble))
        assert carry is not None
        mean = ensemble.double().mean(dim=0)[None]
        history = History(mean, torch.ones_like(mean), torch.tensor([True]), carry)
    means, covariances = [m], [p]
    for k in reversed(range(CYCLES - 1)):
        (m0, p0), (mb, pb) = filtered[k], predicted[k + 1]
        c = p0 @ g.T @ np.linalg.inv(pb)
        means.insert(0, m0 + c @ (means[0] - mb))
        covariances.insert(0, p0 + c @ (covariances[0] - pb) @ c.T)
    return Linear(prior, frames, np.stack(means), np.stack(covariances))


def whole(drawn: list[torch.Tensor | None]) -> list[torch.Tensor]:
    """Every frame was drawn again."""
    assert all(x is not None for x in drawn)
    return [x for x in drawn if x is not None]


def spread(drawn: list[torch.Tensor]) -> np.ndarray:
    """Covariances of the members, [T, N, N]."""
    return np.stack([np.cov(x.double().flatten(1).numpy().T) for x in drawn])


def close(found: np.ndarray, exact: np.ndarray, members: int) -> None:
    """Within five standard errors of a covariance of M Gaussian members, sqrt((P_ii P_jj + P_ij^2) / M)."""
    d = np.einsum("tii->ti", exact)
    error = np.sqrt((d[:, :, None] * d[:, None, :] + exact**2) / members)
    assert (np.abs(found - exact) / error).max() < 5


def test_joint_draw_of_kf_is_the_smoother() -> None:
    world = linear("kf", MEMBERS)
    settings = methods.Settings(MEMBERS, 1, 4000, dpm2m, 24, 7.0, 1e-3, None, GuidanceConfig())
    drawn = redraw("kf", world.prior, world.frames, settings)
    means = np.stack([x.double().mean(dim=0).flatten().numpy() for x in whole(drawn)])
    # Members and the history's mean are stored in single precision: 1e-7 of numbers of size 1, in five cycles.
    np.testing.assert_allclose(means, world.mean, atol=3e-6)
    close(spread(whole(drawn)), world.covariance, MEMBERS)
    # Later observations matter here: the first frame is known a third better than the filter knew it.
    first = world.frames[0].ensemble.double().flatten(1).var(dim=0).sum()
    assert float(first) > 1.3 * np.trace(world.covariance[0])


def test_steps_backwards_are_the_smoother() -> None:
    world = linear("kf", MEMBERS)
    prior = world.prior
    drawn = backwards(prior, prior.modes, prior.propagator, world.frames, seed=1)
    means = np.stack([x.double().mean(dim=0).flatten().numpy() for x in whole(drawn)])
    np.testing.assert_allclose(means, world.mean, atol=1e-5)  # as above; the denoiser runs in single precision
    close(spread(whole(drawn)), world.covariance, MEMBERS)


@dataclass(frozen=True)
class Told:
    """A prior whose background is another one at one time."""

    base: GaussianPrior
    by: torch.Tensor

    def __getattr__(self, name: str) -> Any:
        return getattr(self.base, name)

    def denoiser(self, history: History, time: np.datetime64) -> Denoise:
        plain = self.base.denoiser(history, time)
        return lambda x, sigma: plain(x, sigma) + self.by.to(x)


def test_each_step_back_takes_the_prior_of_its_own_time() -> None:
    """That of frame 2 expects more by d: frame 1 goes back by C d, and the frames after it are alike."""
    world = linear("kf", 8)
    prior, frames = world.prior, world.frames
    d = torch.linspace(-1, 1, N, dtype=torch.float64)
    told = [*frames[:2], replace(frames[2], prior=cast(Prior, Told(prior, d.view(1, 1, N)))), *frames[3:]]
    plain, other = (whole(backwards(prior, prior.modes, prior.propagator, f, seed=1)) for f in (frames, told))
    assert all(torch.equal(a, b) for a, b in zip(plain[2:], other[2:], strict=True))
    past = frames[2].problem.history
    assert past.covariance is not None
    b = prior.linear(past, frames[2].problem.time).covariance
    gain = torch.linalg.solve(b, prior.propagator.double() @ past.covariance.double()).T
    wanted = -(prior.modes.T.double() @ gain @ prior.modes.double() @ d)
    torch.testing.assert_close(  # members in single precision, of size 1
        (other[1] - plain[1]).double().flatten(1), wanted.expand(8, -1), atol=3e-6, rtol=0
    )


def test_what_no_later_observation_reaches_stays() -> None:
    world = linear("kf", 8)
    settings = methods.Settings(8, 1, 8, dpm2m, 24, 7.0, 1e-3, None, GuidanceConfig())
    nothing = torch.zeros(0, dtype=torch.float64)

    def without(frame: Frame) -> Frame:
        none = replace(frame.problem, operator=lambda x: x.flatten(1)[:, :0], y=nothing, variance=nothing)
        return replace(frame, problem=none)

    def drawn(*bare: int) -> list[bool]:
        frames = [without(frame) if k in bare else frame for k, frame in enumerate(world.frames)]
        return [z is not None for z in redraw("kf", world.prior, frames, settings)]

    assert drawn(3, 4) == [True, True, False, False, True]
    assert drawn(1, 2, 3, 4) == drawn(0, 1, 2, 3, 4) == [False] * 5


def test_one_reverse_diffusion_draws_the_window() -> None:
    world = linear("kf", 50)
    settings = methods.Settings(MEMBERS, 1, 4000, dpm2m, 32, 7.0, 2e-3, None, GuidanceConfig(tolerance=1e-6))
    drawn = redraw("gaussian", world.prior, world.frames, settings)
    means = np.stack([x.double().mean(dim=0).flatten().numpy() for x in whole(drawn)])
    d = np.einsum("tii->ti", world.covariance)
    # Four standard errors of a mean of M draws, and 0.03 sd: the sampler's own error at 32 steps is below 2 %.
    assert (np.abs(means - world.mean) < (4 / np.sqrt(MEMBERS) + 0.03) * np.sqrt(d)).all()
    ratio = np.einsum("tii->t", spread(whole(drawn))) / d.sum(axis=1)
    # 24 and more steps of dpm2m are right to 3 % of the standard deviation, 6 % of the variance; a sum of N variances
    # of M draws has an error below 3 sqrt(2 / M) = 8 %.
    assert (np.abs(ratio - 1) < 0.14).all()


def test_observations_between_frames_see_both() -> None:
    """Half of each frame: the posterior of the joint Gaussian with that H, by hand."""
    world = linear("kf", 40)
    one, two = world.frames[:2]
    y, variance = torch.tensor([0.7], dtype=torch.float64), torch.tensor([0.1], dtype=torch.float64)

    def half(before: torch.Tensor, now: torch.Tensor) -> torch.Tensor:
        return 0.5 * (before + now)[..., 0, 0, :1]

    settings = methods.Settings(40, 1, 40, dpm2m, 24, 7.0, 1e-3, None, GuidanceConfig())
    drawn = redraw("kf", world.prior, [one, Frame(two.problem, two.ensemble, Between(half, y, variance))], settings)
    e, g = world.prior.modes.numpy(), world.prior.propagator.numpy()
    p0 = world.prior.climatology(START).numpy()
    p = np.block([[p0, p0 @ g.T], [g @ p0, g @ p0 @ g.T + world.prior.noise.numpy()]])
    both = np.kron(np.eye(2), e)
    s = both.T @ p @ both
    h0 = one.problem.operator(torch.eye(N, dtype=torch.float64).reshape(N, 1, 1, N)).T.numpy()
    h = np.vstack([np.hstack([h0, np.zeros((2, N))]), 0.5 * np.eye(2 * N)[:1] + 0.5 * np.eye(2 * N)[N : N + 1]])
    r = np.diag(np.append(one.problem.variance.numpy(), 0.1))
    exact = s @ h.T @ np.linalg.solve(h @ s @ h.T + r, np.append(one.problem.y.numpy(), 0.7))
    means = np.concatenate([x.double().mean(dim=0).flatten().numpy() for x in whole(drawn)])
    np.testing.assert_allclose(means, exact, atol=3e-6)  # single precision, as above


def test_a_state_from_elsewhere_is_refused() -> None:
    world = linear("kf", 4)
    problem = world.frames[0].problem
    other = Gaussian(torch.zeros(1, 1, N), world.prior.modes, torch.eye(N, dtype=torch.float64))
    beside = methods.Problem(
        problem.time, problem.history, problem.operator, problem.y, problem.variance, elsewhere=other
    )
    settings = methods.Settings(4, 1, 4, dpm2m, 4, 7.0, None, None, GuidanceConfig())
    with pytest.raises(ConfigError, match="beside a centre's own state"):
        redraw("kf", world.prior, [Frame(beside, world.frames[0].ensemble)], settings)
