"""Attention of linear cost is the attention that it says it is, sees the whole world, and does not know its pieces."""

import math

import pytest
import torch
from torch import Tensor

from stormda.nn.attention import Attention, rotary, rotate
from stormda.nn.tiles import Tiles, layer_tiles

WIDTH, HEADS = 16, 2


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def angles(shape: tuple[int, int], periodic: tuple[bool, bool]) -> tuple[Tensor, Tensor]:
    rows, columns = torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij")
    periods = tuple(float(n) if wraps else None for n, wraps in zip(shape, periodic, strict=True))
    turns = rotary(torch.stack([rows.flatten(), columns.flatten()], dim=1), periods, WIDTH // HEADS)
    return turns.cos(), turns.sin()


def layer(tiles: Tiles | None, latents: int = 4, chunk: int = 40) -> Attention:
    torch.manual_seed(0)
    made = Attention(WIDTH, HEADS, latents, tiles, chunk=chunk).double()
    if made.gate is not None:
        made.gate.data[:, 0, 0] = torch.tensor([-0.5, 0.7])
    made.query_norm.weight.data *= 1.3
    made.key_norm.weight.data *= 1.7
    return made


def dense(made: Attention, x: Tensor, context: Tensor, turns: tuple[Tensor, Tensor], tiles: Tiles) -> Tensor:
    """The definition: softmax with a mask over all pairs, and the latents over all tokens."""
    mask = torch.zeros(x.shape[1], x.shape[1], dtype=torch.bool)
    for queries, keys in tiles.batches(64):
        mask[queries[:, :, None], keys[:, None, :]] = True
    q = made.query_norm(made._split(made.query(x)))
    k, v = (made._split(part) for part in made.key_value(context).split(WIDTH, dim=-1))
    k = made.key_norm(k)
    scores = rotate(q, *turns) @ rotate(k, *turns).transpose(-1, -2) / math.sqrt(made.size)
    y = scores.masked_fill(~mask, -math.inf).softmax(-1) @ v
    if made.latents is not None and made.gate is not None:
        lat = made.key_norm(made.latents)
        z = (lat @ k.transpose(-1, -2) / math.sqrt(made.size)).softmax(-1) @ v
        read = (q @ lat.transpose(-1, -2) / math.sqrt(made.size)).softmax(-1) @ z
        gate = torch.sigmoid(made.gate)
        y = (1 - gate) * y + gate * read
    result: Tensor = made.out(y.transpose(1, 2).flatten(2))
    return result


CASES = [
    ((12, 16), (False, True), 0, 1),
    ((12, 16), (False, True), 1, 1),
    ((11, 13), (False, False), 1, 1),
    ((11, 13), (True, True), 3, 2),
    ((1, 40), (False, True), 2, 1),
    ((3, 3), (False, False), 0, 1),
]


@pytest.mark.parametrize(("shape", "periodic", "number", "dilation"), CASES)
@pytest.mark.parametrize("latents", [0, 4])
@pytest.mark.parametrize("batches", [(2, 2), (3, 1)])
def test_it_is_dense_softmax_with_a_mask_in_value_and_gradient(
    shape: tuple[int, int],
    periodic: tuple[bool, bool],
    number: int,
    dilation: int,
    latents: int,
    batches: tuple[int, int],
) -> None:
    n = shape[0] * shape[1]
    tiles, turns = layer_tiles(number, shape, periodic, 4, 2, dilation=dilation), angles(shape, periodic)
    made = layer(tiles, latents)
    x, context = (draw(b, n, WIDTH, seed=b).requires_grad_() for b in batches)
    sources = [x, context, *made.parameters()]
    got, want = made(x, context, turns, turns), dense(made, x, context, turns, tiles)
    # float64: sums of at most a few hundred terms of order one in three products; 1e-11 is ten thousand roundings.
    torch.testing.assert_close(got, want, atol=1e-11, rtol=0)
    cotangent = draw(*got.shape, seed=7)
    for a, b in zip(
        torch.autograd.grad(got, sources, cotangent), torch.autograd.grad(want, sources, cotangent), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-11)  # parameters add up the 600 tokens of the batch


def test_one_window_over_everything_is_softmax_over_everything() -> None:
    shape, periodic = (4, 6), (False, True)
    turns, x = angles(shape, periodic), draw(2, 24, WIDTH)
    tiled, whole = layer(layer_tiles(0, shape, periodic, 8, 4)), layer(None)
    assert tiled.state_dict().keys() == whole.state_dict().keys()
    torch.testing.assert_close(tiled(x, x, turns, turns), whole(x, x, turns, turns), atol=1e-12, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_pieces_do_not_show(dtype: torch.dtype) -> None:
    shape, periodic = (12, 16), (False, True)
    turns = tuple(a.to(dtype) for a in angles(shape, periodic))
    x, tiles = draw(2, 192, WIDTH).to(dtype), layer_tiles(1, shape, periodic, 4, 2)
    results = [layer(tiles, chunk=chunk).to(dtype)(x, x, turns, turns) for chunk in (1, 70, 10_000)]
    # Values of order one after sums of 16 to 192 terms in another order: 200 roundings.
    for other in results[1:]:
        torch.testing.assert_close(results[0], other, atol=200 * torch.finfo(dtype).eps, rtol=0)


@pytest.mark.parametrize(("number", "dilation"), [(0, 1), (1, 1), (2, 1), (3, 2)])
def test_a_turn_of_a_periodic_axis_by_whole_tiles_turns_the_answer(number: int, dilation: int) -> None:
    shape, periodic = (6, 24), (False, True)
    turns, x = angles(shape, periodic), draw(1, 144, WIDTH)
    made = layer(layer_tiles(number, shape, periodic, 4, 2, dilation=dilation))

    def rolled(field: Tensor) -> Tensor:
        return field.unflatten(1, shape).roll(4 * dilation, dims=2).flatten(1, 2)

    moved = rolled(x)
    torch.testing.assert_close(made(moved, moved, turns, turns), rolled(made(x, x, turns, turns)), atol=1e-12, rtol=0)


def test_every_token_reaches_every_other_through_latents_and_only_its_window_without() -> None:
    shape, periodic = (8, 16), (False, False)
    turns, tiles = angles(shape, periodic), layer_tiles(0, shape, periodic, 4, 2)
    for latents in (4, 0):
        made, x = layer(tiles, latents), draw(1, 128, WIDTH).requires_grad_()
        y = made(x, x, turns, turns)
        for asking in (0, 77, 127):
            (gradient,) = torch.autograd.grad(y[0, asking].sum(), x, retain_graph=True)
            reached = int((gradient[0].abs().amax(dim=-1) > 0).sum())
            assert reached == (128 if latents else 64)  # a window has 8 x 8 keys


def test_finite_differences_agree() -> None:
    shape, periodic = (3, 6), (False, True)
    turns, tiles = angles(shape, periodic), layer_tiles(1, shape, periodic, 2, 1)
    made, x = layer(tiles, chunk=4), draw(1, 18, WIDTH).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: made(a, a, turns, turns), (x,), fast_mode=True)
