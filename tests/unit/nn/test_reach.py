"""What is far away arrives: a network of tiles learns to copy across the domain by its latents, and only by them."""

import pytest
import torch
from torch import Tensor, nn

from stormda.nn.attention import Attention, rotary
from stormda.nn.embedding import Patches
from stormda.nn.reach import far_from, reach
from stormda.nn.storm import Storm
from stormda.nn.tiles import layer_tiles

N, SOURCE, TARGET = 64, 5, 60  # 55 of 63 steps apart; two layers of tiles of 8 with halo 4 see at most 2 x 15


class Copier(nn.Module):
    """Values on a line of 64 tokens, two layers of attention in tiles."""

    def __init__(self, latents: int) -> None:
        super().__init__()
        self.value, self.read = nn.Linear(1, 16), nn.Linear(16, 1)
        self.place = nn.Parameter(torch.randn(N, 16))
        cuts = [layer_tiles(layer, (1, N), (False, False), 8, 4) for layer in range(2)]
        self.layers = nn.ModuleList(Attention(16, 2, latents, tiles) for tiles in cuts)
        turns = rotary(torch.cartesian_prod(torch.zeros(1), torch.arange(float(N))), (None, None), 8).float()
        self.turns = turns.cos(), turns.sin()

    def forward(self, x_BN: Tensor) -> Tensor:
        h = self.value(x_BN[..., None]) + self.place
        for layer in self.layers:
            h = h + layer(h, h, self.turns, self.turns)
        y: Tensor = self.read(h)[..., 0]
        return y


def learn(latents: int, steps: int) -> tuple[Copier, float]:
    """Copy the value at SOURCE to TARGET; mean square error on new values, of which the variance is 1."""
    torch.manual_seed(0)
    net, g = Copier(latents), torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(steps):
        x = torch.randn(16, N, generator=g)
        loss = (net(x)[:, TARGET] - x[:, SOURCE]).square().mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    x = torch.randn(512, N, generator=g)
    with torch.no_grad():
        return net, float((net(x)[:, TARGET] - x[:, SOURCE]).square().mean())


def test_with_latents_a_far_copy_is_learnt() -> None:
    _, error = learn(latents=8, steps=70)
    assert error < 0.2  # of a variance of 1


def test_without_latents_it_cannot_be() -> None:
    net, error = learn(latents=0, steps=10)
    # An answer that does not know the value has an error of at least its variance: 1, of 512 values 1 +- 0.06.
    assert error > 1 - 3 * 0.0625
    x = torch.randn(1, N).requires_grad_()
    (gradient,) = torch.autograd.grad(net(x)[0, TARGET], x)
    assert float(gradient[0, SOURCE]) == 0.0 and float(gradient[0, TARGET - 8].abs()) > 0.0


def test_far_is_more_than_half_of_the_largest_distance() -> None:
    line, ring = (Patches((1, 9), 1, (False, wraps)) for wraps in (False, True))
    assert far_from(0, line).tolist() == 5 * [False] + 4 * [True] and not far_from(4, line).any()
    assert [int(far_from(i, ring).sum()) for i in range(9)] == 9 * [4]  # 3 or 4 steps away, of at most 4
    assert far_from(0, Patches((4, 6), 2, (False, False))).tolist() == [False, False, True, False, True, True]


@pytest.mark.parametrize("patch", [1, 2])
def test_norms_are_those_of_the_jacobian(patch: int) -> None:
    shape = (1, 7)
    patches = Patches(shape, patch, (False, False))
    matrix = torch.randn(7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    state = torch.zeros(1, 1, 1, *shape, dtype=torch.float64)
    norms, others = reach(
        lambda x: x[:, 0] @ matrix, state, patches, asked=99, generator=torch.Generator().manual_seed(1)
    )
    order = torch.randperm(patches.count[1], generator=torch.Generator().manual_seed(1))
    far = {i: far_from(i, patches) for i in order.tolist()}
    assert norms.shape == (1, sum(int(f.sum()) for f in far.values()))
    assert norms.shape[1] + others.shape[1] == patches.count[1] ** 2
    if patch == 1:  # one point a token: random signs do not matter
        wanted = torch.cat([matrix[:, i][far[i]].abs() for i in order.tolist()])
        torch.testing.assert_close(norms[0], wanted, atol=1e-14, rtol=0)


def test_latents_are_what_reaches_far() -> None:
    shape, medians = (1, 64), []
    for latents, tile in ((8, 8), (0, 8), (0, 0)):
        torch.manual_seed(0)
        size = {"patch": 1, "width": 16, "blocks": 2, "heads": 2, "latents": latents, "tile": tile}
        net = Storm(1, shape, torch.ones(1, *shape), periodic=(False, False), frames=1, **size)
        nn.init.normal_(net.head.weight)
        rest = [torch.zeros(1), torch.zeros(1, 1, 1, *shape), torch.ones(1, 1, 1, *shape)]
        rest += [torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 4)]
        state = torch.randn(1, 5, 1, *shape, generator=torch.Generator().manual_seed(2))
        norms, _ = reach(lambda x, net=net, rest=rest: net(x, *rest), state, net.patches, asked=16)
        medians.append(float(norms.median()))
    assert medians[0] > 1e-4 and medians[1] == 0.0 and medians[2] > 1e-4
