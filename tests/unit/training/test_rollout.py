"""Own analyses: in a linear-Gaussian world the untrained network cycles as the Kalman filter would."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stormda.diffusion.denoise import EDM
from stormda.diffusion.guess import LinearGuess
from stormda.training.data import Chain, Sampler, Series, statistics
from stormda.training.rollout import Rollout, own_analyses

STEP = np.timedelta64(6, "h")
MEMORY = 0.9


class Silent(nn.Module):
    def forward(self, state: Tensor, *rest: Tensor) -> Tensor:
        return torch.zeros_like(state[:, 0])


def world(points: int = 6, times: int = 4000) -> tuple[EDM, Series]:
    """Independent points of variance 1 that remember 0.9 of themselves a step."""
    g = torch.Generator().manual_seed(0)
    fields = [torch.randn(1, 1, points, generator=g)]
    for _ in range(times - 1):
        fields.append(MEMORY * fields[-1] + (1 - MEMORY**2) ** 0.5 * torch.randn(1, 1, points, generator=g))
    stamps = np.datetime64("2001-01-01T00", "s") + STEP * np.arange(times)
    shape = (1, 1, points)
    guess = LinearGuess.pointwise(torch.ones(shape), torch.full((1, *shape), MEMORY))
    return EDM(Silent(), guess), Series(torch.stack(fields), stamps, STEP, np.arange(times))


def chain(series: Series, steps: int, count: int = 3000, **changes: object) -> Chain:
    options = {"frames": 1, "dropout": 0.0, "error": (0.3, 0.3), "roll": False, "extra": steps} | changes
    return Sampler(series, statistics(series, False), **options).chain(count, torch.Generator().manual_seed(1))  # type: ignore[arg-type]


@pytest.mark.parametrize("sigma", [0.3, 1.0, 30.0])
def test_own_analyses_are_those_of_the_kalman_filter(sigma: float) -> None:
    model, series = world()
    long = chain(series, 6)
    batch = own_analyses(model, long, sigma, torch.Generator().manual_seed(2))
    variance = 0.3**2 / (1 + 0.3**2)  # classical errors of 0.3, filtered; forgotten after six cycles or nearly so
    for _ in range(6):
        forecast = MEMORY**2 * variance + 1 - MEMORY**2
        variance = forecast * sigma**2 / (forecast + sigma**2)
    there = batch.mask[:, 0]
    mean, error = batch.mean[there, 0], batch.error[there, 0]
    departure = long.truth[there, -1] - mean
    # 18 000 values, of some 2000 independent samples of six points: standard error of a root of a mean square 0.01.
    assert float(departure.square().mean().sqrt()) == pytest.approx(variance**0.5, rel=0.05)
    assert float(error.mean()) == pytest.approx(variance**0.5, rel=0.08)
    slope = float((departure * mean).mean() / mean.square().mean())
    # Berkson: the error does not depend on the analysis. 4000 times of memory 0.9 are some 200 independent ones, of six
    # points each; three standard errors. Classical errors would have a slope of -P/(1 + P), here down to -0.4.
    assert abs(slope) < 3 * float(departure.std() / mean.std()) / 1200**0.5


def test_a_chain_holds_the_truth_that_its_frames_are_analyses_of() -> None:
    _, series = world(times=200)
    long = chain(series, 2, count=300, error=(1e-4, 1e-4), roll=True)
    there = long.batch.mask[:, 1:]
    assert long.batch.mean.shape[1] == 3 and bool(there.any())
    assert float((long.batch.mean[:, 1:] - long.truth)[there].abs().max()) < 0.01  # rolled together


def test_missing_frames_stay_missing() -> None:
    model, series = world(times=400)
    long = chain(series, 2, count=500, dropout=0.5)
    batch = own_analyses(model, long, 1.0, torch.Generator().manual_seed(0))
    assert batch.mean.shape[1] == 1 and torch.equal(batch.mask, long.batch.mask[:, 2:])
    lost = ~batch.mask[:, 0]
    assert bool(lost.any()) and float(batch.mean[lost].abs().max()) == 0.0 and float(batch.error[lost].min()) == 1.0


def test_it_begins_at_its_step() -> None:
    rollout = Rollout(steps=2, after=0.5, share=0.25)
    assert [rollout.samples(step, 100, 16) for step in (0, 49, 50, 99)] == [0, 0, 4, 4]
    assert Rollout().samples(99, 100, 16) == 0
