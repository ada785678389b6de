"""Samplers that need noise at every step: their moments, exactly, in one direction.

For a Gaussian of variance v the denoiser of deviations is D = v / (v + s^2) x, so a step is affine and its variance
follows from hand: Var[x'] = a^2 Var[x] + c^2. The code is run once per number that it draws, with a one in its place
and zeros elsewhere; the sum of squares of the results is the variance.
"""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from stormda.diffusion.noise import karras
from stormda.diffusion.sample.ancestral import ancestral
from stormda.diffusion.sample.dpm2m import dpm2m
from stormda.diffusion.sample.heun import heun
from stormda.diffusion.sample.langevin import Langevin

SAMPLERS = {"ancestral": ancestral, "dpm2m": dpm2m, "heun": heun}
V, M = 2.0, 3.0


def denoise(x: Tensor, sigma: Tensor) -> Tensor:
    return M + V / (V + sigma**2) * (x - M)


def moments(name: str, sigmas: Tensor, langevin: Langevin) -> tuple[float, float]:
    """Mean and variance of the result, by columns: none, the first number, the second, ..."""
    draws = 1 + (len(sigmas) - 2) * (langevin.corrections + (name == "ancestral"))
    start = torch.zeros(1 + draws, 1, 1, 1, dtype=torch.float64)
    start[1] = 1.0
    calls = []

    def stir(x: Tensor, s: Tensor) -> Tensor:
        calls.append(1)
        x = x.clone()
        x[1 + len(calls)] += s
        return x

    x = SAMPLERS[name](denoise, start, sigmas, stir, langevin).flatten()
    assert len(calls) == draws - 1
    return float(x[0]), float((x[1:] - x[0]).square().sum())


def by_hand(sigmas: Tensor, langevin: Langevin) -> tuple[float, float]:
    """Of the ancestral sampler."""
    s = sigmas.tolist()
    gain = [V / (V + x**2) for x in s]
    # The first state is s n + D(s n), and that D serves the first step too: x - D = s n.
    share = (s[1] / s[0]) ** 2
    mean = M * (1 - gain[0])
    variance = ((gain[0] + share) * s[0]) ** 2 + s[1] ** 2 * (1 - share)
    for i in range(1, len(s) - 1):
        for _ in range(langevin.corrections):
            keep = 1 - langevin.tau * (1 - gain[i])
            mean, variance = M + keep * (mean - M), keep**2 * variance + 2 * langevin.tau * s[i] ** 2
        if s[i + 1] == 0:
            return M + gain[i] * (mean - M), gain[i] ** 2 * variance
        share = (s[i + 1] / s[i]) ** 2
        keep = gain[i] + share * (1 - gain[i])
        mean, variance = M + keep * (mean - M), keep**2 * variance + s[i + 1] ** 2 * (1 - share)
    raise AssertionError("the last level is 0")


@pytest.mark.parametrize("corrections", [0, 2])
def test_ancestral_moments_are_those_by_hand(corrections: int) -> None:
    sigmas, langevin = karras(0.02, 30.0, 12), Langevin(corrections, 0.2)
    # The same few dozen operations in double precision.
    np.testing.assert_allclose(moments("ancestral", sigmas, langevin), by_hand(sigmas, langevin), rtol=1e-12)


def test_ancestral_is_of_first_order_and_too_narrow() -> None:
    errors = [1 - moments("ancestral", karras(1e-3, 100.0, n), Langevin())[1] / V for n in (128, 256, 512)]
    assert all(e > 0 for e in errors)
    # Halved steps halve the error; the term of second order is some per cent of it at 128 steps.
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_corrections_forget_what_came_before(sampler: str) -> None:
    # 400 corrections of 0.5 at one last level s: (1 - 0.5 q)^400 of anything before is left, q = s^2 / (v + s^2) = 1/3,
    # so 1e-32; the variance is the stationary one (v + s^2) / (1 - tau q / 2), times the gain of the last D, squared.
    langevin, s = Langevin(400, 0.5), 1.0
    mean, variance = moments(sampler, torch.tensor([20.0, s, 0.0], dtype=torch.float64), langevin)
    stationary = (V + s**2) / (1 - 0.5 / 3 / 2)
    assert mean == pytest.approx(M, abs=1e-12)
    assert variance == pytest.approx((V / (V + s**2)) ** 2 * stationary, rel=1e-12)


@pytest.mark.parametrize("sampler", ["dpm2m", "heun"])
def test_no_corrections_need_no_noise(sampler: str) -> None:
    x = torch.ones(2, 1, 1, 3)
    assert torch.isfinite(SAMPLERS[sampler](denoise, x, karras(0.1, 9.0, 4))).all()
    with pytest.raises(ValueError, match="noise at every step"):
        SAMPLERS[sampler](denoise, x, karras(0.1, 9.0, 4), langevin=Langevin(1))


def test_a_correction_is_the_step_along_the_score() -> None:
    x, sigma = torch.tensor([[1.0, 5.0]]).double()[..., None, None], torch.tensor(0.7, dtype=torch.float64)
    seen = []

    def stir(x: Tensor, s: Tensor) -> Tensor:
        seen.append(float(s))
        return x

    moved = Langevin(1, 0.3)(denoise, x, sigma, stir)
    score = (denoise(x, sigma) - x) / sigma**2
    torch.testing.assert_close(moved, x + 0.3 * sigma**2 * score, atol=1e-14, rtol=0)  # rounding
    assert seen == [pytest.approx(math.sqrt(0.6) * 0.7)]
