"""The closed-form Gaussian against dense matrices, with and without directions that its modes leave out."""

import numpy as np
import pytest
import torch

from stormda.diffusion.gaussian import Gaussian
from stormda.errors import InputError

SHAPE, N, R = (2, 3, 4), 24, 5
RHO = 0.3


def example(residual: float = RHO) -> tuple[Gaussian, np.ndarray, np.ndarray]:
    """The object, its mean and its covariance."""
    generator = np.random.default_rng(2)
    modes = np.linalg.qr(generator.normal(size=(N, R)))[0].T
    root = generator.normal(size=(R, R))
    p = root @ root.T
    mean = generator.normal(size=N)
    s = modes.T @ p @ modes + residual * (np.eye(N) - modes.T @ modes)
    return Gaussian(torch.as_tensor(mean.reshape(SHAPE)), torch.as_tensor(modes), torch.as_tensor(p), residual), mean, s


@pytest.mark.parametrize("residual", [0.0, RHO])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_denoiser_is_the_wiener_filter(residual: float, dtype: torch.dtype) -> None:
    gaussian, mean, s = example(residual)
    x = np.random.default_rng(3).normal(size=(4, N))
    for sigma in (1e-3, 0.5, 20.0):
        d = gaussian.denoise(torch.as_tensor(x).reshape(4, *SHAPE).to(dtype), torch.tensor(sigma, dtype=dtype))
        expected = mean + (x - mean) @ np.linalg.solve(s + sigma**2 * np.eye(N), s)
        # Rounding of numbers up to 3; in double the reference's condition number, 1e8 at sigma = 1e-3 without residual.
        tolerance = 1e-8 if dtype == torch.float64 else 1e-5
        np.testing.assert_allclose(d.reshape(4, N), expected, atol=tolerance)


def test_a_batch_may_have_one_mean_a_member() -> None:
    gaussian, _, _ = example()
    means = torch.randn(3, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x, sigma = means.flip(0) * 1.5, torch.tensor(0.7, dtype=torch.float64)
    many = Gaussian(means, gaussian.modes, gaussian.covariance, RHO).denoise(x, sigma)
    for i in range(3):
        one = Gaussian(means[i], gaussian.modes, gaussian.covariance, RHO).denoise(x[i : i + 1], sigma)
        np.testing.assert_allclose(many[i], one[0], atol=1e-14)  # the same sums, perhaps in another order


def test_sample_and_product_have_the_covariance() -> None:
    gaussian, mean, s = example()
    eye = torch.eye(N, dtype=torch.float64).reshape(N, *SHAPE)
    np.testing.assert_allclose(gaussian.product(eye).reshape(N, N), s, atol=1e-12)
    root = gaussian.sample(eye).reshape(N, N).numpy() - mean
    np.testing.assert_allclose(root.T @ root, s, atol=1e-12)


def test_posterior_of_partial_and_duplicate_observations_is_kalman_s() -> None:
    gaussian, mean, s = example()
    h = np.eye(N)[[0, 5, 5, 17]] + 0.1
    y, r = np.array([1.0, -1.0, 2.0, 0.3]), np.array([0.1, 0.2, 0.3, 1e-6])
    matrix = torch.as_tensor(h)
    m, p = gaussian.posterior(lambda x: x.flatten(-3) @ matrix.T, torch.as_tensor(y), torch.as_tensor(r))
    gain = s @ h.T @ np.linalg.inv(h @ s @ h.T + np.diag(r))
    modes = gaussian.modes.numpy()
    # The innovation matrix has a condition number of about 1e7 (1e-6 against 10): 1e-16 becomes 1e-9.
    np.testing.assert_allclose(m.flatten(), mean + gain @ (y - h @ mean), atol=1e-8)
    np.testing.assert_allclose(p, modes @ (s - gain @ h @ s) @ modes.T, atol=1e-8)


def test_shapes_that_do_not_fit_are_refused() -> None:
    gaussian, _, _ = example()
    with pytest.raises(InputError):
        Gaussian(gaussian.mean[:, :2], gaussian.modes, gaussian.covariance)
