"""B of a background is alpha G P G^T + f Q, with what observations have left of P."""

import math

import torch
from torch import Tensor

from stormda.diffusion.background import BackgroundError, widened
from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.guess import LinearGuess

SHAPE = (1, 3, 4)
N, R, FRAMES = 12, 5, 2
LEVELS = torch.tensor([0.1, 1.0, 10.0])


def error() -> BackgroundError:
    g = torch.Generator().manual_seed(0)
    e = torch.linalg.qr(torch.randn(N, N, generator=g))[0][:R]
    energy = torch.linspace(9.0, 2.0, R)
    linear = LinearGuess(
        torch.full(SHAPE, 6.0), torch.zeros(FRAMES, *SHAPE), e, energy, 0.8 * torch.eye(R), torch.diag(0.3 * energy),
        torch.full(SHAPE, 0.2),
    )  # fmt: skip
    return BackgroundError(
        linear, torch.tensor([0.5, 1.0, 0.0]), LEVELS, torch.tensor([0.8, 1.2, 1.0]), LEVELS, torch.tensor(1.0)
    )


def past(known: bool) -> tuple[Tensor, Tensor, Tensor]:
    mask = torch.tensor([[known, known]])
    return torch.randn(1, FRAMES, *SHAPE), torch.full((1, FRAMES, *SHAPE), 0.5), mask


def test_it_propagates_what_is_carried_and_adds_the_noise_of_the_season() -> None:
    b, phi = error(), torch.tensor([[-0.5, 7.0]])
    p = torch.diag(torch.arange(1.0, R + 1))[None]
    f = math.exp(0.5 - 0.5)
    expected = 0.64 * p[0].double() + f * b.linear.noise.double()
    # Single precision of propagator and noise.
    torch.testing.assert_close(b(*past(True), phi, p).covariance[0], expected, rtol=1e-6, atol=1e-6)


def test_the_season_scales_noise_climate_and_the_rest_alike() -> None:
    b, still = error(), error()
    still.season = torch.zeros(3)
    phi = torch.tensor([[1.0, 0.0]])
    factor = math.exp(1.5)
    warm, cold = b(*past(False), phi), still(*past(False), phi)
    torch.testing.assert_close(warm.covariance, factor * cold.covariance, rtol=1e-6, atol=0)
    torch.testing.assert_close(warm.beside, factor * cold.beside, rtol=1e-6, atol=0)


def test_without_what_is_carried_the_told_error_decides() -> None:
    b, phi, frames = error(), torch.zeros(1, 2), past(True)
    plain = b.linear(*frames).covariance - b.linear.noise.double()
    got = b(*frames, phi).covariance - math.exp(0.5) * b.linear.noise.double()
    torch.testing.assert_close(got, plain, rtol=1e-5, atol=1e-5)  # differences of single-precision numbers of size 9


def test_the_share_is_linear_in_ln_sigma_and_constant_beyond() -> None:
    b = error()
    for sigma, value in ((0.01, 0.8), (0.1, 0.8), (10**-0.5, 1.0), (1.0, 1.2), (100.0, 1.0)):
        assert math.isclose(b.share_at(sigma, True), value, rel_tol=1e-6)
    assert math.isclose(b.share_at(1.0, False), 1.0, rel_tol=1e-6)


def test_it_can_be_built_from_its_state() -> None:
    b = error()
    again = BackgroundError.of(b.state_dict())
    frames, phi = past(True), torch.randn(1, 2)
    torch.testing.assert_close(again(*frames, phi).covariance, b(*frames, phi).covariance, rtol=0, atol=0)
    assert again.share_at(0.5, True) == b.share_at(0.5, True)


def test_widened_draws_of_a_gaussian_are_those_of_a_wider_one() -> None:
    """N(b, S) widened by w is N(b, w^2 S), so its denoiser is that one's, at every noise level."""
    g = torch.Generator().manual_seed(2)
    e = torch.linalg.qr(torch.randn(N, N, generator=g, dtype=torch.float64))[0][:R]
    b, s = torch.randn(SHAPE, generator=g, dtype=torch.float64), torch.diag(torch.arange(1.0, R + 1).double())
    narrow, wide = Gaussian(b, e, s, 0.2), Gaussian(b, e, 1.3**2 * s, 1.3**2 * 0.2)
    x = 3 * torch.randn(4, *SHAPE, generator=g, dtype=torch.float64)
    for sigma in (0.1, 1.0, 30.0):
        level = torch.tensor(sigma, dtype=torch.float64)
        got = widened(narrow.denoise, b, 1.3)(x, level)
        torch.testing.assert_close(
            got, wide.denoise(x, level), rtol=1e-12, atol=1e-12
        )  # rounding of numbers of size 10


def test_weights_of_before_are_not_widened() -> None:
    state = error().state_dict()
    del state["width"]
    assert float(BackgroundError.of(state).width) == 1.0
