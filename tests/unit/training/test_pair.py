"""Two denoisers on the same draws: equal ones have a ratio of 1 without error; ratios have the error that they say."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stormda.diffusion.denoise import EDM
from stormda.diffusion.guess import LinearGuess
from stormda.errors import InputError
from stormda.nn.storm import Storm
from stormda.training import pair
from stormda.training.data import Sampler, Series, statistics
from stormda.training.loss import NoiseDensity
from stormda.training.pair import Comparison, compare

SIZE = {"patch": 1, "width": 16, "blocks": 1, "heads": 2}


def model(shape: tuple[int, int], head: float, **size: int) -> EDM:
    torch.manual_seed(0)
    network = Storm(1, shape, torch.randn(5, *shape), periodic=(True, True), frames=1, **(SIZE | size))
    nn.init.normal_(network.head.weight, std=head)
    one = torch.ones(1, *shape)
    modes = torch.linalg.qr(torch.randn(shape[0] * shape[1], 2))[0].T
    matrices = {"energy": torch.tensor([4.0, 2.0]), "propagator": 0.8 * torch.eye(2), "noise": torch.eye(2)}
    guess = LinearGuess(correlation=0.9 * one[None], modes=modes, variance=one, beside=0.5 * one, **matrices)
    return EDM(network, guess).requires_grad_(False).eval()


def sampler(shape: tuple[int, int]) -> Sampler:
    times = np.datetime64("2001-01-01", "s") + np.arange(40) * np.timedelta64(6, "h")
    fields = torch.randn(40, 1, *shape, generator=torch.Generator().manual_seed(1))
    series = Series(fields, times, np.timedelta64(6, "h"), np.arange(1, 40))
    return Sampler(series, statistics(series, False), 1, 0.0, (0.01, 1.0), False)


def compared(a: EDM, b: EDM, shape: tuple[int, int] = (4, 8)) -> Comparison:
    return compare(a, b, sampler(shape), NoiseDensity(0.02, 10.0), torch.ones(shape), samples=20, asked=4, members=2)


def test_a_model_is_as_good_as_itself() -> None:
    one = model((4, 8), 0.1, latents=2)
    found = compared(one, one)
    assert all(loss.ratio == 1.0 and loss.error == 0.0 and loss.loss == loss.reference for loss in found.losses)
    assert [row.share for row in found.reach] == [row.near_share for row in found.reach] == [1.0, 1.0, 1.0]
    overall, *levels = found.losses
    mean = np.mean([loss.loss for loss in levels if loss.past])
    assert overall.sigma is None and len(levels) == 16 and overall.loss == pytest.approx(mean, rel=1e-12)


def test_a_network_that_answers_at_random_is_worse_and_tiles_alone_do_not_see_far() -> None:
    silent, loud = model((4, 8), 0.0, latents=2), model((4, 8), 0.5, latents=2)
    better = compared(silent, loud)
    # An answer of random signs with a variance of v adds v to a loss near 1: it cannot be better.
    assert better.losses[0].ratio < 1 - 3 * better.losses[0].error
    assert all(row.far == 0.0 and row.near == 0.0 and row.far_reference > 0 for row in better.reach)
    blind = compared(model((1, 32), 0.5, latents=0, tile=2, halo=1), model((1, 32), 0.5, latents=0), (1, 32))
    assert all(row.share == 0.0 and row.far_reference > 0 and row.near_reference > 0 for row in blind.reach)


def test_the_error_of_a_ratio_is_its_spread_over_repetitions() -> None:
    g = torch.Generator().manual_seed(0)
    ratios, errors = [], []
    for _ in range(2000):
        hard = torch.rand(8, 40, generator=g) + 0.5  # what both find hard about a sample
        noise = 0.1 * torch.randn(2, 8, 40, generator=g)
        a, b = (0.9 * hard + noise[0]).double(), (hard + noise[1]).double()
        row = pair._loss(None, True, *zip(a, b, strict=True))
        ratios.append(row.ratio)
        errors.append(row.error)
    # A standard deviation from 2000 repetitions is known to 1/sqrt(4000) = 1.6 %; five of these, and 0.3 % for a
    # variance from 40 samples a level.
    assert np.mean(errors) == pytest.approx(np.std(ratios), rel=0.083)


def test_a_grid_without_far_tokens_is_refused() -> None:
    one = model((2, 2), 0.1, latents=0, patch=2)  # a single token
    with pytest.raises(InputError, match="too small"):
        compared(one, one, (2, 2))


def test_inputs_of_a_part() -> None:
    from stormda.nn.reach import inputs_of

    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    x = torch.randn(4, 2)
    (given,) = inputs_of(model, model[1], x)
    assert isinstance(given, Tensor) and torch.equal(given, model[0](x)) and not model[1]._forward_pre_hooks
