"""The ensemble score filter: its scheme in one dimension, and what each form does and leaves."""

import numpy as np
import pytest
import torch

from stormda.assimilation.baselines.ensf import ensf

M, STEPS, B = 2000, 100, 0.025


def members(count: int = M, size: int = 3) -> torch.Tensor:
    return torch.randn(count, 1, 1, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def first(z: torch.Tensor) -> torch.Tensor:
    return z.flatten(-3)[..., :1]


def one_dimension(p: float, m: float, y: float, r: float, bandwidth: float) -> tuple[float, float]:
    """Mean and variance of z_0 where the members' law is N(m, p), from z_1 ~ N(0, 1): steps are affine in z and n."""
    mean, var = 0.0, 1.0
    for k in range(STEPS, 0, -1):
        t, s = k / STEPS, (k - 1) / STEPS
        a_t, a_s = 1 - 0.95 * t, 1 - 0.95 * s
        q_t, q_s = bandwidth + (1 - bandwidth) * t, bandwidth + (1 - bandwidth) * s
        v = q_t - (a_t / a_s) ** 2 * q_s
        gain = a_t * p / (a_t**2 * p + q_t)  # D = m + gain (z - a_t m)
        slope = a_t / a_s * q_s / q_t + a_s * v / q_t * gain
        mean = a_t / a_s * q_s / q_t * mean + a_s * v / q_t * (m + gain * (mean - a_t * m))
        c = a_s / a_t * v * (1 - s)
        pull = c / (r + c)
        mean += pull * (y - mean)
        var = (1 - pull) ** 2 * (slope**2 * var + q_s * v / q_t)
    return mean, var


@pytest.mark.parametrize("r", [0.01, 0.1, 1.0])
def test_many_gaussian_members_move_to_the_kalman_mean(r: float) -> None:
    """A mixture around many members is nearly their Gaussian; the scheme's own bias beyond that is known."""
    x = members(400, 1)
    m, p, y = float(x.mean()), float(x.var()), 2.0
    ours = ensf(x, first, torch.tensor([y]), torch.tensor([r]), form="mixture", steps=STEPS, seed=0, stream=1)
    mean, variance = one_dimension(p, m, y, r, B)
    # 400 draws: a standard error sqrt(v / 400) of the mean and sqrt(2 / 400) = 7 % of the variance. 400 members are a
    # rough density: near y = 2 a kernel holds 400 x 0.05 x sqrt(2 pi b) = 8 of them, a third more or less, and a slope
    # of 1/3 a width in ln p moves a mean by at most its variance, b, over that width, sqrt(b) = 0.16: 0.05.
    assert abs(float(ours.mean()) - mean) < 4 * np.sqrt(variance / 400) + 0.05
    assert abs(float(ours.var()) / variance - 1) < 0.35
    kalman = m + p / (p + r) * (y - m)
    assert abs(mean - kalman) < 0.1 * abs(kalman - m)  # most at r = 0.1, where the damped likelihood comes too early


@pytest.mark.parametrize("r", [0.01, 1.0])
def test_each_member_moves_by_itself(r: float) -> None:
    """The form `member` is the scheme with p = 0: the shift of the mean is its gain times the innovation."""
    x = members()
    ours = ensf(x, first, torch.tensor([2.0]), torch.tensor([r]), steps=STEPS, seed=0, stream=1)
    expected, _ = one_dimension(0.0, 0.0, 1.0, r, B)  # of a unit innovation
    free, _ = one_dimension(0.0, 0.0, 0.0, 1e12, B)
    shift, innovation = float((ours - x)[..., 0].mean()), 2.0 - float(x[..., 0].mean())
    # The noise of the two reverse diffusions has a variance of at most b each and is partly the same.
    assert abs(shift - (expected - free) * innovation) < 4 * np.sqrt(2 * B / M)
    assert B / (B + r) < shift / innovation < 3.2 * B / (B + r)


def test_what_is_not_observed_stays_as_it_was() -> None:
    x = members(20)
    ours = ensf(x, first, torch.tensor([2.0]), torch.tensor([0.01]), steps=20, seed=0, stream=1)
    assert torch.equal(ours[..., 1:], x[..., 1:])
    assert float((ours - x)[..., 0].abs().min()) > 1e-3


def test_relaxation_gives_the_spread_back_and_members_their_own_noise() -> None:
    x = members(20)
    operator = lambda z: torch.arctan(first(z))  # noqa: E731
    y, r = torch.tensor([1.0]), torch.tensor([0.01])
    relaxed = ensf(x, operator, y, r, steps=20, rtps=1.0, seed=0, stream=1)
    np.testing.assert_allclose(relaxed.std(dim=0), x.std(dim=0), rtol=1e-12)
    plain = ensf(x, operator, y, r, steps=20, seed=0, stream=1)
    np.testing.assert_allclose(ensf(x[:5], operator, y, r, steps=20, seed=0, stream=1), plain[:5], atol=1e-12)
    assert not torch.equal(ensf(x, operator, y, r, steps=20, seed=1, stream=1), plain)


def test_small_errors_ask_for_no_small_steps() -> None:
    x = members(20)
    ours = ensf(x, first, torch.tensor([2.0]), torch.tensor([1e-8]), steps=10, seed=0, stream=1)
    # The last implicit step leaves R / (R + c), c > 0.1, of the distance; the noise-free difference adds x - free.
    assert abs(float(ours[..., 0].mean()) - 2.0) < 4 * np.sqrt(B / 20) + 0.05
