"""The closed-form ensemble: its mean is the posterior's exactly, its members have the posterior's covariance."""

import numpy as np
import torch

from stormda.assimilation.baselines.kf import closed_form
from stormda.diffusion.gaussian import Gaussian

N, R, SHAPE = 8, 3, (1, 2, 4)
RHO = 0.05


def test_members_have_mean_and_covariance_of_the_posterior() -> None:
    generator = np.random.default_rng(0)
    modes = np.linalg.qr(generator.normal(size=(N, R)))[0].T
    p, mean = np.diag([4.0, 1.0, 0.3]), generator.normal(size=N)
    s = modes.T @ p @ modes + RHO * (np.eye(N) - modes.T @ modes)
    h = torch.as_tensor(np.eye(N)[[1, 1, 6]])
    y, r = torch.tensor([1.0, 0.5, -2.0]).double(), torch.tensor([0.2, 0.4, 0.01]).double()
    gain = s @ h.numpy().T @ np.linalg.inv(h.numpy() @ s @ h.numpy().T + np.diag(r))
    expected = mean + gain @ (y.numpy() - h.numpy() @ mean)
    covariance = s - gain @ h.numpy() @ s

    # The deviation of a member is linear in its noise, field and observation together: with the unit vectors and their
    # negatives as noise, the members' mean is zero, and the sum of the outer products of the first half is the
    # covariance.
    units = torch.eye(N + 3, dtype=torch.float64)
    units = torch.cat([units, -units])
    prior = Gaussian(torch.as_tensor(mean.reshape(SHAPE)), torch.as_tensor(modes), torch.as_tensor(p), RHO)
    members, carried = closed_form(
        prior, lambda x: x.flatten(-3) @ h.T, y, r, units[:, :N].reshape(-1, *SHAPE), units[:, N:]
    )
    fields = members.reshape(-1, N).numpy()
    np.testing.assert_allclose(fields.mean(axis=0), expected, atol=1e-12)
    deviation = (fields - expected)[: N + 3]
    np.testing.assert_allclose(deviation.T @ deviation, covariance, atol=1e-12)
    np.testing.assert_allclose(carried, modes @ covariance @ modes.T, atol=1e-12)


def test_a_nonlinear_operator_is_linearised_at_the_prior_mean() -> None:
    eye = torch.eye(N, dtype=torch.float64)
    prior = Gaussian(torch.full(SHAPE, 0.5, dtype=torch.float64), eye, eye)
    noise_field, noise_observation = torch.randn(4, *SHAPE).double(), torch.randn(4, 1).double()
    y, r = torch.tensor([0.7]).double(), torch.tensor([0.1]).double()

    def tangent(x: torch.Tensor) -> torch.Tensor:
        return np.arctan(0.5) + (x.flatten(-3)[..., 2:3] - 0.5) / (1 + 0.25)

    ours, _ = closed_form(prior, lambda x: torch.arctan(x.flatten(-3)[..., 2:3]), y, r, noise_field, noise_observation)
    linear, _ = closed_form(prior, tangent, y, r, noise_field, noise_observation)
    np.testing.assert_allclose(ours, linear, atol=1e-12)
