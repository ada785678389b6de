"""The error of a centre's states: what it was made of comes back, and it is as wide as errors that it has not seen."""

import pytest
import torch
from torch import Tensor

from stormda.assimilation.nwp_error import NwpError
from stormda.errors import InputError

SHAPE, N = (1, 8, 10), 80
TRUTH = torch.randn(2000, *SHAPE, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def draws(count: int, seed: int, rank: int = 3) -> Tensor:
    """A few patterns of variance 4, 2 and 1 and white noise of variance 0.05 a point, about a bias of 0.3."""
    draw = torch.Generator().manual_seed(seed)
    patterns = torch.linalg.qr(torch.randn(N, rank, generator=torch.Generator().manual_seed(99)).double())[0].T
    size = torch.tensor([4.0, 2.0, 1.0]).double()[:rank].sqrt()
    inside = torch.randn(count, rank, generator=draw, dtype=torch.float64) * size @ patterns
    return (0.3 + inside + 0.05**0.5 * torch.randn(count, N, generator=draw, dtype=torch.float64)).view(-1, *SHAPE)


def fit(d: Tensor, modes: int | None = None) -> NwpError:
    """Of errors about a truth that is much larger, so that what it takes of them does not count: alpha is 1 to 1 %."""
    return NwpError.fit(TRUTH[: len(d)] + d, TRUTH[: len(d)], modes)


def test_patterns_variances_and_bias_come_back() -> None:
    error = fit(draws(2000, 1))
    assert len(error.modes) == 3
    # Relative standard error of a variance of 2000 draws: sqrt(2 / 2000) = 3 %; three times that.
    assert error.variances.tolist() == pytest.approx([4.05, 2.05, 1.05], rel=0.1)
    assert error.residual == pytest.approx(0.05, rel=0.02)  # 154,000 numbers
    assert float((error.bias - 0.3).abs().max()) < 4 * (0.4 / 2000) ** 0.5 + 0.02
    assert float((error.modes @ error.modes.T - torch.eye(3)).abs().max()) < 1e-12


@pytest.mark.parametrize("count", [12, 30, 100])
def test_it_is_as_wide_as_errors_that_it_has_not_seen(count: int) -> None:
    """EOFs of few times would claim too little beyond them; the mean over worlds of d^2 / B is what it should be."""
    ratios, squares = [], []
    for seed in range(12):
        error, new = fit(draws(count, seed)), draws(200, 1000 + seed)
        gap = (new - error.bias).flatten(1)
        inside = gap @ error.modes.T
        rest = gap.square().sum(dim=1) - inside.square().sum(dim=1)
        square = (inside.square() / error.variances).sum(dim=1) + rest / error.residual
        ratios.append(float(square.mean()) / N)
        squares.append(float(gap.square().mean() / error.sd.square().mean()))
    # Each fit has its own variances from `count` draws; the leading of 3 has a relative error of sqrt(2 / count), 40 %
    # at 12, and a mean over 12 fits of 12 %. Wider than seen by cross-validation with four fifths of the times.
    assert sum(ratios) / 12 == pytest.approx(1.0, abs=0.15)
    assert sum(squares) / 12 == pytest.approx(1.0, abs=0.25)


def test_the_number_of_patterns_can_be_said() -> None:
    assert len(fit(draws(50, 1), 0).modes) == 0
    assert len(fit(draws(50, 1), 7).modes) == 7
    gaussian = fit(draws(50, 1), 2).around(torch.ones(SHAPE))
    assert gaussian.mean.mean() == pytest.approx(0.7, abs=0.1) and gaussian.covariance.shape == (2, 2)


def test_what_nothing_can_be_learned_from_is_said() -> None:
    with pytest.raises(InputError, match="9 past states"):
        fit(draws(9, 1))
    with pytest.raises(InputError, match="do not differ"):
        fit(torch.zeros(20, *SHAPE))


def test_a_state_that_knows_half_of_the_truth_says_so() -> None:
    """b = 0.5 x + error of .3: b / .5 errs by .6; and one of another time knows nothing."""
    x, e = TRUTH[:500], 0.3 * torch.randn(500, *SHAPE, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    error = NwpError.fit(0.5 * x + e, x)
    # 40,000 numbers: .3 / 200 = .0015, four of them; a variance to 0.7 %, four of these and those of alpha, squared.
    assert float(error.share[0]) == pytest.approx(0.5, abs=0.006)
    assert float(error.sd.mean()) == pytest.approx(0.6, rel=0.03)
    gaussian = error.around(torch.full(SHAPE, 0.5))
    assert float(gaussian.mean.mean()) == pytest.approx(1.0, abs=0.03)
    stranger = NwpError.fit(TRUTH[1000:1500], x)
    assert float(stranger.share[0]) == 0.05 and float(stranger.sd.mean()) > 15
