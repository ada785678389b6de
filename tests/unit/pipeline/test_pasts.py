"""Pasts made on purpose, in a linear-Gaussian world whose prior is exact: their scores are known in closed form."""

from functools import cache

import numpy as np
import pytest
import torch

from stormda.assimilation.methods import Settings
from stormda.assimilation.prior import GaussianPrior
from stormda.config import load
from stormda.grid import Grid
from stormda.normaliser import Normaliser
from stormda.operators.gridpoint import GridPoints
from stormda.pipeline import build
from stormda.pipeline.networks import network_of
from stormda.pipeline.past_curves import Curves, Row
from stormda.pipeline.pasts import ANALYSIS, BACKGROUND, Trial
from stormda.pipeline.worlds import World
from stormda.types import Array, silent
from stormda.variables import Channel

N, TIMES, FRAMES, MEMBERS = 30, 80, 3, 8
E = 0.4
R = 0.5**2
STEP = np.timedelta64(6 * 3600, "s")
EPOCH = np.datetime64("2001-01-01T00", "s")
CHANNELS = (Channel.parse("x0"),)
GRID = Grid(np.zeros(1), np.arange(N) * 360.0 / N, periodic=(False, True), plane=True)
NUMBERS = range(FRAMES, TIMES)


def law() -> tuple[Array, Array, Array]:
    """G, Q and the stationary covariance S = G S G^T + Q of waves that move on and fade."""
    x = np.arange(N)
    distance = np.minimum((x[:, None] - x) % N, (x - x[:, None]) % N)
    g, q = 0.8 * np.roll(np.eye(N), 1, axis=0), 0.3 * np.exp(-0.5 * distance**2)
    s = q.copy()
    for _ in range(300):
        s = g @ s @ g.T + q
    return g, q, s


@cache
def trial(method: str = "kf", frames: int = FRAMES) -> Trial:
    """The exact prior in the basis of its EOFs, and a truth that obeys it."""
    g, q, s = law()
    values, vectors = np.linalg.eigh(s)
    e = vectors.T[::-1].copy()
    amplitudes = np.sqrt(N) * np.diag(np.sqrt(values[::-1]))  # amplitudes^T amplitudes / N = diag(values)
    normaliser = Normaliser(CHANNELS, np.zeros((1, 1, 1, N)), np.ones(1), 0, 0)
    times = EPOCH + np.arange(N) * STEP
    tensors = [torch.as_tensor(m) for m in (e, amplitudes, e @ g @ e.T, e @ q @ e.T)]
    modes, coordinates, propagator, noise = tensors
    prior = GaussianPrior(
        CHANNELS, GRID, normaliser, STEP, modes, coordinates, times, 0.0, propagator, noise, frames=frames
    )
    generator = np.random.default_rng(1)
    x = np.linalg.cholesky(s) @ generator.normal(size=N)
    root, truth = np.linalg.cholesky(q + 1e-9 * np.eye(N)), np.empty((TIMES, 1, 1, N))
    for k in range(TIMES):
        x = g @ x + root @ generator.normal(size=N)
        truth[k, 0, 0] = x
    chosen = ["twin.network.count=6", f"twin.network.error={R**0.5}", f"assimilate.ensemble={MEMBERS}"]
    config = load(None, [*chosen, "sampler.steps=16"], {"channels": ["x0"]})
    world = World(EPOCH + np.arange(TIMES) * STEP, truth, GRID)
    observe = network_of(config, GRID, CHANNELS, 0)
    return Trial(method, prior, prior, world, observe, Settings.of(config, build.sampler(config)))


def expected(error: float, told: float) -> tuple[float, float, float]:
    """Mean square errors of the background's and of the analysis' mean, and the variance of the background's members.

    The error of the past is e^2 S, the prior is told r^2 e^2 S: its forecast is right and the gain K is that of what it
    is told. The mean of M draws errs by a Mth of their variance more; that of the Kalman filter's members is exact.
    """
    g, q, s = law()
    b, said = (error**2 * f * g @ s @ g.T + q if error else s for f in (1.0, told**2))
    analysis = []
    for k in NUMBERS:
        operator = trial().observe(k, trial().world.values[k]).operator
        assert isinstance(operator, GridPoints)
        a = np.eye(N)[operator.index.numpy()]
        gain = said @ a.T @ np.linalg.inv(a @ said @ a.T + R * np.eye(len(a)))
        rest = np.eye(N) - gain @ a
        analysis.append(np.trace(rest @ b @ rest.T + R * gain @ gain.T) / N)
    variance = float(np.trace(said) / N)
    return float(np.trace(b) / N) + variance / MEMBERS, float(np.mean(analysis)), variance


def relative_sd(covariance: Array, e: float) -> float:
    """Of a mean square error over NUMBERS: sqrt(2 tr B^2 / T) / tr B where its T errors are independent.

    A share e^2 of the error of a past, x - m = (s^2 x - s c) / (1 + s^2), is the truth's own, which moves on by 0.8 a
    step: correlations 0.8^j e^2, whose squares add up to 1 + 2 e^4 0.64 / (1 - 0.64).
    """
    alike = 1 + 3.56 * e**4
    return float(np.sqrt(2 * alike * np.trace(covariance @ covariance) / len(NUMBERS)) / np.trace(covariance))


@pytest.mark.parametrize(("error", "told"), [(E, 1.0), (E, 0.25), (E, 3.0), (0.9, 1.0), (0.0, 1.0)])
def test_scores_are_those_of_the_closed_form(error: float, told: float) -> None:
    one = trial()
    scores = np.stack(
        [one.analyse(k, one.past(k, error, told=told) if error else one.nothing())[0][..., 0] for k in NUMBERS]
    ).mean(axis=0)
    background, analysis, variance = expected(error, told)
    g, q, s = law()
    noise = relative_sd(error**2 * g @ s @ g.T + q if error else s, error or 1.0)
    assert 4 * noise < 0.5  # four standard deviations are the tolerance; it must mean something
    assert scores[BACKGROUND, 0] == pytest.approx(background, rel=4 * noise)
    # Observed points correct the larger part of the error: the rest is of no fewer directions.
    assert scores[ANALYSIS, 0] == pytest.approx(analysis, rel=4 * noise)
    # Of the members' variance only the draws scatter, sqrt(2 tr B^2 / (T (M - 1))) / tr B of it; sixteen steps of the
    # sampler are a few per cent off.
    spread = noise / np.sqrt(MEMBERS - 1)
    assert scores[BACKGROUND, 2] == pytest.approx((1 + 1 / MEMBERS) * variance, rel=4 * spread + 0.05)


def test_the_error_of_a_past_is_independent_of_it_and_as_told() -> None:
    """m^T (x - m) is zero on average, (x - m)^2 is e^2 S: Berkson's kind."""
    one, s = trial(), law()[2]
    products, squares = [], []
    for k in NUMBERS:
        history = one.past(k, E, told=1.0)
        for age in range(1, FRAMES + 1):
            m = history.mean[-age, 0, 0].double().numpy()
            error = one.world.values[k - age, 0, 0] - m
            products.append((m * error).mean())
            squares.append((error**2).mean())
        np.testing.assert_allclose(history.error[:, 0, 0], E * np.sqrt(np.diag(s))[None].repeat(FRAMES, 0), rtol=1e-5)
    sd = relative_sd(s, 1.0)  # as of T truths, though each is a frame of three histories
    level = np.trace(s) / N
    # var(m) var(x - m) = (1 - e^2) e^2 S^2 is the size of the products.
    assert abs(np.mean(products)) < 4 * sd * level * E * np.sqrt(1 - E**2)
    assert np.mean(squares) == pytest.approx(E**2 * level, rel=4 * sd)


def test_frames_that_are_not_there_are_masked() -> None:
    one = trial()
    assert one.past(9, E, frames=2).mask.tolist() == [False, True, True]
    assert one.past(9, E, newest=2).mask.tolist() == [True, True, False]
    assert one.past(9, E, newest=3).mask.tolist() == [True, False, False]
    assert not one.nothing().mask.any()
    gone = one.past(9, E, newest=2)
    assert bool((gone.mean[-1] == 0).all()) and bool((gone.error[-1] == 1).all())
    torch.testing.assert_close(gone.mean[:2], one.past(9, E).mean[:2])  # what is there is the same
    torch.testing.assert_close(one.past(9, E, told=2.0).error, 2 * one.past(9, E).error)
    torch.testing.assert_close(one.past(9, E, told=2.0).mean, one.past(9, E).mean)


def points(rows: list[Row], curve: str) -> dict[float, Row]:
    return {row.x: row for row in rows if row.curve == curve}


def test_curves_meet_where_they_mean_the_same() -> None:
    """The Gaussian prior looks at the newest frame there is: more frames are no more, and an older one is less."""
    curves, numbers = Curves(trial(), silent), [5, 11, 30]
    rows = [row for name in ("frames", "age", "error", "told") for row in curves.curve(name, numbers, 0.3)]
    frames, age = points(rows, "frames"), points(rows, "age")
    assert frames[0].ratio == 1.0 and frames[0].analysis == frames[0].climate_analysis
    assert frames[1].analysis == frames[FRAMES].analysis == age[1].analysis
    assert age[1].analysis["crps"] < age[2].analysis["crps"] < frames[0].analysis["crps"]
    same = points(rows, "error")[0.3], points(rows, "told")[1.0]
    assert same[0].analysis == same[1].analysis == age[1].analysis and frames[1].ratio < 1.0
    assert all(row.cases == 3 and np.isnan(row.low) for row in rows)  # three are too few for an interval


def test_cycles_begin_at_the_climate_and_a_gap_begins_again() -> None:
    rows = Curves(trial(frames=1), silent).cycles(TIMES, starts=2, count=4, after=3)
    cold, gap, none = (points(rows, name) for name in ("cold start", "gap", "no gap"))
    assert (list(cold), list(gap), list(none)) == ([1, 2, 3, 4], [1, 2, 3], [1, 2, 3])
    assert cold[1].analysis == cold[1].climate_analysis and cold[1].ratio == 1.0
    assert gap[1].analysis == gap[1].climate_analysis  # one frame, and that is missing
    assert none[1].climate_analysis == gap[1].climate_analysis  # the same times
    assert none[1].analysis["crps"] < gap[1].analysis["crps"]
