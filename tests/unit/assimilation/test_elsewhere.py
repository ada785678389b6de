"""A state from elsewhere beside observations: exact where all is linear and Gaussian; good ones help, bad ones do not.

A ring of 24 points: the inverse of S^-1 + B^-1 + H^T R^-1 H, with dense matrices, is what every method has to find.
"""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from stormda.assimilation import methods
from stormda.assimilation.methods import Problem, Settings
from stormda.assimilation.prior import GaussianPrior
from stormda.assimilation.storm_prior import StormPrior
from stormda.config import GuidanceConfig
from stormda.diffusion.denoise import EDM
from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.guess import LinearGuess
from stormda.diffusion.history import History
from stormda.diffusion.sample.dpm2m import dpm2m
from stormda.errors import StormdaError
from stormda.grid import Grid
from stormda.metrics.probabilistic import crps_fair
from stormda.nn.storm import Storm
from stormda.normaliser import Normaliser
from stormda.variables import Channel

N = 24
SHAPE = (1, 1, N)
TIME = np.datetime64("2020-01-01T00", "s")
SETTINGS = Settings(400, 3, 100, dpm2m, 24, 7.0, None, None, GuidanceConfig())
ROWS = torch.tensor([0, 5, 11, 17])


def red(length: float, variance: float) -> Tensor:
    """A covariance on the ring that falls with the distance."""
    x = torch.arange(N, dtype=torch.float64)
    distance = torch.minimum((x[:, None] - x).abs(), N - (x[:, None] - x).abs())
    return variance * (torch.exp(-(distance**2) / (2 * length**2)) + 1e-2 * torch.eye(N))


def of(covariance: Tensor, mean: Tensor, kept: int) -> Gaussian:
    """The leading patterns, and what is left in one number."""
    values, vectors = torch.linalg.eigh(covariance)
    e = vectors.T.flip(0)[:kept].contiguous()
    inside, beside = values.flip(0)[:kept], float(values.flip(0)[kept:].mean()) if kept < N else 0.0
    return Gaussian(mean.view(SHAPE), e, torch.diag(inside), beside)


def dense(g: Gaussian) -> Tensor:
    e = g.modes.double()
    return e.T @ g.covariance @ e + g.residual * (torch.eye(N) - e.T @ e)


def prior(kept: int = 10) -> GaussianPrior:
    """Climatology alone; `kept` EOFs and a residual."""
    g = of(red(3.0, 1.0), torch.zeros(N), kept)
    draws = torch.randn(4000, kept, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    draws = draws @ torch.linalg.inv(torch.linalg.cholesky(draws.T @ draws / len(draws))).T  # exactly white
    amplitudes = draws * g.covariance.diagonal().sqrt()
    channels, nothing = (Channel.parse("x0"),), torch.zeros(kept, kept, dtype=torch.float64)
    grid = Grid(np.zeros(1), np.arange(N) * 15.0, periodic=(False, True), plane=True)
    normaliser = Normaliser(channels, np.zeros((1, *SHAPE)), np.ones(1), 0, 0)
    step = np.timedelta64(21600, "s")
    times = TIME + np.arange(len(draws)) * step
    return GaussianPrior(channels, grid, normaliser, step, g.modes, amplitudes, times, g.residual, nothing, nothing)


def problem(x: Tensor, b: Tensor | None, other: Tensor, kept: int, noise: Tensor) -> Problem:
    elsewhere = None if b is None else of(other, b, kept)
    y, variance = x[ROWS] + 0.3 * noise, torch.full((4,), 0.09, dtype=torch.float64)
    past = History.none(1, SHAPE)
    return Problem(TIME, past, lambda z: z.flatten(-3)[..., ROWS], y, variance, elsewhere=elsewhere)


def known(p: Problem, climate: Gaussian) -> tuple[Tensor, Tensor]:
    """Mean and covariance by inverse matrices."""
    assert p.elsewhere is not None
    h = torch.eye(N, dtype=torch.float64)[ROWS]
    s, b = (torch.linalg.inv(dense(g)) for g in (climate, p.elsewhere))
    covariance = torch.linalg.inv(s + b + h.T @ h / 0.09)
    return covariance @ (b @ p.elsewhere.mean.flatten() + h.T @ p.y / 0.09), covariance


def case(seed: int, sd: float, length: float = 1.5, kept: int = 7) -> tuple[Tensor, Problem]:
    draw = torch.Generator().manual_seed(seed)
    n = torch.randn(3, N, generator=draw, dtype=torch.float64)
    b = of(red(length, sd**2), torch.zeros(N), kept)
    x = torch.linalg.cholesky(dense(of(red(3.0, 1.0), torch.zeros(N), 10))) @ n[0]
    return x, problem(x, x + torch.linalg.cholesky(dense(b)) @ n[1], red(length, sd**2), kept, n[2, :4])


@pytest.mark.parametrize("sd", [0.1, 1.0, 10.0])
def test_every_method_finds_the_closed_form(sd: float) -> None:
    p, gaussian = case(1, sd)[1], prior()
    mean, covariance = known(p, gaussian.linear(p.history, TIME))
    spread = covariance.diagonal().sqrt()
    for method in ("kf", "oi", "gaussian"):
        ensemble, carried = methods.analysis(method, gaussian, p, SETTINGS)
        x = ensemble.reshape(400, N).double()
        # `kf` is centred on the mean, in single precision. 24 means of 400 members: 3.5 standard errors of 5 %, and a
        # per cent of the solver's tolerance.
        assert float(((x.mean(dim=0) - mean).abs() / spread).max()) < (0.19 if method == "gaussian" else 1e-5)
        # Variance: 24 points, of which some 8 are independent; sqrt(2 / 400 / 8) = 2.5 %, times 3; 24 steps: 3 %.
        assert abs(float(x.var(dim=0).mean() / covariance.diagonal().mean()) - 1) < 0.11
        if method == "oi":
            assert carried is None
            continue
        # What is carried lies in the prior's modes; `gaussian` counts the members that make its mean.
        within = gaussian.modes @ covariance @ gaussian.modes.T
        factor = 1 if method == "kf" else 1 + 1 / 400
        assert carried is not None
        torch.testing.assert_close(carried, factor * within, atol=1e-9, rtol=0)


def test_no_observation_leaves_prior_and_state() -> None:
    p = replace(case(1, 0.5)[1], operator=lambda z: z.flatten(-3)[..., :0], y=torch.zeros(0), variance=torch.zeros(0))
    gaussian = prior()
    assert p.elsewhere is not None
    s, b = dense(gaussian.linear(p.history, TIME)), dense(p.elsewhere)
    gain = s @ torch.linalg.inv(s + b)
    mean, spread = gain @ p.elsewhere.mean.flatten(), (gain @ b).diagonal()
    for method in ("kf", "gaussian"):
        ensemble, carried = methods.analysis(method, gaussian, p, SETTINGS)
        x = ensemble.reshape(400, N).double()
        assert float(((x.mean(dim=0) - mean) / spread.sqrt()).abs().max()) < (0.19 if method == "gaussian" else 1e-5)
        assert abs(float(x.var(dim=0).mean() / spread.mean()) - 1) < 0.11  # as above
        assert carried is not None and carried.shape == (10, 10)


def test_a_good_state_helps_and_a_bad_one_does_no_harm() -> None:
    """CRPS over 24 worlds, against that without the state, which errs by 0.2 or by 5 times the climate's sd."""
    gaussian, settings = prior(), replace(SETTINGS, members=40, batch=40)
    ratios = {}
    for sd in (0.2, 5.0):
        scores = []
        for seed in range(24):
            x, p = case(100 + seed, sd)
            own = replace(settings, seed=seed)
            pair = [methods.analysis("kf", gaussian, q, own)[0] for q in (p, replace(p, elsewhere=None))]
            scores.append([crps_fair(e.reshape(40, N).double().numpy(), x.numpy()).mean() for e in pair])
        with_it, without = np.mean(scores, axis=0)
        ratios[sd] = with_it / without
    # Without: four points of 24 are seen with .3, others by their correlation alone: errors near .6; with it .15. The
    # bad one has 1 / 25 of the climate's information: a posterior whose expected CRPS is smaller, by at most 2 %. The
    # same noise makes both ensembles, so the ratio of 24 worlds is good to about 2 %.
    assert ratios[0.2] < 0.5
    assert 0.94 < ratios[5.0] < 1.02


def test_filters_take_no_state_from_elsewhere() -> None:
    with pytest.raises(StormdaError, match="takes no state from elsewhere"):
        methods.analysis("letkf", prior(), case(1, 1.0)[1], SETTINGS)


@pytest.mark.parametrize("kind", ["jfps", "mmps"])
def test_the_network_finds_the_closed_form_where_it_is_its_guess(kind: Literal["jfps", "mmps"]) -> None:
    """An untrained network adds nothing to its linear-Gaussian guess: `storm` has to find that one's posterior."""
    torch.manual_seed(0)
    grid = Grid(np.zeros(1), np.arange(N) * 15.0, periodic=(False, True), plane=True)
    size: dict[str, Any] = {"patch": 1, "width": 16, "blocks": 1, "heads": 2, "latents": 2, "frames": 1}
    network = Storm(1, (1, N), torch.zeros(5, 1, N), periodic=grid.periodic, **size)
    climate = of(red(3.0, 1.0), torch.zeros(N), 10)
    g, q = 0.9 * torch.eye(10), 0.19 * climate.covariance.float()
    guess = LinearGuess(
        torch.full(SHAPE, climate.residual), torch.zeros(1, *SHAPE), climate.modes.float(),
        climate.covariance.diagonal().float(), g, q, torch.full(SHAPE, climate.residual),
    )  # fmt: skip
    channels = (Channel.parse("x0"),)
    normaliser = Normaliser(channels, np.zeros((1, *SHAPE)), np.ones(1), 0, 0)
    step = np.timedelta64(21600, "s")
    storm = StormPrior(channels, grid, normaliser, 1, step, 20.0, EDM(network, guess).eval(), ({}, {}))
    past = History(torch.zeros(1, *SHAPE), torch.full((1, *SHAPE), 0.2), torch.tensor([True]))
    p = replace(case(1, 0.5)[1], history=past)
    mean, covariance = known(p, storm.linear(past, TIME))  # its mean is zero, as that of the past
    settings = replace(SETTINGS, guidance=GuidanceConfig(kind=kind, tolerance=1e-4, max_iterations=50))
    ensemble, carried = methods.analysis("storm", storm, p, settings)
    x, spread = ensemble.reshape(400, N).double(), covariance.diagonal().sqrt()
    # As for `gaussian`: 3.5 standard errors of 5 %; variances to 11 %.
    assert float(((x.mean(dim=0) - mean).abs() / spread).max()) < 0.19
    assert abs(float(x.var(dim=0).mean() / covariance.diagonal().mean()) - 1) < 0.11
    assert carried is None
