"""The background error covariance is estimated right where it is known: for a linear model in a linear world."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stormda.diffusion.background import BackgroundError
from stormda.diffusion.denoise import EDM
from stormda.training import background
from stormda.training.background import background_error
from stormda.training.data import Series, statistics
from stormda.training.linear import linear_guess

STEP = np.timedelta64(6, "h")
SHAPE = (1, 1, 12)
N = 12


class Silent(nn.Module):
    """A network that adds nothing to the guess."""

    def forward(self, state_BPCHW: Tensor, *_: object) -> Tensor:
        return torch.zeros_like(state_BPCHW[:, 0])


def series(t: int, seed: int, season: float = 0.0) -> Series:
    """An autoregression of white fields, x = 0.8 x + q, with noise whose variance follows the year."""
    g = torch.Generator().manual_seed(seed)
    times = np.datetime64("2001-01-01T00", "s") + STEP * np.arange(t)
    phase = 2 * math.pi * np.arange(t) / (4 * 365.2425)
    x, fields = torch.randn(N, generator=g), []
    for k in range(t):
        x = 0.8 * x + math.sqrt(0.36 * math.exp(season * math.cos(phase[k]))) * torch.randn(N, generator=g)
        fields.append(x)
    return Series(torch.stack(fields).view(t, *SHAPE), times, STEP, np.arange(t))


def estimated(learn: Series, held: Series, modes: int = N) -> BackgroundError | None:
    climate = statistics(learn, False)
    linear = linear_guess(learn, climate, 1, modes)
    weights = torch.ones(SHAPE[1:])
    return background_error(EDM(Silent(), linear), linear, learn, held, 1, (0.02, 20.0), weights)


def test_b_is_as_large_as_the_errors_in_a_linear_world() -> None:
    """Then the share is 1 at all levels: 96 states of 12 independent points each have a sampling error of the mean
    square of sqrt(2 / 1152) = 4 %, but states of one chain share their past (a decorrelation of 1/(1 - 0.8) / 2
    cycles), and the scale of Q comes from other draws of about the same number: 4 sd are 4 x 4 % x sqrt(2 x 2) = 33 %.
    """
    b = estimated(series(3000, 0), series(800, 1))
    assert b is not None
    assert bool(((b.share > 0.67) & (b.share < 1.33)).all())
    assert bool(((b.cold_share > 0.67) & (b.cold_share < 1.33)).all())
    # So draws need no widening: 32 states of 12 points know the ratio of spread and error to sqrt(2 / 384) / 2 = 4 %,
    # B is wrong by a sixth of the above at most (sd), 16 steps by 5 %; half of a widening stays after observations.
    assert 1.0 <= float(b.width) < 1.4


def test_a_year_with_seasons_has_them_in_f() -> None:
    """f follows exp(cos): w of the annual cosine is 1. 384 errors of 12 points each determine ln |r|^2 to
    sqrt(2 / 12) = 0.41, so w to 0.41 / sqrt(384 / 2) = 0.03; 5 sd. The cycle before adds none: the past is known."""
    b = estimated(series(3000, 0, 1.0), series(800, 1, 1.0))
    assert b is not None
    assert abs(float(b.season[1]) - 1.0) < 0.15
    assert float(b.season[2:].abs().max()) < 0.15


def test_too_short_or_without_modes_there_is_none() -> None:
    long, short = series(200, 0), series(11, 1)
    assert estimated(long, short) is None
    assert estimated(long, series(60, 1), modes=0) is None


class Growing(nn.Module):
    """A network whose background errs three times as much as the past: the guess is 0.8 of it, so this adds to that."""

    def forward(self, state_BPCHW: Tensor, _: Tensor, mean_BKCHW: Tensor, *rest: object) -> Tensor:
        return 2.2 * mean_BKCHW[:, -1] / state_BPCHW[:, 3].clamp_min(1e-12).sqrt()


def test_where_errors_grow_that_the_linear_model_damps_there_is_none(caplog: pytest.LogCaptureFixture) -> None:
    """The linear model says 0.8 and damps P, the network 0.8 + about 2.2: its errors grow from cycle to cycle."""
    learn, held = series(400, 0), series(120, 1)
    climate = statistics(learn, False)
    linear = linear_guess(learn, climate, 1, N)
    model = EDM(Growing(), linear)
    assert background_error(model, linear, learn, held, 1, (0.02, 20.0), torch.ones(SHAPE[1:])) is None
    assert "do not follow" in caplog.text


def test_runs_are_unbroken() -> None:
    whole = series(100, 0)
    kept = np.r_[0:20, 21:100]  # a gap
    gap = Series(whole.fields[kept], whole.times[kept], STEP, np.arange(99))
    runs = background._runs(gap, 50, torch.Generator().manual_seed(0)).numpy()
    assert runs.shape == (50, background._LENGTH)
    assert bool((np.diff(gap.times[runs], axis=1) == STEP).all())
    assert runs.min() >= 20  # before the gap there is no run of that length


def test_the_update_is_the_kalman_filter() -> None:
    """Against the dense formula, where everything is observed with an error that is nearly zero: the truth remains."""
    g = torch.Generator().manual_seed(0)
    e = torch.linalg.qr(torch.randn(N, N, generator=g))[0]
    a = torch.randn(N, N, generator=g, dtype=torch.float64)
    covariance, beside = (a @ a.T + torch.eye(N))[None], torch.full((1, *SHAPE), 1e-6)
    b, x = torch.randn(2, 1, *SHAPE, generator=g)
    all_of_them = background._Network(torch.tensor([N]), torch.tensor([0.25]))
    seen = torch.Generator().manual_seed(5)
    analysis, p, variance = all_of_them.update(b, x, covariance, beside, e, seen)
    again = torch.Generator().manual_seed(5)
    point = torch.rand(1, N, generator=again).argsort(dim=1)[0]
    y = torch.empty(N)
    y[point] = x.flatten()[point] + 0.5 * torch.randn(1, N, generator=again)[0]
    s = e.double().T @ covariance[0] @ e.double() + 1e-6 * torch.eye(N)
    gain = s @ torch.linalg.inv(s + 0.25 * torch.eye(N))
    expected = b.flatten().double() + gain @ (y - b.flatten()).double()
    torch.testing.assert_close(analysis.flatten().double(), expected, rtol=1e-5, atol=1e-5)  # single precision
    # The posterior forgets that b, of variance 1e-6, was observed too.
    posterior = torch.linalg.inv(torch.linalg.inv(s) + 4 * torch.eye(N).double())
    torch.testing.assert_close(variance.flatten().double(), torch.diagonal(posterior), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(e.double().T @ p[0] @ e.double(), posterior, rtol=1e-4, atol=1e-4)


def test_moments_are_made_positive_and_keep_their_size_where_they_can() -> None:
    prior = torch.eye(4, dtype=torch.float64)
    broken = torch.diag(torch.tensor([4.0, 2.0, -1.0, 3.0], dtype=torch.float64))
    assert float(torch.linalg.eigvalsh(background._positive(broken, prior, 0.3))[0]) > 0
    whole = torch.diag(torch.tensor([4.0, 2.0, 1.0, 3.0], dtype=torch.float64))
    for shrinkage in (0.0, 0.5, 1.0):
        assert math.isclose(float(background._positive(whole, prior, shrinkage).trace()), 10.0, rel_tol=1e-12)
