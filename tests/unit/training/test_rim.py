"""A coarser field at the rim: made of the truth, told to the network, learned and used."""

import math

import pytest
import torch

from stormda.training.rim import NO_RIM, Rim, coarse


def g(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_constant_stays_and_small_scales_go() -> None:
    constant = torch.full((1, 1, 10, 14), 3.0)  # 14 is no multiple of 4: the last block is narrower
    # Means of equal float32 numbers, and linear weights that sum to 1, are right to a few units in the last place.
    assert torch.allclose(coarse(constant, 4, 0.0, g()), constant, atol=4 * 3.0 * torch.finfo(torch.float32).eps)
    checkers = (-1.0) ** (torch.arange(12)[:, None] + torch.arange(12))[None, None]
    assert float(coarse(checkers, 4, 0.0, g()).abs().max()) < 1e-6


@pytest.mark.parametrize(("size", "factor"), [(14, 4), (53, 4), (25, 4), (41, 8), (12, 3)])
def test_nothing_is_displaced(size: int, factor: int) -> None:
    ramp = torch.arange(size, dtype=torch.float64).expand(1, 1, 7, size)
    # Means of a line lie on it, at the centres of their blocks, and linear interpolation and extrapolation stay on it.
    assert torch.allclose(coarse(ramp, factor, 0.0, g()), ramp, atol=1e-5)  # weights in float32, numbers up to 53


def test_a_seam_is_no_end() -> None:
    wave = torch.cos(2 * math.pi * torch.arange(48) / 48).expand(1, 1, 4, 48)
    shifted = coarse(wave.roll(20, dims=-1), 4, 0.0, g(), (False, True)).roll(-20, dims=-1)
    assert torch.allclose(shifted, coarse(wave, 4, 0.0, g(), (False, True)), atol=1e-6)  # whole blocks away


def test_errors_are_as_large_as_they_are_said_to_be() -> None:
    blocks = coarse(torch.zeros(200, 1, 9, 9), 3, 0.5, g())[:, :, 1::3, 1::3]  # centres of blocks: no interpolation
    n = blocks.numel()
    assert float(blocks.std()) == pytest.approx(0.5, rel=4 / math.sqrt(2 * n))  # four standard errors


def test_only_the_rim_is_told_and_not_to_all() -> None:
    x = torch.randn(400, 2, 8, 9, generator=g())
    strip = Rim(width=2, dropout=0.25).of(x, g(), 0.25)
    assert strip is not None
    known = strip.known_BCHW.expand(400, 1, 8, 9)
    assert not bool(known[:, :, 2:-2, 2:-2].any())
    told = known[:, 0, 0, 0].float().mean()
    assert float(told) == pytest.approx(0.75, abs=4 * math.sqrt(0.75 * 0.25 / 400))
    assert torch.equal(known.flatten(1).any(dim=1), known[:, 0, 0, 0])
    field, mask = strip.planes()[:, 0], strip.planes()[:, 1]
    assert float(field[mask == 0].abs().max()) == 0.0


def test_no_rim_draws_no_random_number() -> None:
    one, other = g(), g()
    assert NO_RIM.of(torch.zeros(2, 1, 4, 4), one, 0.5) is None
    assert torch.equal(torch.rand(1, generator=one), torch.rand(1, generator=other))


def test_an_axis_that_wraps_has_no_rim() -> None:
    strip = Rim(width=1, periodic=(False, True)).of(torch.zeros(1, 1, 5, 6), g())
    assert strip is not None
    known = strip.known_BCHW[0, 0]
    assert bool(known[0].all()) and bool(known[-1].all()) and not bool(known[1:-1].any())
