"""The first tests of the project: guided sampling from a Gaussian prior is the Kalman posterior.

With a Gaussian prior and a linear H every step of a sampler is affine in its noise, x = A n + b, so mean b and
covariance A A^T are found exactly, by pushing zero and every unit vector through the real code: no Monte-Carlo error
in the first tests. The reference is the textbook formula in information form, written here in numpy.
"""

import numpy as np
import pytest
import torch
from torch import Tensor

from stormda.assimilation.ensemble import draw
from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.guidance.mmps import mmps
from stormda.diffusion.noise import karras
from stormda.diffusion.sample.dpm2m import dpm2m
from stormda.diffusion.sample.heun import heun
from stormda.random import stream
from stormda.types import Denoise

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


def levels(name: str, steps: int, share: float = 0.2, high: float = 300.0) -> Tensor:
    """Noise levels from `high` down to `share` of the smallest observation error, or of a prior sd of 1."""
    return karras(share * float(np.sqrt(min(problem(name)[2].min(), 1.0))), high, steps)


def propagate(name: str, sampler: str, sigmas: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the sampler's output, exactly."""
    gaussian, _, _ = prior()
    h, y, r = problem(name)
    matrix = torch.as_tensor(h)

    def operator(x: Tensor) -> Tensor:
        return x.flatten(1) @ matrix.T

    posterior = mmps(
        gaussian.denoise, operator, torch.as_tensor(y), torch.as_tensor(r), tolerance=1e-12, max_iterations=N
    )
    units = torch.cat([torch.zeros(1, N, dtype=torch.float64), torch.eye(N, dtype=torch.float64)])
    x = SAMPLERS[sampler](posterior, units.reshape(-1, *SHAPE), sigmas).flatten(1).numpy()
    b, a = x[0], (x[1:] - x[0]).T
    return b, a @ a.T


def flow(mean: np.ndarray, covariance: np.ndarray, sigmas: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance where nothing is discretised between the first and the last level.

    The formula of tests/unit/diffusion/sample/test_convergence.py, for every eigenvector of the Kalman posterior.
    """
    low, high = float(sigmas[-2]), float(sigmas[0])
    v, u = np.linalg.eigh(covariance)
    share, first = v / np.sqrt((v + low**2) * (v + high**2)), v / (v + high**2)
    return mean - u @ (share * first * (u.T @ mean)), (u * (share * (1 + first) * high) ** 2) @ u.T


def distance(ours: tuple[np.ndarray, ...], theirs: tuple[np.ndarray, ...]) -> tuple[float, float]:
    """Largest difference of the means in standard deviations, and of the covariances relative to their diagonal."""
    sd = np.sqrt(np.diag(theirs[1]))
    return (
        float(np.abs((ours[0] - theirs[0]) / sd).max()),
        float(np.abs((ours[1] - theirs[1]) / np.outer(sd, sd)).max()),
    )


@pytest.mark.parametrize(
    ("name", "sampler"), [*((name, "dpm2m") for name in NETWORKS), ("partial", "heun"), ("tiny error", "heun")]
)
def test_sampler_converges_to_the_flow_of_the_kalman_posterior(name: str, sampler: str) -> None:
    # Both samplers are of second order: from 64 to 256 steps the discretisation error falls by 16; by 8 at least, for
    # 64 steps from 300 down to 2e-4, where an error is tiny, are few. Of the mean only the offset |m| v / s_0^3 = 1e-7
    # of an sd that the first level leaves is discretised at all.
    _, mean, covariance = prior()
    posterior = kalman(mean, covariance, *problem(name))
    errors = []
    for steps in (64, 256):
        sigmas = levels(name, steps)
        errors.append(distance(propagate(name, sampler, sigmas), flow(*posterior, sigmas)))
    assert errors[1][0] < 1e-7
    assert errors[1][1] < errors[0][1] / 8
    assert errors[1][1] < 0.005


@pytest.mark.parametrize("name", ["partial", "duplicate", "tiny error", "huge error"])
def test_many_steps_and_far_levels_end_in_the_kalman_posterior(name: str) -> None:
    # Levels from 1e4 down to 1 % of the smallest error leave out s_min^2 / v of a variance v: less than 5e-4 for v >
    # R/4 (three duplicates and a prior). The discretisation error h^2 L, of 512 steps h over a way of L =
    # ln(s_0/s_min), is a quarter of the one above (0.005) for twice the steps, times 3 for a way of 21 instead of 14
    # at worst: 4e-3.
    _, mean, covariance = prior()
    ours = propagate(name, "dpm2m", levels(name, 512, share=0.01, high=1e4))
    of_mean, of_covariance = distance(ours, kalman(mean, covariance, *problem(name)))
    assert of_mean < 1e-6
    assert of_covariance < 5e-3


@pytest.mark.parametrize("name", NETWORKS)
def test_denoiser_of_the_posterior_is_exact_at_every_noise_level(name: str) -> None:
    # E[x | x_t, y] of a linear-Gaussian problem in closed form: x_t is one more observation of x with error sigma.
    # Nothing is discretised, so only rounding is left: condition numbers up to 1e8 (R = 1e-6 against 4; 1e8) times
    # 1e-16.
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

        def operator(x: Tensor, matrix: Tensor = matrix) -> Tensor:
            return x.flatten(1) @ matrix.T

        m, p = gaussian.posterior(operator, torch.as_tensor(y), torch.as_tensor(r))
        expected_m, expected_p = kalman(mean, covariance, h, y, r)
        # Two algebraic forms of one formula in double precision; the condition number is 1e8 at most.
        np.testing.assert_allclose(m.flatten().numpy(), expected_m, atol=1e-8)
        np.testing.assert_allclose(p.numpy(), expected_p, atol=1e-8)


def test_monte_carlo_check_of_the_real_sampler() -> None:
    # 2,000 members through draw, with its counter-based noise, at many steps. The mean of M members has a standard
    # error of sd/sqrt(M), their variance one of var sqrt(2/(M-1)), 3.2 %. Each of the 2 N = 16 statistics is within 3
    # of them with probability 0.9973, all of them with 0.96 or more (a Bonferroni bound); the seed is fixed.
    # The last level, 0.02, leaves out 4e-4 of variances of 0.09 and more (the posterior's at the best observed point),
    # and 96 steps less than 64 do in the test above (0.75 %): together a third of a standard error.
    gaussian, mean, covariance = prior()
    h, y, r = problem("partial")
    matrix = torch.as_tensor(h)
    members = 2000

    def posterior() -> Denoise:
        return mmps(
            gaussian.denoise, lambda x: x.flatten(1) @ matrix.T, torch.as_tensor(y), torch.as_tensor(r), tolerance=1e-4
        )

    x = draw(
        dpm2m, posterior, SHAPE, karras(0.02, 10.0, 96), range(members), seed=0, stream=stream("noise"), batch=1000,
        dtype=torch.float64,
    ).flatten(1).numpy()  # fmt: skip
    m, p = kalman(mean, covariance, h, y, r)
    variance = np.diag(p)
    assert np.abs((x.mean(axis=0) - m) / np.sqrt(variance / members)).max() < 3.0
    assert np.abs((x.var(axis=0, ddof=1) - variance) / (variance * np.sqrt(2 / (members - 1)))).max() < 3.0
