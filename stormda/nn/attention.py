"""Attention: tokens talk to tokens, to neighbours by softmax and to the whole world through a few latent tokens.

    softmax   y_i = sum_j softmax_j(q_i k_j / sqrt(d)) v_j                       cost N^2     (Vaswani et al. 2017)
    tiles     the same, j in the window of the tile of i (`stormda.nn.tiles`)    cost N W
    latent    z_m = sum_j softmax_j(l_m k_j / sqrt(d)) v_j                       cost N M     latents read all tokens
              y_i = sum_m softmax_m(q_i l_m / sqrt(d)) z_m                                    tokens read the latents

and a gate g in (0, 1) a head mixes them, y = (1 - g) softmax + g latent (the latent form after the Perceiver, Jaegle et
al. 2021, https://arxiv.org/abs/2103.03206, and FLARE, Puri et al. 2025, https://arxiv.org/abs/2508.12594). With tiles
the cost is linear and every layer still sees the whole world. Queries and keys are normalised (Dehghani et al. 2023,
https://arxiv.org/abs/2302.05442) and, for softmax, turned by angles proportional to position, so that their product
knows how far apart two places are and in which direction (rotary embedding, Su et al. 2021,
https://arxiv.org/abs/2104.09864, one half of a head for each axis; across a pole the angles are those of the place
itself, half a world away).

Everything is built on `attend(q, k, v) -> (out, lse)`. The log-sum-exp lets partial results over a part of the keys
merge exactly, whether the parts are pieces of a stream (`merge`) or live in several processes (`Layout.merge`). With
P = exp(S - lse), S = q k / sqrt(d), the gradient of both results is

    dS = P * (d_out v - d_out out + d_lse)      dq = dS k / sqrt(d)      dk = dS^T q / sqrt(d)      dv = P^T d_out

so gradients through a merged attention are exact too.
"""

__all__ = ["Attention", "attend", "merge", "rotary", "rotate"]

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from stormda.layout import WHOLE, Layout
from stormda.nn.parts import part_of
from stormda.nn.stream import Piece, chunk_of, slices, stream
from stormda.nn.tiles import Tiles

_SHORTEST = 4.0  # tokens: wavelength of the fastest rotation on an axis that does not wrap


def attend(q_BhND: Tensor, k_BhMD: Tensor, v_BhMD: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax attention of N queries over M keys, and the log-sum-exp of its scores.

    Returns:
        out_BhND, and lse_BhN (in at least float32); both have gradients of first order.
    """
    device = q_BhND.device.type
    if torch.is_autocast_enabled(device):  # As the attention of torch does.
        q_BhND, k_BhMD, v_BhMD = (t.to(torch.get_autocast_dtype(device)) for t in (q_BhND, k_BhMD, v_BhMD))
    results: tuple[Tensor, Tensor] = _Attend.apply(q_BhND, k_BhMD, v_BhMD)  # type: ignore[no-untyped-call]
    return results


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        if q.device.type == "cpu":
            out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v)
        else:
            scores = _scores(q, k)
            lse = scores.logsumexp(-1)
            out = (scores - lse[..., None]).exp().to(v.dtype) @ v
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.set_materialize_grads(False)
        return out, lse

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_out: Tensor | None, d_lse: Tensor | None) -> tuple[Tensor | None, ...]:
        q, k, v, out, lse = ctx.saved_tensors
        if d_out is None and d_lse is None:
            return None, None, None
        if d_lse is None and q.device.type == "cpu":
            gradients: tuple[Tensor, ...] = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                d_out, q, k, v, out, lse, 0.0, False
            )
            return gradients
        return _gradients(q, k, v, out, lse, torch.zeros_like(out) if d_out is None else d_out, d_lse)


def _scores(q: Tensor, k: Tensor) -> Tensor:
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def _gradients(
    q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, d_out: Tensor, d_lse: Tensor | None
) -> tuple[Tensor, ...]:
    """Of q, k and v, as in the head of this file; scores of all pairs are in memory."""
    p = (_scores(q, k) - lse[..., None]).exp()
    row = (d_out * out).sum(-1).to(p.dtype) - (0 if d_lse is None else d_lse)
    ds = (p * (d_out @ v.transpose(-1, -2) - row[..., None]) / math.sqrt(q.shape[-1])).to(q.dtype)
    return ds @ k, ds.transpose(-1, -2) @ q, p.to(v.dtype).transpose(-1, -2) @ d_out


def merge(out_PBhND: Tensor, lse_PBhN: Tensor) -> tuple[Tensor, Tensor]:
    """Attention over all keys from that over P parts of them, each weighed by its share of the sum of exponentials."""
    lse = lse_PBhN.logsumexp(0)
    shares = (lse_PBhN - lse).exp().to(out_PBhND.dtype)
    return (shares[..., None] * out_PBhND).sum(0), lse


def rotary(positions_NA: Tensor, periods: tuple[float | None, ...], size: int) -> Tensor:
    """Angles [N, size/2] of the rotary embedding of a head of `size`, split evenly between the A axes.

    Args:
        positions_NA: coordinates of the tokens, in tokens.
        periods: length of each axis that wraps, in tokens (whole numbers of turns around it); None where it does not.
        size: of a head; divisible by 2 A.
    """
    count = size // (2 * len(periods))
    angles = []
    for axis, period in enumerate(periods):
        if period is None:
            waves = 2 * math.pi / (_SHORTEST * 2.0 ** torch.arange(count, dtype=torch.float64))
        else:
            waves = 2 * math.pi / period * torch.arange(1, count + 1, dtype=torch.float64)
        angles.append(positions_NA[:, axis, None].double() * waves)
    return torch.cat(angles, dim=1)


def rotate(x_BhND: Tensor, cos_ND: Tensor, sin_ND: Tensor) -> Tensor:
    """Turn each pair (first half, second half) of a head by its token's angles."""
    a, b = x_BhND.chunk(2, dim=-1)
    return torch.cat([a * cos_ND - b * sin_ND, a * sin_ND + b * cos_ND], dim=-1)


class Attention(nn.Module):
    """Multi-head attention of tokens [B, N, D] over tokens [B, M, D], or [1, M, D] for the whole batch.

    Args:
        width: D.
        heads: number of heads; D / heads must be divisible by 4.
        latents: number of latent tokens; 0: only softmax.
        tiles: which tokens softmax connects, for queries and keys of one grid (M = N); None: all with all, in one
            process. The parameters are the same.
        chunk: tokens at a time, with tiles; None: what suits the device.
    """

    def __init__(
        self, width: int, heads: int, latents: int, tiles: Tiles | None = None, *, chunk: int | None = None
    ) -> None:
        super().__init__()
        self.width, self.heads, self.size = width, heads, width // heads
        self.tiles, self.chunk = tiles, chunk
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.query_norm = nn.RMSNorm(self.size)
        self.key_norm = nn.RMSNorm(self.size)
        self.latents = nn.Parameter(torch.randn(heads, latents, self.size)) if latents else None
        self.gate = nn.Parameter(torch.zeros(heads, 1, 1)) if latents else None

    def forward(
        self,
        x_BND: Tensor,
        context_BMD: Tensor,
        angles_query: tuple[Tensor, Tensor],
        angles_key: tuple[Tensor, Tensor],
        layout: Layout = WHOLE,
    ) -> Tensor:
        """Attend; `angles` are cosines and sines [N, size/2] of `rotary` at queries and keys.

        Raises:
            ValueError: all with all, of tokens that are spread over processes.
        """
        if self.tiles is not None:
            return self._tiled(self.tiles, x_BND, context_BMD, angles_query, angles_key, layout)
        if layout is not WHOLE:
            raise ValueError("softmax over everything needs all tokens in one process: give the network tiles")
        q = self.query_norm(self._split(self.query(x_BND)))
        k, v = (self._split(part) for part in self.key_value(context_BMD).split(self.width, dim=-1))
        k, v = self.key_norm(k).expand(len(q), -1, -1, -1), v.expand(len(q), -1, -1, -1)
        y = _read(rotate(q, *angles_query), rotate(k, *angles_key), v)
        if self.latents is not None and self.gate is not None:
            gate = torch.sigmoid(self.gate)
            y = (1 - gate) * y + gate * self._through_latents(q, k, v)
        out: Tensor = self.out(y.transpose(1, 2).flatten(2))
        return out

    def _through_latents(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        assert self.latents is not None
        latents = self.key_norm(self.latents).expand(len(q), -1, -1, -1)
        return _read(q, latents, _read(latents, k, v))

    def _split(self, x_BND: Tensor) -> Tensor:
        return x_BND.view(*x_BND.shape[:-1], self.heads, self.size).transpose(1, 2)

    def _tiled(
        self,
        tiles: Tiles,
        x_BND: Tensor,
        context_BND: Tensor,
        angles_query: tuple[Tensor, Tensor],
        angles_key: tuple[Tensor, Tensor],
        layout: Layout,
    ) -> Tensor:
        """Two streams: keys and values of all tokens, which latents read as they pass; then queries, tile by tile.

        In between processes exchange the keys and values around their parts, and what the latents have read.
        """
        n, part = x_BND.shape[1], part_of(tiles, layout)
        latents = None if self.latents is None else self.key_norm(self.latents)
        turns = [a[None] for a in (*angles_key, *angles_query)]
        pieces = slices(n, 3, chunk_of(context_BND, self.chunk))
        inward = (self.key_value.weight, self.key_norm.weight, latents)
        memory, *reads = stream(partial(_remember, self.heads), pieces, (context_BND, *turns[:2]), inward, n)
        gate = None if self.gate is None else torch.sigmoid(self.gate)
        z = layout.merge(*merge(*reads))[0] if reads else None
        outward = (self.query.weight, self.query_norm.weight, self.out.weight, gate, latents, z)
        memory = part.widen(memory, tiles, layout)
        batches = _Batches(part.tiles, chunk_of(x_BND, self.chunk), x_BND.device)
        (y,) = stream(partial(_recall, self.heads), batches, (x_BND, *turns[2:], memory), outward, n)
        return y


@dataclass(frozen=True)
class _Batches:
    """Pieces of queries with the keys of their windows, made when they are needed."""

    tiles: Tiles
    tokens: int
    device: torch.device

    def __iter__(self) -> Iterator[Piece]:
        for queries, keys in self.tiles.batches(self.tokens, self.device):
            yield Piece((queries, queries, queries, keys), queries)


def _read(q_BhND: Tensor, k_BhMD: Tensor, v_BhMD: Tensor) -> Tensor:
    """Attention over all keys; the log-sum-exp costs scores in memory where it has no kernel."""
    if q_BhND.device.type != "cpu":
        return functional.scaled_dot_product_attention(q_BhND, k_BhMD, v_BhMD)
    return attend(q_BhND, k_BhMD, v_BhMD)[0]


def _heads(x: Tensor, heads: int) -> Tensor:
    """[..., D] -> [..., heads, d]."""
    return x.view(*x.shape[:-1], heads, -1)


def _remember(
    heads: int, context_BND: Tensor, cos: Tensor, sin: Tensor, weight: Tensor, norm: Tensor, latents: Tensor | None
) -> tuple[Tensor, ...]:
    """Turned keys and values side by side, [B, N, 2 D]; what the latents read, and its log-sum-exp."""
    k, v = functional.linear(context_BND, weight).chunk(2, dim=-1)
    k = functional.rms_norm(_heads(k, heads), norm.shape, norm)
    memory = torch.cat([rotate(k, cos[:, :, None], sin[:, :, None]).flatten(2), v], dim=-1)
    if latents is None:
        return (memory,)
    return memory, *attend(latents.expand(len(k), -1, -1, -1), k.transpose(1, 2), _heads(v, heads).transpose(1, 2))


def _recall(
    heads: int,
    x_BTQD: Tensor,
    cos: Tensor,
    sin: Tensor,
    memory_BTK2D: Tensor,
    query: Tensor,
    norm: Tensor,
    out: Tensor,
    gate: Tensor | None,
    latents: Tensor | None,
    z_BhMd: Tensor | None,
) -> tuple[Tensor]:
    """What the queries of some tiles find in their windows and in the latents, [B, T, Q, D]."""
    q = functional.rms_norm(_heads(functional.linear(x_BTQD, query), heads), norm.shape, norm)  # [B, T, Q, h, d]
    k, v = _heads(memory_BTK2D, 2 * heads).transpose(-2, -3).chunk(2, dim=-3)
    y = _softmax(rotate(q, cos[..., None, :], sin[..., None, :]).transpose(2, 3), k, v)
    if gate is not None and latents is not None and z_BhMd is not None:
        b, t, n, h, d = q.shape
        q = q.reshape(b, 1, t * n, h, d).transpose(2, 3)  # to them all tiles are one
        read = _softmax(q, latents.expand(len(z_BhMd), 1, -1, -1, -1), z_BhMd[:, None])
        y = torch.lerp(y, read.reshape(b, h, t, n, d).transpose(1, 2), gate)
    return (functional.linear(y.transpose(2, 3).flatten(3), out),)


def _softmax(q_BThQd: Tensor, k_BThKd: Tensor, v_BThKd: Tensor) -> Tensor:
    """Attention within each of T tiles; one set of keys (B = 1) may serve the whole batch, as more queries."""
    b, t, h, n, d = q_BThQd.shape
    if len(k_BThKd) == b:
        q, k, v = (x.flatten(0, 1) for x in (q_BThQd, k_BThKd, v_BThKd))
        return functional.scaled_dot_product_attention(q, k, v).view(b, t, h, n, d)
    q = q_BThQd.permute(1, 2, 0, 3, 4).reshape(t, h, b * n, d)
    y = functional.scaled_dot_product_attention(q, k_BThKd[0], v_BThKd[0])
    return y.view(t, h, b, n, d).permute(2, 0, 1, 3, 4)
