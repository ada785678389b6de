"""Five hundred cycles without inflation: error, spread and gain of sampled ensembles stay those of the Kalman filter.

Members that took their own pasts for facts would use the gain of the one-step error, and an ensemble that estimated its
covariance from itself would lose its spread: both show in a long cycle or nowhere. The reference is a textbook Kalman
filter in numpy on the same observations.
"""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from stormda.assimilation import methods
from stormda.assimilation.prior import GaussianPrior
from stormda.config import GuidanceConfig
from stormda.diffusion.history import History
from stormda.diffusion.sample.dpm2m import dpm2m
from stormda.grid import Grid
from stormda.normaliser import Normaliser
from stormda.variables import Channel

N, MEMBERS = 6, 32
START, STEP = np.datetime64("2020-01-01T00", "s"), np.timedelta64(21600, "s")


@dataclass(frozen=True)
class Run:
    """By cycle: mean square error of ours and of the Kalman filter, variances of both, distance of the gains; and the
    variance that drawing adds: with S the covariance of our mean around the exact one, S <- (I - K H) G S G' (I - K H)'
    + P / M, since the mean of M draws errs by P / M and the next analysis starts from it.
    """

    ours: np.ndarray
    exact: np.ndarray
    variance: np.ndarray
    exact_variance: np.ndarray
    gain: np.ndarray
    drawn: np.ndarray


def cycle(method: str, cycles: int) -> Run:
    """A slow, non-normal system, of which two of six variables are seen: most of B is error of the analysis before."""
    generator = np.random.default_rng(3)
    g = 0.97 * np.roll(np.eye(N), 1, axis=0) + 0.2 * np.triu(generator.normal(size=(N, N)), 1) / N
    q = 0.01 * np.eye(N)
    basis, _ = np.linalg.qr(generator.normal(size=(N, N)))
    channels = (Channel.parse("x0"),)
    normaliser = Normaliser(channels, np.zeros((1, 1, 1, N)), np.ones(1), 0, 0)
    prior = GaussianPrior(
        channels, Grid(np.zeros(1), np.arange(N) * 60.0, periodic=(False, True), plane=True), normaliser, STEP,
        torch.as_tensor(basis.T.copy()), torch.as_tensor(generator.normal(size=(50, N))), np.arange(50) * STEP + START,
        0.0, torch.as_tensor(basis.T @ g @ basis), torch.as_tensor(basis.T @ q @ basis),
    )  # fmt: skip
    settings = methods.Settings(MEMBERS, 0, MEMBERS, dpm2m, 24, 7.0, None, None, GuidanceConfig(tolerance=1e-3))
    truth, history = generator.normal(size=N), History.none(1, (1, 1, N), torch.float64)
    drawn = np.zeros((N, N))
    mean, p = np.zeros(N), basis @ prior.climatology(START).numpy() @ basis.T
    rows: list[tuple[float, ...]] = []
    for k in range(cycles):
        truth = g @ truth + 0.1 * generator.normal(size=N)
        seen = generator.choice(N, size=2, replace=False)
        h, r = np.eye(N)[seen], np.full(2, 0.25)
        y = h @ truth + 0.5 * generator.normal(size=2)
        if k:
            mean, p = g @ mean, g @ p @ g.T + q
        gain = p @ h.T @ np.linalg.inv(h @ p @ h.T + np.diag(r))
        mean, p = mean + gain @ (y - h @ mean), p - gain @ h @ p
        kept = (np.eye(N) - gain @ h) @ g
        drawn = kept @ drawn @ kept.T + p / MEMBERS
        matrix = torch.as_tensor(h)

        def operator(x: torch.Tensor, matrix: torch.Tensor = matrix) -> torch.Tensor:
            return x.flatten(1) @ matrix.T.to(x)

        time = START + k * STEP
        b = basis @ prior.linear(history, time).covariance.numpy() @ basis.T
        own = b @ h.T @ np.linalg.inv(h @ b @ h.T + np.diag(r))
        problem = methods.Problem(time, history, operator, torch.as_tensor(y), torch.as_tensor(r))
        x, carry = methods.analysis(method, prior, problem, settings)
        history = methods.remember(prior, history, x, carry)
        found = x.double().flatten(1).numpy()
        rows.append(
            (
                float(((found.mean(axis=0) - truth) ** 2).mean()), float(((mean - truth) ** 2).mean()),
                float(found.var(axis=0, ddof=1).mean()), float(np.trace(p) / N),
                float(np.linalg.norm(own - gain) / np.linalg.norm(gain)), float(np.trace(drawn) / N),
            )
        )  # fmt: skip
    return Run(*np.array(rows).T)


def check(run: Run, first: int) -> None:
    """Of the cycles from `first` on."""
    ours, exact, variance, exact_variance, gain, drawn = (f[first:] for f in vars(run).values())
    # The error is that of the exact mean and, beside it, that of drawing. Errors live for about ten cycles,
    # so means over n cycles of N variables have N n / 10 independent ones; their product adds 2 sqrt(S / P) each.
    share = drawn.mean() / exact_variance.mean()
    uncertain = 3 * 2 * np.sqrt(share / (N * len(ours) / 10))
    assert abs(ours.mean() / exact.mean() - 1 - share) < uncertain
    # The spread covers both errors: the history's covariance is told 1 / M too much at every cycle, which adds up as S
    # does. 5 %: the solver's 3 % of the standard deviation, and 1 % of a mean of variances of M draws.
    assert abs(np.sqrt(variance.mean() / (exact_variance + drawn).mean()) - 1) < 0.05
    # So the gain is that of P + S, which moves K = B H' (H B H' + R)^-1 by less than B moves.
    assert gain.mean() < share


def test_sixty_cycles() -> None:
    check(cycle("gaussian", 60), 30)


@pytest.mark.soak
def test_five_hundred_cycles_keep_error_spread_and_gain() -> None:
    run = cycle("gaussian", 500)
    for first in (50, 250, 400):
        check(run, first)
    half = [float(np.sqrt(run.ours[s].mean() / run.exact[s].mean())) for s in (slice(50, 275), slice(275, 500))]
    assert abs(half[1] - half[0]) < 0.1  # nothing drifts: twice the uncertainty of `check` for 225 cycles, of the root
