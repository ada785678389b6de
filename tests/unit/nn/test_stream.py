"""A stream of pieces computes what the whole computes, forwards and backwards."""

import torch
from torch import Tensor, nn

from stormda.nn.stream import Piece, slices, stream, through, tokenwise


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def smooth(x: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """One token from windows [B, T, 1, D] and [B, T, 3, D], and a sum over the piece."""
    return torch.tanh(x @ weight) * y.mean(dim=2, keepdim=True), y.square().sum()


def test_overlapping_pieces_give_the_same_values_and_gradients() -> None:
    n = 7
    x, y, weight = draw(2, n, 3), draw(2, n, 3, seed=1), draw(3, 3, seed=2)
    places = torch.arange(n)[:, None]
    around = (places + torch.arange(-1, 2)) % n
    pieces = [Piece((places[a:b], around[a:b]), places[a:b]) for a, b in ((0, 2), (2, 3), (3, 7))]
    cotangent = draw(2, n, 3, seed=3)

    def results(streamed: bool) -> tuple[Tensor, ...]:
        inputs = [t.clone().requires_grad_() for t in (x, y, weight)]
        if streamed:
            out, sums = stream(smooth, pieces, inputs[:2], inputs[2:], n)
        else:
            out, sums = smooth(inputs[0][:, :, None], inputs[1][:, around], inputs[2])
            out, sums = out[:, :, 0], sums[None]
        loss = (out * cotangent).sum() + sums.sum() ** 2
        return (out, *torch.autograd.grad(loss, inputs))

    for got, want in zip(results(True), results(False), strict=True):
        # float64, a few dozen terms, values up to about 1e4 in the square: 1e-12 relative is thousands of roundings.
        torch.testing.assert_close(got, want, atol=1e-12, rtol=1e-12)


def test_what_needs_no_gradient_gets_none() -> None:
    x, w = draw(1, 6, 2), draw(2, 2).requires_grad_()
    y = tokenwise(lambda a, b, c: a @ b, x, w, None, chunk=4)
    (gradient,) = torch.autograd.grad(y.sum(), w)
    torch.testing.assert_close(gradient, x[0].sum(0)[:, None].expand(2, 2), atol=1e-14, rtol=0)
    with torch.no_grad():
        assert torch.equal(tokenwise(lambda a, b: a + b, x, w[0], chunk=4), x + w[0])


def test_a_gradient_may_be_taken_again_and_again() -> None:
    x = draw(1, 6, 2).requires_grad_()
    y = tokenwise(torch.sin, x, chunk=2)
    first, second = (torch.autograd.grad(y, x, torch.ones_like(y), retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)
    torch.testing.assert_close(first, x.cos().detach(), atol=1e-15, rtol=0)


def test_slices_cover_the_length() -> None:
    assert [p.writes for p in slices(5, 2, 2)] == [slice(0, 2), slice(2, 4), slice(4, 5)]


def test_modules_in_pieces_are_the_modules() -> None:
    torch.manual_seed(0)
    chain = nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 2)).double()
    x = draw(2, 3000, 3).requires_grad_()  # several pieces on any device with a small cache
    sources, cotangent = [x, *chain.parameters()], draw(2, 3000, 2, seed=1)
    results = [through(tuple(chain), x, pieces=pieces) for pieces in (True, False)]
    torch.testing.assert_close(*results, atol=1e-13, rtol=0)
    for got, want in zip(*(torch.autograd.grad(y, sources, cotangent) for y in results), strict=True):
        torch.testing.assert_close(got, want, atol=1e-11, rtol=0)  # sums over 6000 tokens
