"""The linear-Gaussian guess is the dense Wiener filter of its model, and its estimate is honest on unseen times."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stormda.diffusion.guess import LinearGuess, inverse_model
from stormda.training.data import Series, statistics
from stormda.training.linear import linear_guess

SHAPE = (1, 3, 4)
N, R = 12, 5


def model(modes: int, beside: float, frames: int = 2) -> tuple[LinearGuess, Tensor, Tensor]:
    """A model of `modes` coordinates, and its dense propagator and climatological covariance [N, N]."""
    g = torch.Generator().manual_seed(0)
    e = torch.linalg.qr(torch.randn(N, N, generator=g, dtype=torch.float64))[0][:modes]
    energy = torch.linspace(9.0, 2.0, modes, dtype=torch.float64)
    propagator = 0.2 * torch.randn(modes, modes, generator=g, dtype=torch.float64) / modes**0.5 + 0.7 * torch.eye(modes)
    noise = torch.diag(0.3 * energy)
    rest = torch.eye(N, dtype=torch.float64) - e.T @ e
    climate = e.T @ torch.diag(energy) @ e + beside * rest
    spare = (beside * torch.diag(rest)).view(SHAPE)
    variance = torch.diag(climate).view(SHAPE)
    linear = LinearGuess(variance, torch.zeros(frames, *SHAPE), e, energy, propagator, noise, spare)
    return linear, e.T @ propagator @ e, climate


def history(mask: list[bool], error: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    m = torch.randn(1, len(mask), *SHAPE, generator=torch.Generator().manual_seed(1))
    return m, error.expand_as(m), torch.tensor([mask])


@pytest.mark.parametrize("modes", [0, R, N])
@pytest.mark.parametrize("mask", [[True, True], [True, False], [False, False]])
def test_it_is_the_wiener_filter_of_its_model(modes: int, mask: list[bool]) -> None:
    """With errors of half the climate's standard deviation, P is a quarter of the climate's covariance."""
    beside = 0.4
    linear, propagator, climate = model(modes, beside)
    m, e, there = history(mask, 0.5 * linear.variance.sqrt())
    guess = linear(m, e, there)

    q = linear.modes.double().T @ linear.noise.double() @ linear.modes.double()
    rest = torch.eye(N).double() - linear.modes.double().T @ linear.modes.double()
    mean, s = m[0, -1].double().flatten(), climate / 4
    if mask == [True, False]:
        mean, s = propagator @ m[0, 0].double().flatten(), propagator @ s @ propagator.T + q
    mean, s = propagator @ mean, propagator @ s @ propagator.T + q + beside * rest
    if mask == [False, False]:
        mean, s = torch.zeros(N).double(), climate
    x, sigma = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(2)), 0.8
    gain = s @ torch.linalg.inv(s + sigma**2 * torch.eye(N))
    d, variance = guess.denoise(x, torch.tensor([sigma]))
    # float32 fields of size 3 and products of 12 terms: 3 x 12 x 6e-8 = 2e-6; the floor of `outside` (1e-3 where no
    # direction is left) lets 1e-3 of a variance of 1e-4 through: 1e-7. A clear margin over both.
    close: dict[str, Any] = {"atol": 2e-5, "rtol": 1e-5}
    torch.testing.assert_close(guess.mean.flatten().double(), mean, **close)
    torch.testing.assert_close(d.flatten().double(), mean + gain @ (x.flatten().double() - mean), **close)
    if modes < N:  # Where no direction is left over, the floors keep a variance of 1e-4.
        torch.testing.assert_close(guess.variance.flatten().double(), torch.diag(s), **close)
        torch.testing.assert_close(variance.flatten().double(), torch.diag(s - gain @ s), **close)


def test_as_a_gaussian_it_denoises_alike() -> None:
    linear, _, _ = model(R, 0.4)
    guess = linear(*history([True, True], 0.3 * linear.variance.sqrt()))
    x = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(3))
    for sigma in (0.05, 1.0, 20.0):
        expected, _ = guess.denoise(x, torch.tensor([sigma]))
        torch.testing.assert_close(guess.gaussian().denoise(x, torch.tensor(sigma)), expected, atol=2e-5, rtol=1e-5)


def test_samples_of_a_batch_have_their_own_history() -> None:
    linear, _, _ = model(R, 0.4)
    parts = [
        history(mask, error * linear.variance.sqrt()) for mask, error in (([True, True], 0.2), ([True, False], 0.7))
    ]
    both = linear(*(torch.cat(f) for f in zip(*parts, strict=True)))
    x = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(3))
    together = both.denoise(x, torch.tensor([0.3, 2.0]))
    for i, (part, sigma) in enumerate(zip(parts, (0.3, 2.0), strict=True)):
        alone = linear(*part).denoise(x[i : i + 1], torch.tensor([sigma]))
        for a, b in zip(alone, together, strict=True):
            torch.testing.assert_close(b[i : i + 1], a, atol=1e-5, rtol=1e-5)  # float32, products of 12 terms


def test_the_error_of_the_inverse_model_is_that_on_unseen_times() -> None:
    """30 coordinates, 1000 times: by its own residuals a regression without ridge would claim 6 % less."""
    g, r, t = torch.Generator().manual_seed(0), 30, 1000
    truth = 0.8 * torch.linalg.qr(torch.randn(r, r, generator=g, dtype=torch.float64))[0]
    a = [torch.randn(r, generator=g, dtype=torch.float64)]
    for _ in range(t + 10_000):
        a.append(truth @ a[-1] + 0.6 * torch.randn(r, generator=g, dtype=torch.float64))
    seen, unseen = torch.stack(a[: t + 1]), torch.stack(a[t:])
    for ridge in (None, 1e-6):
        propagator, errors = inverse_model(seen[:-1], seen[1:], ridge)
        error = (unseen[1:] - unseen[:-1] @ propagator.T).square().sum(dim=1).mean()
        # Models of 800 times err by 30/769 more than the noise, that of 1000 times by 30/969: 0.8 % less. The standard
        # error of a mean of 1000 x 30 squares of normal numbers is sqrt(2/30000) = 0.8 %: three of them.
        assert 1.008 - 0.025 < float(errors.square().sum(dim=1).mean() / error) < 1.008 + 0.025


def test_too_few_years_shrink_to_persistence_of_each_coordinate() -> None:
    """Independent coordinates: cross-validation takes a large ridge and finds almost no coupling."""
    g, r, t = torch.Generator().manual_seed(0), 40, 120
    a = [torch.randn(r, generator=g, dtype=torch.float64)]
    for _ in range(t):
        a.append(0.9 * a[-1] + 0.436 * torch.randn(r, generator=g, dtype=torch.float64))
    x = torch.stack(a)
    chosen, _ = inverse_model(x[:-1], x[1:])
    free, _ = inverse_model(x[:-1], x[1:], 1e-6)
    off = ~torch.eye(r, dtype=torch.bool)
    assert float(chosen[off].square().mean()) < 0.1 * float(free[off].square().mean())


def test_it_is_estimated_from_data() -> None:
    """Waves that move one point a step around a ring: the propagator of two coordinates turns them."""
    points, t = 16, 600
    phase = 2 * torch.pi * torch.arange(points) / points
    steps, g = torch.arange(t), torch.Generator().manual_seed(0)
    amplitude = 1 + 0.1 * torch.randn(t, 1, generator=g)
    waves = amplitude * torch.cos(phase - 2 * torch.pi * steps[:, None] / points)
    fields = (waves + 0.1 * torch.randn(t, points, generator=g))[:, None, None]
    step = np.timedelta64(6, "h")
    data = Series(fields, np.datetime64("2001-01-01", "s") + step * np.arange(t), step, np.arange(t))
    linear = linear_guess(data, statistics(data, False), 1, 2)
    guess = linear(fields[None, :1], torch.full((1, 1, 1, 1, points), 0.01), torch.ones(1, 1, dtype=torch.bool))
    expected = fields[0, 0, 0].roll(1)
    # Noise of 0.1 a point and changes of amplitude of 0.1: persistence errs by 0.28 (2 sin(pi/16) / sqrt 2).
    assert float((guess.mean[0, 0, 0] - expected).square().mean().sqrt()) < 0.15
