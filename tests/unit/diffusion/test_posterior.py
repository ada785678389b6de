"""The first tests of the project: guided sampling from a Gaussian prior is the Kalman posterior.

With a Gaussian prior and a linear H every step of a sampler is affine in its noise, x = A n + b, so mean b and covariance
A A^T are found exactly, by pushing zero and every unit vector through the real code: no Monte-Carlo error in the first
tests. The reference is the textbook formula in information form, written here in numpy.
"""

import numpy as np
import pytest
import torch
from torch import Tensor

from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.guidance.mmps import mmps
from stormda.diffusion.noise import karras
from stormda.diffusion.sample.dpm2m import dpm2m
from stormda.diffusion.sample.heun import heun

N = 8
SIGMA_MAX = 1000.0
SHAPE = (1, 1, N)
SAMPLERS = {"dpm2m": dpm2m, "heun": heun}


def prior() -> tuple[Gaussian, np.ndarray, np.ndarray]:
    """A red spectrum on a ring: correlations over a few points, variances from 4 down to 0.02."""
    x = np.arange(N)
    distance = np.minimum(abs(x[:, None] - x), N - abs(x[:, None] - x))
    covariance = np.exp(-(distance**2) / 4.0) + 0.02 * np.eye(N)
    mean = np.sin(2 * np.pi * x / N)
    gaussian = Gaussian(
        torch.as_tensor(mean).reshape(SHAPE), torch.eye(N, dtype=torch.float64), torch.as_tensor(covariance)
    )
    return gaussian, mean, covariance


# name: rows of H, error variances
NETWORKS: dict[str, tuple[list[int], list[float]]] = {
    "partial": ([1, 4, 6], [0.1, 0.3, 0.2]),
    "duplicate": ([2, 2, 2, 5], [0.2, 0.2, 0.4, 0.1]),
    "tiny error": ([0, 3], [1e-6, 1e-6]),
    "huge error": ([0, 3], [1e8, 1e8]),
    "everything": (list(range(N)), [0.5] * N),
}


def problem(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows, variances = NETWORKS[name]
    h = np.eye(N)[rows]
    y = np.cos(np.arange(len(rows))) + h @ np.full(N, 0.3)
    return h, y, np.array(variances)


def kalman(
    mean: np.ndarray, covariance: np.ndarray, h: np.ndarray, y: np.ndarray, r: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    precision = np.linalg.inv(covariance) + h.T @ np.diag(1 / r) @ h
    posterior = np.linalg.inv(precision)
    return posterior @ (np.linalg.solve(covariance, mean) + h.T @ (y / r)), posterior


def propagate(name: str, sampler: str, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the sampler's output, exactly."""
    gaussian, _, _ = prior()
    h, y, r = problem(name)
    matrix = torch.as_tensor(h)

    def operator(x: Tensor) -> Tensor:
        return x.flatten(1) @ matrix.T

    posterior = mmps(
        gaussian.denoise, operator, torch.as_tensor(y), torch.as_tensor(r), tolerance=1e-13, max_iterations=2 * N
    )
    units = torch.cat([torch.zeros(1, N, dtype=torch.float64), torch.eye(N, dtype=torch.float64)])
    _, mean, covariance = prior()
    smallest = np.linalg.eigvalsh(kalman(mean, covariance, h, y, r)[1]).min()
    sigmas = karras(0.02 * float(np.sqrt(smallest)), SIGMA_MAX, steps)
    x = SAMPLERS[sampler](posterior, units.reshape(-1, *SHAPE), sigmas).flatten(1).numpy()
    b, a = x[0], (x[1:] - x[0]).T
    return b, a @ a.T


def errors(name: str, sampler: str, steps: int) -> tuple[float, float]:
    """Largest error of the mean in posterior standard deviations, and of the covariance relative to its diagonal."""
    _, mean, covariance = prior()
    m, p = kalman(mean, covariance, *problem(name))
    b, c = propagate(name, sampler, steps)
    sd = np.sqrt(np.diag(p))
    return float(np.abs((b - m) / sd).max()), float(np.abs((c - p) / np.outer(sd, sd)).max())


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_sampler_converges_to_the_kalman_posterior(name: str, sampler: str) -> None:
    # Both samplers are of second order in the step of log sigma: four times the steps leave 1/16 of the discretisation
    # error; 1/8 allows for the next order. Two floors do not fall with the steps. The last step, x = D at sigma_min, leaves
    # a direction of variance v with v^2 / (v + sigma_min^2): sigma_min^2 = 4e-4 of the smallest v. The start at sigma_max
    # takes the posterior mean m for 0, of which sd / sigma_max remains: |m| / sigma_max standard deviations.
    coarse, fine = errors(name, sampler, 48), errors(name, sampler, 192)
    _, mean, covariance = prior()
    start = float(np.linalg.norm(kalman(mean, covariance, *problem(name))[0])) / SIGMA_MAX
    assert fine[0] <= coarse[0] / 8 + start
    assert fine[1] <= coarse[1] / 8 + 4e-4


@pytest.mark.parametrize("name", NETWORKS)
def test_denoiser_of_the_posterior_is_exact_at_every_noise_level(name: str) -> None:
    # E[x | x_t, y] of a linear-Gaussian problem in closed form: x_t is one more observation of x with error sigma. Nothing
    # is discretised, so only rounding is left: condition numbers up to 1e8 (R = 1e-6 against 4; 1e8) times 1e-16.
    gaussian, mean, covariance = prior()
    h, y, r = problem(name)
    matrix = torch.as_tensor(h)
    posterior = mmps(
        gaussian.denoise, lambda x: x.flatten(1) @ matrix.T, torch.as_tensor(y), torch.as_tensor(r),
        tolerance=1e-14, max_iterations=2 * N,
    )  # fmt: skip
    generator = np.random.default_rng(1)
    for sigma in (1e-2, 0.3, 1.0, 10.0, 100.0):
        x_t = generator.normal(size=(3, N)) * (1 + sigma)
        ours = posterior(torch.as_tensor(x_t).reshape(3, *SHAPE), torch.tensor(sigma, dtype=torch.float64)).flatten(1)
        for i in range(3):
            both = (
                np.concatenate([h, np.eye(N)]),
                np.concatenate([y, x_t[i]]),
                np.concatenate([r, np.full(N, sigma**2)]),
            )
            expected, _ = kalman(mean, covariance, *both)
            np.testing.assert_allclose(ours[i].numpy(), expected, rtol=0, atol=1e-8 * (1 + sigma))


def test_closed_form_update_is_the_kalman_posterior() -> None:
    gaussian, mean, covariance = prior()
    for name in NETWORKS:
        h, y, r = problem(name)
        matrix = torch.as_tensor(h)
        m, p = gaussian.posterior(lambda x, a=matrix: x.flatten(1) @ a.T, torch.as_tensor(y), torch.as_tensor(r))
        expected_m, expected_p = kalman(mean, covariance, h, y, r)
        # Two algebraic forms of one formula in double precision; the condition number is 1e8 at most.
        np.testing.assert_allclose(m.flatten().numpy(), expected_m, atol=1e-8)
        np.testing.assert_allclose(p.numpy(), expected_p, atol=1e-8)


def test_monte_carlo_check_of_the_real_sampler() -> None:
    # 2,500 members. The mean of M members has standard error sd / sqrt(M), their variance var sqrt(2 / (M - 1)). Each of
    # the 16 statistics lies within 3 standard errors with probability 0.9973, all of them with 0.96; the seed is fixed. The
    # discretisation error of 150 steps, bounded by the test above, is below 0.01 sd: half a standard error.
    gaussian, mean, covariance = prior()
    h, y, r = problem("partial")
    matrix = torch.as_tensor(h)
    posterior = mmps(
        gaussian.denoise, lambda x: x.flatten(1) @ matrix.T, torch.as_tensor(y), torch.as_tensor(r),
        tolerance=1e-10, max_iterations=10,
    )  # fmt: skip
    members = 2500
    noise = torch.randn(members, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = dpm2m(posterior, noise, karras(2e-3, SIGMA_MAX, 150)).flatten(1).numpy()
    m, p = kalman(mean, covariance, h, y, r)
    variance = np.diag(p)
    assert np.abs((x.mean(axis=0) - m) / np.sqrt(variance / members)).max() < 3.0
    assert np.abs((x.var(axis=0, ddof=1) - variance) / (variance * np.sqrt(2 / (members - 1)))).max() < 3.0
