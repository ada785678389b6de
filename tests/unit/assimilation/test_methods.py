"""The methods on one problem: diffusion with the Gaussian prior is the Kalman filter, optimal interpolation is not."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch

from stormda.assimilation import methods
from stormda.assimilation.methods import Problem, Settings
from stormda.assimilation.posterior import guided
from stormda.assimilation.prior import GaussianPrior
from stormda.config import GuidanceConfig
from stormda.diffusion.guidance.jfps import jfps
from stormda.diffusion.history import History
from stormda.diffusion.sample.dpm2m import dpm2m
from stormda.errors import StormdaError
from stormda.grid import Grid
from stormda.normaliser import Normaliser
from stormda.types import Denoise
from stormda.variables import Channel

N = 24
SHAPE = (1, 1, N)
TIME = np.datetime64("2020-01-01T00", "s")
SETTINGS = Settings(400, 3, 100, dpm2m, 24, 7.0, None, None, GuidanceConfig())


def prior() -> GaussianPrior:
    """A ring with a red spectrum whose modes are all kept; half of each mode's variance is predictable."""
    x = np.arange(N)
    distance = np.minimum(abs(x[:, None] - x), N - abs(x[:, None] - x))
    values, vectors = np.linalg.eigh(np.exp(-(distance**2) / 18.0) + 1e-3 * np.eye(N))
    variance = torch.as_tensor(values[::-1].copy())
    draws = torch.randn(2000, N, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    channels = (Channel.parse("x0"),)
    return GaussianPrior(
        channels,
        Grid(np.zeros(1), np.arange(N) * 15.0, periodic=(False, True), plane=True),
        Normaliser(channels, np.zeros((1, *SHAPE)), np.ones(1), 0, 0),
        np.timedelta64(21600, "s"),
        torch.as_tensor(vectors.T[::-1].copy()),
        draws * variance.sqrt(),
        TIME + np.arange(2000) * np.timedelta64(21600, "s"),
        0.0,
        0.7 * torch.eye(N, dtype=torch.float64),
        torch.diag(0.51 * variance),
    )


def problem() -> Problem:
    mean = torch.as_tensor(2.0 * np.sin(2 * np.pi * np.arange(N) / N)).reshape(1, *SHAPE)
    history = History(mean, torch.full((1, *SHAPE), 0.3), torch.tensor([True]))
    rows = torch.tensor([0, 5, 5, 11, 17])
    y = torch.tensor([0.5, 2.0, 1.5, 0.4, -2.5], dtype=torch.float64)
    return Problem(
        TIME, history, lambda z: 3.0 * z.flatten(-3)[..., rows], 3.0 * y, torch.full((5,), 0.36, dtype=torch.float64)
    )


def exact(p: Problem, history: History) -> tuple[np.ndarray, np.ndarray]:
    mean, covariance = prior().linear(history, TIME).posterior(p.operator, p.y, p.variance)
    e = prior().modes.numpy()
    return mean.flatten().numpy(), np.diag(e.T @ covariance.numpy() @ e)


class Learned:
    """A prior that is not told to be Gaussian; it counts who asks for what."""

    def __init__(self) -> None:
        self.inner, self.shares, self.derivatives = prior(), 0, 0
        self.linear = self.inner.linear

    def share(self, history: History, sigma: float) -> float:
        self.shares += 1
        return 1.0

    def denoiser(self, history: History, time: np.datetime64) -> Denoise:
        plain = self.inner.denoiser(history, time)

        def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
            self.derivatives += x.requires_grad
            return plain(x, sigma)

        return denoise


@pytest.mark.parametrize(("kind", "derivatives"), [("jfps", 0), ("mmps", 1)])
def test_the_derivative_is_taken_below_its_noise_level_only(kind: Literal["jfps", "mmps"], derivatives: int) -> None:
    p, learned = problem(), Learned()
    x = torch.randn(2, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    guidance = GuidanceConfig(kind=kind, derivative_below=2.0, tolerance=1e-10)
    posterior = guided(learned, p, guidance)()  # type: ignore[arg-type]
    gaussian = jfps(prior().denoiser(p.history, TIME), p.operator, p.y, p.variance, prior().linear(p.history, TIME))
    for level in (1.0, 3.0):
        sigma = torch.tensor(level, dtype=torch.float64)
        # Both are exact for this prior, up to the solvers' tolerances (1e-10, and 1e-2 of innovations of about 3).
        torch.testing.assert_close(posterior(x, sigma), gaussian(x, sigma), atol=3e-2, rtol=0)
    assert (learned.derivatives, learned.shares) == (derivatives, 2 - derivatives)


def test_gaussian_and_kf_draw_from_the_same_posterior() -> None:
    p = problem()
    mean, variance = exact(p, p.history)
    for method in ("gaussian", "kf"):
        ensemble, carried = methods.analysis(method, prior(), p, SETTINGS)
        assert ensemble.shape == (400, *SHAPE)
        x = ensemble.reshape(400, N).double().numpy()
        # Two dozen means of 400 correlated members: 3.5 standard errors of 5 % of an sd; `kf` is centred on it. The
        # solver's tolerance (1e-2 of the innovations) adds a per cent.
        assert np.abs((x.mean(axis=0) - mean) / np.sqrt(variance)).max() < (0.19 if method == "gaussian" else 1e-5)
        # The mean over points of a variance: some 8 independent ones, sqrt(2/400/8) = 2.5 %, times 3; and 24 steps.
        assert abs(x.var(axis=0, ddof=1).mean() / variance.mean() - 1) < 0.12
        assert carried is not None


def test_the_carried_error_counts_the_members_that_make_the_mean() -> None:
    p = problem()
    settings = replace(SETTINGS, members=4, batch=4)
    _, sampled = methods.analysis("gaussian", prior(), p, settings)
    _, closed = methods.analysis("kf", prior(), p, settings)
    assert sampled is not None
    assert closed is not None
    np.testing.assert_allclose(sampled, closed * 1.25, rtol=1e-12)


def test_optimal_interpolation_forgets_the_history() -> None:
    p = problem()
    ensemble, carried = methods.analysis("oi", prior(), p, SETTINGS)
    mean, _ = exact(p, History.none(1, SHAPE))
    np.testing.assert_allclose(ensemble.mean(dim=0).flatten(), mean, atol=1e-5)  # float32
    assert carried is None


def test_background_is_the_forecast_and_starts_from_the_same_noise() -> None:
    p = problem()
    background = methods.background(prior(), p.history, TIME, SETTINGS)
    forecast = prior().linear(p.history, TIME)
    e = prior().modes
    variance = torch.diag(e.T @ forecast.covariance @ e)
    # As above; the mean of the background has the full forecast variance.
    assert ((background.mean(dim=0) - forecast.mean).flatten() / variance.sqrt()).abs().max() < 0.19
    carried = methods.forecast_covariance(prior(), p.history, TIME)
    assert carried is not None
    np.testing.assert_allclose(carried, forecast.covariance)
    # Observations of no weight: the analysis is the background, member by member, up to the schedule's lower end.
    nothing = replace(p, variance=torch.full((5,), 1e8).double())
    settings = replace(SETTINGS, sigma_min=0.05, members=8, batch=8)
    ensemble, _ = methods.analysis("gaussian", prior(), nothing, settings)
    np.testing.assert_allclose(ensemble, methods.background(prior(), p.history, TIME, settings), atol=1e-4)


def test_levels_reach_below_the_smallest_error_in_standardised_units() -> None:
    p = problem()  # y = 3 z with an error of 0.6: 0.2 in units of z
    assert methods.smallest_error(p, prior()) == pytest.approx(0.2, rel=1e-12)
    assert float(SETTINGS.sigmas(prior(), 0.2)[-2]) == pytest.approx(0.04, rel=1e-9)
    assert float(SETTINGS.sigmas(prior(), None)[-2]) == pytest.approx(0.05, rel=1e-9)
    assert float(SETTINGS.sigmas(prior(), None)[0]) == pytest.approx(prior().sigma_max, rel=1e-9)


def test_closed_forms_need_the_gaussian_prior() -> None:
    class Network:
        pass

    with pytest.raises(StormdaError, match="kf needs the Gaussian prior"):
        methods.analysis("kf", Network(), problem(), SETTINGS)  # type: ignore[arg-type]
