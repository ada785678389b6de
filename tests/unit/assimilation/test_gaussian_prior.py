"""The Gaussian prior: what it learns from a world whose law is known, and what it makes of a history."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from stormda.assimilation.prior import GaussianPrior
from stormda.config import GaussianConfig
from stormda.diffusion.history import History
from stormda.errors import InputError
from stormda.grid import Grid
from stormda.normaliser import Normaliser
from stormda.state import State
from stormda.variables import Channel

N = 6
SHAPE = (1, 1, N)
STEP = np.timedelta64(6 * 3600, "s")
EPOCH = np.datetime64("2001-01-01T00", "s")
CHANNELS = (Channel.parse("x0"),)
GRID = Grid(np.zeros(1), np.arange(N) * 60.0, periodic=(False, True), plane=True)


@dataclass
class Fake:
    """An archive in memory."""

    values: np.ndarray
    times: np.ndarray
    channels: tuple[Channel, ...] = CHANNELS
    grid: Grid = GRID
    step: np.timedelta64 = STEP

    @property
    def normaliser(self) -> Normaliser:
        return Normaliser(CHANNELS, np.zeros((1, *SHAPE)), np.ones(1), 0, 0)

    def select(self, period: object) -> np.ndarray:
        return np.arange(len(self.times))

    def read(self, index: np.ndarray) -> State:
        return State(self.values[index], self.channels, self.grid, self.times[index])


def law() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """G, Q and the stationary covariance S = G S G^T + Q of a vector autoregression."""
    generator = np.random.default_rng(0)
    g = 0.8 * np.roll(np.eye(N), 1, axis=0) + 0.1 * generator.normal(size=(N, N)) / np.sqrt(N)
    root = generator.normal(size=(N, N)) * np.array([1.0, 0.8, 0.6, 0.5, 0.4, 0.3])
    q = 0.3 * root @ root.T / N + 0.05 * np.eye(N)
    s = q.copy()
    for _ in range(500):
        s = g @ s @ g.T + q
    return g, q, s


def simulate(count: int, seed: int = 1) -> Fake:
    g, q, s = law()
    generator = np.random.default_rng(seed)
    x = np.linalg.cholesky(s) @ generator.normal(size=N)
    root, values = np.linalg.cholesky(q), np.empty((count, *SHAPE))
    for k in range(count):
        x = g @ x + root @ generator.normal(size=N)
        values[k, 0, 0] = x
    return Fake(values, EPOCH + np.arange(count) * STEP)


def fit(archive: Fake, **settings: object) -> GaussianPrior:
    return GaussianPrior.fit(archive, GaussianConfig(**settings), None)  # type: ignore[arg-type]


def in_space(prior: GaussianPrior, matrix: torch.Tensor) -> np.ndarray:
    return (prior.modes.T @ matrix @ prior.modes).numpy()


def test_learns_propagator_noise_and_climatology() -> None:
    g, q, s = law()
    prior = fit(simulate(40_000), modes=N, ridge=0.0)
    # Standard errors for T = 40,000: of an entry of G sqrt(Q_ii / (T v)) < 0.01 with v the least variance of a
    # direction, 0.15; of an entry of Q sqrt(2/T) Q = 0.7 % of it; of S more, for T/10 of the states are independent:
    # 2.2 %. 36 entries each, so four standard errors.
    assert np.abs(in_space(prior, prior.propagator) - g).max() < 0.04
    assert np.abs(in_space(prior, prior.noise) - q).max() < 0.03 * q.max()
    assert np.abs(in_space(prior, prior.climatology(EPOCH)) - s).max() < 0.09 * s.max()
    assert prior.residual == pytest.approx(0.0, abs=1e-12)
    leading = float(np.sqrt(np.linalg.eigvalsh(in_space(prior, prior.climatology(EPOCH))).max()))
    assert prior.sigma_max == pytest.approx(5 * max(leading, 1.0))


def test_noise_is_the_error_of_steps_that_were_not_learned_from() -> None:
    # T = 60 pairs and R = 6 predictors: in-sample errors are 1 - R/T = 0.9 of Q, those on new steps of a Gaussian
    # design 1 + R/(T - R - 1) = 1.113 of it (1.24 between them); the factor (T + R)/(T - R) brings the former to 1.1,
    # 1.2 % below. The trace of Q from one archive has a standard error of sqrt(2/(60*3)) = 10 %, the mean of 200 of
    # 0.75 %: four of those and the 1.2 %.
    error, expected = [], []
    for seed in range(200):
        prior = fit(simulate(61, seed), modes=N, ridge=0.0)
        new = simulate(500, 10_000 + seed).values.reshape(-1, N)
        g = in_space(prior, prior.propagator)
        error.append(((new[1:] - new[:-1] @ g.T) ** 2).mean(axis=0).sum())
        expected.append(float(torch.trace(prior.noise)))
    assert abs(np.mean(error) / np.mean(expected) - 1) < 0.042


def test_few_modes_leave_a_residual_that_keeps_the_total_variance() -> None:
    archive = simulate(3000)
    prior = fit(archive, modes=3)
    total = (archive.values**2).mean(axis=0).sum()
    kept = float(torch.trace(prior.climatology(EPOCH)))
    assert prior.modes.shape == (3, N)
    np.testing.assert_allclose(prior.modes @ prior.modes.T, np.eye(3), atol=1e-12)
    assert kept + (N - 3) * prior.residual == pytest.approx(total, rel=1e-12)


def test_more_points_than_times_give_the_same_modes() -> None:
    archive = simulate(5)
    many = Fake(np.tile(archive.values, (4, 1, 1, 1))[:20], EPOCH + np.arange(20) * STEP)
    prior = fit(many, modes=400)
    z = many.values.reshape(20, N)
    values = np.linalg.eigvalsh(z.T @ z / 20)[::-1]
    rank = int((values > 1e-12).sum())
    ours = np.diag(prior.climatology(EPOCH))[:rank]
    np.testing.assert_allclose(ours, values[:rank], rtol=1e-10)
    assert bool(torch.isfinite(prior.modes).all())


def test_forecast_carries_the_error_of_the_history() -> None:
    g, q, _ = law()
    prior = fit(simulate(500), modes=N, ridge=0.0)
    e = prior.modes.numpy()
    root = np.random.default_rng(2).normal(size=(N, N))
    p, m = root @ root.T / N, np.arange(N) / 3.0
    history = History(
        torch.as_tensor(m).reshape(1, *SHAPE), torch.ones(1, *SHAPE), torch.tensor([True]), torch.as_tensor(e @ p @ e.T)
    )
    gaussian = prior.linear(history, EPOCH)
    learned = in_space(prior, prior.propagator)
    np.testing.assert_allclose(gaussian.mean.flatten(), learned @ m, atol=1e-12)
    expected = learned @ p @ learned.T + in_space(prior, prior.noise)
    np.testing.assert_allclose(in_space(prior, gaussian.covariance), expected, atol=1e-12)


def test_an_older_frame_is_taken_as_many_steps_forward() -> None:
    """The newest frame is missing: two steps from the one before, with what is carried of its error."""
    prior = fit(simulate(500), modes=N, ridge=0.0)
    root = torch.randn(N, N, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    p, m = root @ root.T / N, torch.arange(N, dtype=torch.float64) / 3.0
    frames = torch.stack([m, torch.full_like(m, 99.0)]).reshape(2, *SHAPE)
    history = History(frames, torch.ones(2, *SHAPE), torch.tensor([True, False]), p)
    two = prior.linear(history, EPOCH)
    once = prior.linear(History(frames[:1], torch.ones(1, *SHAPE), torch.tensor([True]), p), EPOCH - STEP)
    then = History(once.mean[None], torch.ones(1, *SHAPE), torch.tensor([True]), once.covariance)
    twice = prior.linear(then, EPOCH)
    torch.testing.assert_close(two.mean, twice.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(two.covariance, twice.covariance, rtol=1e-12, atol=1e-12)


def test_an_error_level_alone_takes_the_climatological_correlations() -> None:
    prior = fit(simulate(500), modes=N, ridge=0.0)
    s = in_space(prior, prior.climatology(EPOCH))
    e = np.linspace(0.1, 0.6, N)
    history = History(torch.zeros(1, *SHAPE), torch.as_tensor(e).reshape(1, *SHAPE), torch.tensor([True]))
    g = in_space(prior, prior.propagator)
    scale = e / np.sqrt(np.diag(s))
    expected = g @ (s * np.outer(scale, scale)) @ g.T + in_space(prior, prior.noise)
    np.testing.assert_allclose(in_space(prior, prior.linear(history, EPOCH).covariance), expected, atol=1e-10)
    # An error level of climatology and no mean is as good as knowing nothing: G S G^T + Q is S up to sampling.
    nothing = History(
        torch.zeros(1, *SHAPE), torch.as_tensor(np.sqrt(np.diag(s))).reshape(1, *SHAPE), torch.tensor([True])
    )
    ours = in_space(prior, prior.linear(nothing, EPOCH).covariance)
    np.testing.assert_allclose(ours, g @ s @ g.T + in_space(prior, prior.noise), atol=1e-10)
    assert np.abs(ours - s).max() < 0.15 * s.max()


def test_without_history_it_is_the_climatology_of_the_season() -> None:
    archive = simulate(4000)
    # A world that is twice as variable in winter: days within a quarter of a year of new year.
    day = (archive.times - EPOCH) / np.timedelta64(86400, "s") % 365.2425
    archive.values[(day < 91) | (day > 274)] *= 2
    prior = fit(archive, modes=N, season="45d")
    winter, summer = (float(torch.trace(prior.climatology(EPOCH + np.timedelta64(d, "D")))) for d in (0, 182))
    # A factor of four in variance; half a season has 360 states, a tenth of them independent: 25 % each.
    assert 2.5 < winter / summer < 6.5
    none = prior.linear(History.none(1, SHAPE), EPOCH)
    assert float(torch.trace(none.covariance)) == pytest.approx(winter)
    assert bool((none.mean == 0).all())


def test_a_history_of_one_mean_a_member_gives_one_forecast_a_member() -> None:
    prior = fit(simulate(200), modes=N)
    means = torch.randn(3, 1, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    history = History(means, torch.full_like(means, 1e-3), torch.tensor([True]))
    together = prior.linear(history, EPOCH)
    for i in range(3):
        one = prior.linear(History(means[i], history.error[i], history.mask), EPOCH)
        np.testing.assert_allclose(together.mean[i], one.mean, atol=1e-13)


def test_only_pairs_exactly_one_step_apart_are_learned_from() -> None:
    whole = simulate(600)
    keep = np.ones(600, dtype=bool)
    keep[200:260] = False  # a gap: the pair across it must not count
    gappy = Fake(whole.values[keep], whole.times[keep])
    prior = fit(gappy, modes=N, ridge=0.0)
    z = whole.values.reshape(-1, N)
    pairs = [k for k in range(599) if keep[k] and keep[k + 1]]
    before, after = z[pairs], z[[k + 1 for k in pairs]]
    np.testing.assert_allclose(
        in_space(prior, prior.propagator), np.linalg.lstsq(before, after, rcond=None)[0].T, atol=1e-9
    )


def test_too_few_times_or_pairs_are_refused() -> None:
    with pytest.raises(InputError, match="5 times"):
        fit(simulate(5))
    sparse = simulate(40)
    with pytest.raises(InputError, match="pairs"):
        fit(Fake(sparse.values[::2], sparse.times[::2]))
