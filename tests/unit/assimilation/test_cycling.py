"""Cycling with the Gaussian prior is the Kalman filter.

The history's mean and error covariance are carried from analysis to analysis. The mean and the covariance of each
analysis come from the guided denoiser, the code that sampling uses: at a noise level far above the prior, x_t says
nothing, so the posterior denoiser is the posterior mean and sigma^2 times its Jacobian the posterior covariance. The
reference is a textbook Kalman filter in numpy that shares no code.
"""

import numpy as np
import torch

from stormda.assimilation.prior import GaussianPrior
from stormda.diffusion.guidance.mmps import mmps
from stormda.diffusion.history import History
from stormda.grid import Grid
from stormda.normaliser import Normaliser
from stormda.variables import Channel

N, CYCLES, SIGMA = 6, 100, 1e5
TIME = np.datetime64("2020-01-01T00", "s")


def linear_world() -> tuple[GaussianPrior, np.ndarray, np.ndarray]:
    """A stable, non-normal G and a Q of full rank; modes are a rotated basis, as EOFs are."""
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
        channels, grid, normaliser, np.timedelta64(21600, "s"), torch.as_tensor(basis.T.copy()), amplitudes,
        np.arange(50) * np.timedelta64(21600, "s") + TIME, 0.0,
        torch.as_tensor(basis.T @ g @ basis), torch.as_tensor(basis.T @ q @ basis),
    )  # fmt: skip
    return prior, g, q


def test_hundred_cycles_are_the_kalman_filter() -> None:
    prior, g, q = linear_world()
    basis = prior.modes.numpy().T
    generator = np.random.default_rng(4)
    truth = generator.normal(size=N)
    mean, covariance = np.zeros(N), basis @ prior.climatology(TIME).numpy() @ basis.T
    history = History.none(1, (1, 1, N), torch.float64)
    first = True
    for _ in range(CYCLES):
        truth = g @ truth + np.linalg.cholesky(q) @ generator.normal(size=N)
        rows = generator.choice(N, size=2, replace=False)
        h, r = np.eye(N)[rows], np.array([0.2, 0.05])
        y = h @ truth + np.sqrt(r) * generator.normal(size=2)
        # The textbook.
        if not first:
            mean, covariance = g @ mean, g @ covariance @ g.T + q
        gain = covariance @ h.T @ np.linalg.inv(h @ covariance @ h.T + np.diag(r))
        mean, covariance = mean + gain @ (y - h @ mean), covariance - gain @ h @ covariance
        # stormda.
        matrix = torch.as_tensor(h)

        def operator(x: torch.Tensor, matrix: torch.Tensor = matrix) -> torch.Tensor:
            return x.flatten(1) @ matrix.T

        observed, variance = torch.as_tensor(y), torch.as_tensor(r)
        posterior = mmps(
            prior.denoiser(history, TIME), operator, observed, variance, tolerance=1e-14, max_iterations=2 * N
        )
        sigma = torch.tensor(SIGMA, dtype=torch.float64)
        units = torch.cat([torch.zeros(1, N, dtype=torch.float64), torch.eye(N, dtype=torch.float64) * SIGMA])
        d = posterior(units.reshape(-1, 1, 1, N), sigma).flatten(1)
        ours = d[0]
        spread = SIGMA * (d[1:] - d[0]).T
        carried = prior.carry(history, TIME, operator, observed, variance)
        assert carried is not None
        # D at sigma misses the limit by P / sigma^2 = 1e-9; the Jacobian's column, a difference of size P / sigma
        # scaled up by sigma, rounds at 1e-16 sigma = 1e-11 of the state: 1e-6 leaves room for 100 cycles of
        # accumulation.
        np.testing.assert_allclose(ours.numpy(), mean, atol=1e-6)
        np.testing.assert_allclose(spread.numpy(), covariance, atol=1e-6)
        np.testing.assert_allclose(basis @ carried.numpy() @ basis.T, covariance, atol=1e-6)
        history = History(
            ours.reshape(1, 1, 1, N), carried.diagonal().sqrt().reshape(1, 1, 1, N), torch.tensor([True]), carried
        )
        first = False
