"""Samplers against the exact solution of the probability flow, which a Gaussian target has in closed form.

For N(m, V) the flow takes x(s_0) to m + ((V + s^2) / (V + s_0^2))^1/2 (x(s_0) - m); the first state is s_0 n + D(s_0
n; s_0) and the last step D. So the whole sampler is n -> A n + b with, for every eigenvalue v of V,

    A = v / sqrt((v + s_min^2) (v + s_0^2)) (1 + v / (v + s_0^2)) s_0
    b = m - v / sqrt((v + s_min^2) (v + s_0^2)) v / (v + s_0^2) m

which tends to A A^T = V and b = m for s_0 to infinity and s_min to 0. A and b of the code are found exactly by pushing
zero and every unit vector through it.
"""

import numpy as np
import pytest
import torch

from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.noise import karras
from stormda.diffusion.sample.dpm2m import dpm2m, dpm2mx
from stormda.diffusion.sample.heun import heun

SAMPLERS = {"dpm2m": dpm2m, "heun": heun}
V = np.array([9.0, 1.0, 0.1, 0.01])
M = np.array([5.0, -2.0, 1.0, 0.5])
N = len(V)


def mapped(sampler: str, sigma_min: float, sigma_max: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """b [N] and A [N, N] of the code."""
    eye = torch.eye(N, dtype=torch.float64)
    target = Gaussian(torch.as_tensor(M).reshape(1, 1, N), eye, torch.diag(torch.as_tensor(V)))
    units = torch.cat([torch.zeros(1, N, dtype=torch.float64), eye]).reshape(-1, 1, 1, N)
    x = SAMPLERS[sampler](target.denoise, units, karras(sigma_min, sigma_max, steps)).flatten(1).numpy()
    return x[0], (x[1:] - x[0]).T


def exact(low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """b [N] and the diagonal of A [N] of the exact flow between two levels."""
    share, first = V / np.sqrt((V + low**2) * (V + high**2)), V / (V + high**2)
    return M - share * first * M, share * (1 + first) * high


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_second_order_of_convergence(sampler: str) -> None:
    low, high = 0.02, 30.0
    b, a = exact(low, high)
    steps = np.array([64, 128, 256, 512])
    errors = []
    for n in steps:
        ours_b, ours_a = mapped(sampler, low, high, n)
        assert np.abs(ours_a - np.diag(np.diag(ours_a))).max() < 1e-12  # directions do not mix
        errors.append(max(np.abs(np.diag(ours_a) / a - 1).max(), np.abs((ours_b - b) / np.sqrt(V)).max()))
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    # Second order is a slope of -2; the next term of the error, of order three, is a few steps^-1 of it.
    assert -2.3 < slope < -1.8
    assert errors[-1] < 1e-4  # 512 steps; 24 steps have (512/24)^2 = 455 times as much, up to 2 %


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_many_steps_tend_to_the_target(sampler: str) -> None:
    low, high, steps = 1e-3, 1e4, 4096
    b, a = mapped(sampler, low, high, steps)
    # What the levels leave out: s_min^2 / v <= 1e-4 of a variance, v / s_0^2 = 1e-7; and of discretisation, by the
    # order above, 4e-5 (512/4096)^2 = 6e-7 of an sd, ten times that for the longer way (ln 1e7 to ln 1.5e3, cubed).
    np.testing.assert_allclose(a @ a.T / np.sqrt(np.outer(V, V)), np.eye(N), atol=1.2e-4)
    np.testing.assert_allclose((b - M) / np.sqrt(V), 0, atol=1e-6)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_mean_is_right_at_a_top_level_of_five_standard_deviations(sampler: str) -> None:
    # The default top level. Without the first step from infinity the mean would miss by |m| / s_0 = 5/15 and 2/15 of a
    # posterior sd; with it, by |m| v / s_0^3 (see stormda.diffusion.sample.start): 5 * 9/15^3 = 0.013.
    b, _ = mapped(sampler, 0.02, 15.0, 24)
    assert np.abs((b - M) / np.sqrt(V)).max() < 0.02


@pytest.mark.parametrize("steps", [16, 24, 32])
def test_spread_at_the_default_number_of_steps(steps: int) -> None:
    # Measured, so that a change is seen: DPM-Solver++ 2M over-disperses by a few per cent (1.04/1.02/1.01 on a ring).
    _, a = mapped("dpm2m", 0.02, 15.0, steps)
    ratio = np.sqrt(np.trace(a @ a.T) / V.sum())
    assert 0.98 < ratio < {16: 1.04, 24: 1.025, 32: 1.02}[steps]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_level_is_one_call_of_the_denoiser(sampler: str) -> None:
    calls = []

    def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        calls.append(float(sigma))
        return 0.5 * x

    noise = torch.ones(2, 1, 1, 3)
    x = SAMPLERS[sampler](denoise, noise, torch.tensor([4.0, 0.0]))
    assert calls == [4.0]
    assert torch.equal(x, 2.0 * noise)


def test_the_extrapolated_end_gives_back_what_the_last_level_takes() -> None:
    # With many steps x is that of the flow at the last level s, D - m = v (v + s^2)^-1/2 k with k the same at every
    # level, and the extrapolation is along the tangent in s^2 at s^2 = u:
    #     f(u) - u f'(u) = (v + u)^-1/2 (1 + u / (2 (v + u))),      f(u) = (v + u)^-1/2
    # so a shortfall u / 2v of the sd becomes one of 3/8 (u / v)^2. Both come together with 1/steps: the secant of two
    # levels 2 % apart (ln 1500 / 400) is the tangent up to some 2 % of what the extrapolation adds.
    low, v = 0.2, 1.0
    eye = torch.eye(1, dtype=torch.float64)
    target = Gaussian(torch.zeros(1, 1, 1).double(), eye, v * eye)
    sigmas = karras(low, 300.0, 400)
    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    plain, extrapolated = (float(sampler(target.denoise, one, sigmas)) for sampler in (dpm2m, dpm2mx))
    u = low**2
    assert extrapolated / plain == pytest.approx(1 + u / (2 * (v + u)), abs=0.05 * u / 2)
    assert 1 - plain == pytest.approx(1 - (1 + u / v) ** -0.5, abs=1e-3)  # 400 steps: 1e-4 by the order above
    assert abs(1 - extrapolated) < 2e-3  # 3/8 u^2 = 6e-4, and the secant's 4e-4
