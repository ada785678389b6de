"""Parts over processes give what the whole gives, forwards and backwards."""

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from gloo_world import ranks
from torch import Tensor

from stormda.distributed.tiled import Tiled, parts_of
from stormda.errors import ConfigError
from stormda.layout import WHOLE, Ends
from stormda.nn.attention import attend

# Tokens of 2 x 2 points; neither axis divides evenly by its parts, and the last token of the rows is half one.
GRID, PATCH, TOKENS = (13, 16), (2, 2), (7, 8)
MESHES = [(2, 1), (1, 2), (3, 1), (1, 3), (2, 2), (4, 1)]
ENDS = [
    Ends((False, False)),
    Ends((False, True)),
    Ends((True, True)),
    Ends((False, True), (True, True), (False, True)),
    Ends((False, True), (False, True)),
]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def local(x: Tensor, layout: Tiled, shape: tuple[int, int] = GRID) -> Tensor:
    rows, columns = layout.part(shape)
    return x[..., rows, columns].clone()


def framed(whole: Tensor, layout: Tiled, width: tuple[int, int], shape: tuple[int, int]) -> Tensor:
    """The part of a padded whole."""
    rows, columns = layout.part(shape)
    return whole[..., rows.start : rows.stop + 2 * width[0], columns.start : columns.stop + 2 * width[1]]


def halos(mesh: tuple[int, int]) -> None:
    layout = Tiled(GRID, PATCH, mesh)
    for shape in (GRID, TOKENS):
        x = draw(2, 3, *shape)
        for ends in ENDS:
            for width in ((1, 1), (2, 0), (5, 6)):  # the last is wider than a part
                whole = WHOLE.halo(x, width, shape, ends)
                padded = layout.halo(local(x, layout, shape), width, shape, ends)
                assert torch.equal(padded, framed(whole, layout, width, shape)), (shape, ends, width)
    last = layout.halo(local(x, layout, shape).permute(0, 2, 3, 1), (1, 1), TOKENS, ENDS[3], axis=1)
    assert torch.equal(last, framed(WHOLE.halo(x, (1, 1), TOKENS, ENDS[3]), layout, (1, 1), TOKENS).permute(0, 2, 3, 1))


@pytest.mark.parametrize("mesh", MESHES)
def test_a_halo_is_what_the_neighbours_have(mesh: tuple[int, int]) -> None:
    ranks(math.prod(mesh), halos, mesh)


def adjoints(mesh: tuple[int, int]) -> list[tuple[float, float]]:
    layout = Tiled(GRID, PATCH, mesh)
    index = torch.randint(0, math.prod(GRID), (5 + 3 * layout.rank,), generator=torch.Generator().manual_seed(1))
    at = layout.cells(index, GRID)
    widths = [(1, 1), (5, 6)]
    maps: list[Any] = [partial(layout.halo, width=w, shape=GRID, ends=e) for e in ENDS for w in widths]
    maps += [at, partial(layout.gather, shape=GRID), layout.sum]
    results = []
    for number, linear in enumerate(maps):
        shape = (2, 3) if linear == layout.sum else local(draw(2, *GRID), layout).shape
        u = draw(*shape, seed=layout.rank).requires_grad_()
        y = linear(u)
        v = draw(*y.shape, seed=100 + layout.rank).requires_grad_()
        (back,) = torch.autograd.grad(y, u, v, create_graph=True)
        results.append((float(layout.sum((y * v).sum())), float(layout.sum((u * back).sum()))))
        (again,) = torch.autograd.grad(back, v, u.detach())  # the adjoint of the adjoint is the map
        assert torch.allclose(again, y, atol=1e-12), number
    return results


@pytest.mark.parametrize("mesh", [(2, 1), (1, 3), (2, 2)])
def test_adjoints(mesh: tuple[int, int]) -> None:
    for result in ranks(math.prod(mesh), adjoints, mesh):
        for forward, backward in result:
            assert forward == pytest.approx(backward, rel=1e-11, abs=1e-11)  # sums of some 500 products in float64


def reductions(mesh: tuple[int, int]) -> tuple[Tensor, ...]:
    layout = Tiled(GRID, PATCH, mesh)
    x = draw(*GRID)
    index = torch.tensor([0, 207, 100, 15, 100]) if layout.rank else torch.zeros(0, dtype=torch.int64)
    at = layout.cells(index, GRID)
    assert torch.equal(at(local(x, layout)), x.flatten()[index])
    assert torch.equal(layout.gather(local(x, layout), GRID), x)
    rows, columns = np.divmod(np.arange(math.prod(GRID)), GRID[1])
    own = layout.owns(rows, columns, GRID)
    assert own.sum() == local(x, layout).numel() and own.reshape(GRID)[layout.part(GRID)].all()
    with pytest.raises(ValueError, match="neither of the points nor of the tokens"):
        layout.part((4, 4))
    return layout.sum(local(x, layout).sum()), layout.max(local(x, layout).max()), x.sum(), x.max()


@pytest.mark.parametrize("mesh", [(2, 1), (1, 3), (2, 2)])
def test_sums_points_and_owners(mesh: tuple[int, int]) -> None:
    for total, largest, exact_total, exact_largest in ranks(math.prod(mesh), reductions, mesh):
        assert float(total) == pytest.approx(float(exact_total), abs=1e-12)
        assert float(largest) == float(exact_largest)


def merged(count: int) -> tuple[Tensor, ...]:
    """Each process has its own keys; all have the queries, and each makes use of some results."""
    layout = Tiled((count, 1), (1, 1))
    q = draw(1, 2, 6, 4, seed=7).requires_grad_()
    k, v = (30 * draw(1, 2, 5 + layout.rank, 4, seed=s + layout.rank).requires_grad_() for s in (10, 20))
    keys, values = k.detach().requires_grad_(), v.detach().requires_grad_()
    out, lse = layout.merge(*attend(q, keys, values))
    cotangents = draw(*out.shape, seed=30 + layout.rank), draw(*lse.shape, seed=40 + layout.rank)
    gradients = torch.autograd.grad((out, lse), (q, keys, values), cotangents)
    return out.detach(), lse.detach(), keys.detach(), values.detach(), *cotangents, *gradients


@pytest.mark.parametrize("count", [2, 3, 4])
def test_merged_attention_and_its_gradients(count: int) -> None:
    results = ranks(count, merged, count)
    q = draw(1, 2, 6, 4, seed=7).requires_grad_()
    k, v = (torch.cat([r[i] for r in results], dim=2).requires_grad_() for i in (2, 3))
    out, lse = attend(q, k, v)
    d_out, d_lse = (sum(r[i] for r in results) for i in (4, 5))
    dq, dk, dv = torch.autograd.grad((out, lse), (q, k, v), (d_out, d_lse))
    for r in results:
        # Scores are of the size of 100, so exponentials have a relative error of some 1e-14.
        assert torch.allclose(r[0], out, rtol=1e-12, atol=1e-11) and torch.allclose(r[1], lse, rtol=1e-13)
    shares = [sum(r[6] for r in results), *(torch.cat([r[i] for r in results], dim=2) for i in (7, 8))]
    for found, exact in zip(shares, (dq, dk, dv), strict=True):
        assert torch.allclose(found, exact, rtol=1e-9, atol=1e-10 * float(exact.abs().max()))


def refusals() -> None:
    with pytest.raises(ConfigError, match="2 x 2 parts of 7 x 8 tokens, 2 processes"):
        Tiled(GRID, PATCH, (2, 2))
    with pytest.raises(ConfigError, match="of 1 x 8 tokens"):
        Tiled((2, 16), PATCH, (2, 1))
    layout = Tiled(GRID, PATCH, (2, 1))
    with pytest.raises(ValueError, match="over both poles"):
        layout.halo(local(draw(*GRID), layout), (13, 1), GRID, ENDS[3])


def test_what_cannot_be() -> None:
    ranks(2, refusals)
    with pytest.raises(ConfigError, match="cannot be cut into 7 parts"):
        parts_of(7, (4, 4))


@pytest.mark.parametrize(
    "count, tokens, parts",
    [(2, (8, 32), (1, 2)), (2, (32, 8), (2, 1)), (4, (16, 16), (4, 1)), (4, (8, 64), (1, 4)), (3, (1, 9), (1, 3))],
)
def test_the_shortest_borders(count: int, tokens: tuple[int, int], parts: tuple[int, int]) -> None:
    assert parts_of(count, tokens) == parts
