"""Preconditioning: exact for independent first-order Gaussian processes, and unit-sized for the network."""

import torch
from torch import Tensor, nn

from stormda.diffusion.denoise import EDM
from stormda.diffusion.guess import LinearGuess


class Zero(nn.Module):
    """The untrained network; it remembers what it was shown."""

    def forward(self, state: Tensor, *rest: Tensor) -> Tensor:
        self.state = state
        return torch.zeros_like(state[:, 0])


def model(s2: float, r: list[float]) -> EDM:
    shape = (1, 1, 1)
    correlation = torch.tensor(r)[:, None, None, None].expand(-1, *shape)
    return EDM(Zero(), LinearGuess.pointwise(torch.full(shape, s2), correlation))


def call(edm: EDM, x: Tensor, sigma: Tensor, m: Tensor, e: Tensor, mask: Tensor) -> Tensor:
    """Scalars in a batch: x [B], m and e [B, K], mask [B, K]."""
    return edm(x[:, None, None, None], sigma, m[:, :, None, None, None], e[:, :, None, None, None], mask,
               torch.zeros(len(x), 4))[0].flatten()  # fmt: skip


def test_without_history_it_is_edm() -> None:
    edm = model(1.0, [0.9])
    x, sigma = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])
    d = call(edm, x, sigma, torch.full((2, 1), 9.0), torch.ones(2, 1), torch.zeros(2, 1, dtype=torch.bool))
    torch.testing.assert_close(d, x / (1 + sigma**2))


def test_with_history_it_is_the_kalman_filter_of_a_first_order_process() -> None:
    s2, r, m, e, sigma, x = 2.0, 0.8, 1.5, 0.3, 0.7, -0.4
    v = s2 * (1 - r**2) + r**2 * e**2  # forecast variance
    expected = r * m + v / (v + sigma**2) * (x - r * m)
    known = torch.ones(1, 1, dtype=torch.bool)
    past = torch.tensor([[m]]), torch.tensor([[e]])
    d = call(model(s2, [r]), torch.tensor([x]), torch.tensor([sigma]), *past, known)
    torch.testing.assert_close(d, torch.tensor([expected]))


def test_the_newest_frame_that_is_there_counts() -> None:
    edm = model(1.0, [0.5, 0.9])
    m, e = torch.tensor([[1.0, 2.0]]).expand(3, 2), torch.full((3, 2), 0.1)
    mask = torch.tensor([[True, True], [True, False], [False, False]])
    guess = edm.guess(*(f[:, :, None, None, None] for f in (m, e)), mask)
    torch.testing.assert_close(guess.mean.flatten(), torch.tensor([1.8, 0.5, 0.0]))
    torch.testing.assert_close(
        guess.variance.flatten(), torch.tensor([1 - 0.81 + 0.81 * 0.01, 1 - 0.25 + 0.25 * 0.01, 1.0])
    )


def test_inputs_and_targets_of_the_network_are_of_unit_size() -> None:
    n, g = 40_000, torch.Generator().manual_seed(0)
    s2, r = 1.7, 0.85
    m = torch.randn(n, generator=g) * (s2 - 0.25) ** 0.5  # Berkson: x = m + error, error variance 0.25
    before = m + 0.5 * torch.randn(n, generator=g)
    x = r * before + (s2 * (1 - r**2)) ** 0.5 * torch.randn(n, generator=g)
    sigma = torch.exp(torch.rand(n, generator=g) * 8 - 4)
    noisy = x + sigma * torch.randn(n, generator=g)
    edm, mask = model(s2, [r]), torch.ones(n, 1, dtype=torch.bool)
    d = call(edm, noisy, sigma, m[:, None], torch.full((n, 1), 0.5), mask)
    v = edm.guess(m.reshape(n, 1, 1, 1, 1), torch.full((n, 1, 1, 1, 1), 0.5), mask).variance.flatten()
    target = (x - d) / (v.sqrt() * sigma / (v + sigma**2).sqrt())
    assert isinstance(edm.network, Zero)
    for unit in (edm.network.state[:, 0].flatten(), target):
        # The variance of n = 40 000 normal numbers has a standard error of sqrt(2/n) = 0.007: four of them.
        assert abs(float(unit.var()) - 1) < 0.028
        assert abs(float(unit.mean())) < 0.02
