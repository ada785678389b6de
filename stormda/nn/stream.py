"""Long work in short pieces: apply a function to parts of long tensors, with memory for one part only.

    y[writes(p)] = f(x1[reads1(p)], x2[reads2(p)], ..., parameters)        for every piece p

Forward keeps the inputs and the outputs and nothing between. Backward evaluates f again, piece by piece, and adds what
comes back to where it was read from (recomputation after Chen et al. 2016, https://arxiv.org/abs/1604.06174). Slicing
tensors and leaving the rest to autograd would cost a gradient of full length a piece, which is quadratic. Pieces may
read the same tokens; each token of y is written once. The time a token does not depend on how many there are: a piece
stays in the cache and the allocator's hands.

Gradients of first order only: what needs the derivative of a gradient has to go without pieces.
"""

__all__ = ["CHUNK", "Index", "Piece", "chunk_of", "slices", "stream", "through", "tokenwise"]

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call

CHUNK = {"cpu": 1024, "cuda": 32768}  # tokens of a piece: a few MiB stay in a cache; many processors want more work

Index: TypeAlias = slice | Tensor
"""Where on axis 1 a piece lies: a slice, or whole numbers [...] that replace the axis by their own."""


@dataclass(frozen=True, eq=False)
class Piece:
    """Which tokens of each input a piece reads, and which tokens of the output it writes."""

    reads: tuple[Index, ...]
    writes: Index


def chunk_of(x: Tensor, chunk: int | None = None) -> int:
    """Tokens of each of the B members of x [B, ...] in a piece of `chunk` tokens; None: what suits its device."""
    return max(1, (chunk or CHUNK.get(x.device.type, CHUNK["cuda"])) // max(1, len(x)))


def slices(length: int, inputs: int, chunk: int) -> list[Piece]:
    """Consecutive tokens, the same of every input as of the output."""
    cuts = [slice(first, min(first + chunk, length)) for first in range(0, length, chunk)]
    return [Piece((cut,) * inputs, cut) for cut in cuts]


def tokenwise(
    function: Callable[..., Tensor], x: Tensor, *shared: Tensor | None, pieces: bool = True, chunk: int | None = None
) -> Tensor:
    """`function(x, *shared)` that treats each token of x [B, N, ...] alone; with `pieces`, `chunk` tokens at a time."""
    at_once = chunk_of(x, chunk) if pieces else x.shape[1]
    if x.shape[1] <= at_once:
        return function(x, *shared)
    (y,) = stream(lambda *a: (function(*a),), slices(x.shape[1], 1, at_once), (x,), shared, x.shape[1])
    return y


def through(
    modules: Sequence[nn.Module], x: Tensor, *last: Tensor | None, pieces: bool | Sequence[Piece] = True
) -> Tensor:
    """x [B, N, ...] through modules one after another, each token alone; `last` are further arguments of the last.

    Pieces that are given may read other places of x than they write of the result.
    """
    chain = _Chain(modules)
    names, values = list(dict(chain.named_parameters())), list(chain.parameters())

    def call(part: Tensor, *shared: Any) -> Tensor:
        parameters = dict(zip(names, shared[len(last) :], strict=True))
        y: Tensor = functional_call(chain, parameters, (part, *shared[: len(last)])) if pieces else chain(part, *last)
        return y

    if isinstance(pieces, bool):
        return tokenwise(call, x, *last, *values, pieces=pieces)
    if len(pieces) == 1:
        return chain(x, *last)  # type: ignore[no-any-return]
    length = sum(piece.writes.stop - piece.writes.start for piece in pieces if isinstance(piece.writes, slice))
    (y,) = stream(lambda *a: (call(*a),), pieces, (x,), (*last, *values), length)
    return y


class _Chain(nn.Module):
    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.links = nn.ModuleList(modules)

    def forward(self, x: Tensor, *last: Tensor | None) -> Tensor:
        for link in self.links[:-1]:
            x = link(x)
        y: Tensor = self.links[-1](x, *last)
        return y


def stream(
    function: Callable[..., tuple[Tensor, ...]],
    pieces: Iterable[Piece],
    inputs: Sequence[Tensor],
    shared: Sequence[Tensor | None],
    length: int,
) -> tuple[Tensor, ...]:
    """Apply `function(*parts of inputs, *shared)` to every piece.

    Args:
        function: returns a part of y, and any number of further results; a pure function of its arguments.
        pieces: what is read and written; iterated once forward and once backward.
        inputs: tensors [B, N, ...], cut along axis 1.
        shared: given whole to every piece.
        length: of y along axis 1; the pieces write each of its tokens once.

    Returns:
        y [B, length, ...], then each further result stacked over the pieces, [P, ...].
    """
    results: tuple[Tensor, ...] = _Stream.apply(  # type: ignore[no-untyped-call]
        function, pieces, len(inputs), length, *inputs, *shared
    )
    return results


class _Stream(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Any, pieces: Any, count: int, length: int, *tensors: Tensor | None) -> Any:
        ctx.function, ctx.pieces, ctx.count = function, pieces, count
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        ctx.autocast = _autocast(tensors)
        inputs, shared = tensors[:count], tensors[count:]
        y: Tensor | None = None
        further: list[tuple[Tensor, ...]] = []
        for piece in pieces:
            part, *rest = function(*_take(inputs, piece), *shared)
            if y is None:
                y = part.new_empty((part.shape[0], length, *part.shape[1 + _axes(piece.writes) :]))
            _put(y, piece.writes, part)
            further.append(tuple(rest))
        assert y is not None
        return (y, *(torch.stack(parts) for parts in zip(*further, strict=True)))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *cotangents: Tensor | None) -> Any:
        tensors, count = ctx.saved_tensors, ctx.count
        wanted = [needed and t is not None for needed, t in zip(ctx.needs_input_grad[4:], tensors, strict=True)]
        totals = [torch.zeros_like(t) if w else None for t, w in zip(tensors, wanted, strict=True)]
        shared = [_leaf(t, w) for t, w in zip(tensors[count:], wanted[count:], strict=True)]
        for number, piece in enumerate(ctx.pieces):
            parts = [_leaf(t, w) for t, w in zip(_take(tensors[:count], piece), wanted[:count], strict=True)]
            arguments = [*parts, *shared]
            with torch.enable_grad(), ctx.autocast():
                results = ctx.function(*arguments)
            arriving = [_cut(c, piece.writes) if i == 0 else c[number] for i, c in _given(cotangents)]
            leaving = [r for i, r in enumerate(results) if cotangents[i] is not None]
            leaves = [a for a, w in zip(arguments, wanted, strict=True) if w and a is not None]
            gradients = iter(torch.autograd.grad(leaving, leaves, arriving, allow_unused=True))
            for i, total in enumerate(totals):
                if total is not None and (gradient := next(gradients)) is not None:
                    _add(total, piece.reads[i] if i < count else None, gradient)
        return (None, None, None, None, *totals)


def _given(cotangents: Sequence[Tensor | None]) -> Iterator[tuple[int, Tensor]]:
    return ((i, c) for i, c in enumerate(cotangents) if c is not None)


def _leaf(x: Tensor | None, wanted: bool) -> Tensor | None:
    return None if x is None else x.detach().requires_grad_(wanted)


def _autocast(tensors: Sequence[Tensor | None]) -> Callable[[], AbstractContextManager[Any]]:
    """The precision that holds now, for when the function runs again."""
    device = next(t.device.type for t in tensors if t is not None)
    enabled, dtype = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
    return lambda: torch.autocast(device, dtype=dtype, enabled=enabled)


def _axes(index: Index) -> int:
    """Axes of a part in place of axis 1."""
    return 1 if isinstance(index, slice) else index.ndim


def _take(inputs: Sequence[Tensor | None], piece: Piece) -> list[Tensor]:
    return [_cut(x, index) for x, index in zip(inputs, piece.reads, strict=True) if x is not None]


def _cut(x: Tensor, index: Index) -> Tensor:
    if isinstance(index, slice):
        return x[:, index]
    return x.index_select(1, index.flatten()).view(x.shape[0], *index.shape, *x.shape[2:])


def _put(y: Tensor, index: Index, part: Tensor) -> None:
    if isinstance(index, slice):
        y[:, index] = part
    else:
        y.index_copy_(1, index.flatten(), part.flatten(1, index.ndim))


def _add(total: Tensor, index: Index | None, gradient: Tensor) -> None:
    if index is None:
        total += gradient
    elif isinstance(index, slice):
        total[:, index] += gradient
    else:
        total.index_add_(1, index.flatten(), gradient.flatten(1, index.ndim))
