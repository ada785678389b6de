"""From fields to tokens: patches of every variable, pooled to one token a place, and what else the network knows.

A patch of p x p points with a rim of one point becomes, for each variable with weights of its own, a token; a token of
the place is the answer of one learned query to the tokens of its variables (as ClimaX does, Nguyen et al. 2023,
https://arxiv.org/abs/2301.10343), so that the cost of the blocks does not grow with the number of variables. History
frames are pooled by a learned query in the same way. A learned token stands for "nothing is known", so a pool is never
empty.
"""

__all__ = ["Patches", "Pool", "VariableEmbedding", "ages", "forcing", "fourier", "static_fields"]

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from stormda.layout import WHOLE, Ends, Layout
from stormda.nn.stream import Piece
from stormda.types import Array

_YEAR = 365.2425 * 86400.0  # s
_RIM = 1  # points around a patch


def forcing(times: Array) -> Array:
    """Forcing features [T, 4], float32: cosine and sine of the phase of the year and of the day, UTC."""
    seconds = np.asarray(times).astype("datetime64[s]").astype(np.int64)
    angles = 2 * np.pi * np.stack([seconds % _YEAR / _YEAR, seconds % 86400 / 86400.0], axis=1)
    return np.stack([np.cos(angles), np.sin(angles)], axis=2).reshape(len(seconds), 4).astype(np.float32)


def static_fields(latitude_HW: Array, longitude_HW: Array, weights_HW: Array) -> Array:
    """Fields [5, H, W], float32, that never change: sine and cosine of latitude and of longitude, area."""
    lat, lon = np.deg2rad(latitude_HW), np.deg2rad(longitude_HW)
    return np.stack([np.sin(lat), np.cos(lat), np.sin(lon), np.cos(lon), weights_HW]).astype(np.float32)


def fourier(noise_B: Tensor, count: int) -> Tensor:
    """Features [B, 2 count] of ln(sigma)/4: cosines and sines of rising frequency."""
    angles = noise_B[:, None] * math.pi * 2.0 ** torch.arange(-2, count - 2, device=noise_B.device).to(noise_B)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def ages(window: int, count: int) -> Tensor:
    """Features [L, 2 count] of the age of each frame of a window, oldest first; all zero for the newest."""
    age = torch.arange(window - 1, -1, -1)[:, None]
    angles = age * math.pi / 4.0 * 2.0 ** -torch.arange(count)
    return torch.cat([1 - angles.cos(), angles.sin()], dim=-1)


class Patches:
    """Cuts fields [..., H, W] into patches with a rim, and joins patches to fields.

    Args:
        shape: (H, W), any; a grid that p does not divide is filled up and cropped.
        patch: p; no larger than the grid along either axis.
        periodic: which axes wrap.
        poles: whether a pole lies beyond the first and the last row: the rim there is the other side of the world.
        pole_rows: whether that row is the pole itself.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        patch: int,
        periodic: tuple[bool, bool],
        poles: tuple[bool, bool] = (False, False),
        pole_rows: tuple[bool, bool] = (False, False),
    ) -> None:
        self.shape, self.periodic = shape, periodic
        self.ends = Ends(periodic, (poles[0], poles[1]), (pole_rows[0], pole_rows[1]))
        self.size = (min(patch, shape[0]), min(patch, shape[1]))
        self.count = (math.ceil(shape[0] / self.size[0]), math.ceil(shape[1] / self.size[1]))

    @property
    def points(self) -> int:
        """Points of a patch, without its rim."""
        return self.size[0] * self.size[1]

    @property
    def window(self) -> int:
        """Points of a patch with its rim."""
        return (self.size[0] + 2 * _RIM) * (self.size[1] + 2 * _RIM)

    def cut(self, x: Tensor, layout: Layout = WHOLE, signs_G: Tensor | None = None) -> Tensor:
        """[B, G, H, W] -> [B, N, G, window]; across a pole fields are multiplied by their signs."""
        return self.windows(self.pad(x, layout, signs_G))

    def pad(self, x: Tensor, layout: Layout = WHOLE, signs_G: Tensor | None = None) -> Tensor:
        """A part [B, G, h, w] with the rim of its outermost patches, filled up to whole patches."""
        (h, w), (rows, columns) = self.count_of(layout), layout.part(self.shape)
        fill = [h * self.size[0] - (rows.stop - rows.start), w * self.size[1] - (columns.stop - columns.start)]
        x = layout.halo(x, (_RIM, _RIM), self.shape, self.ends)
        if signs_G is not None:
            x = self._turn(x, rows, signs_G)
        if any(fill):
            x = functional.pad(x, (0, fill[1], 0, fill[0]), mode="replicate")
        return x

    def count_of(self, layout: Layout) -> tuple[int, int]:
        """Rows and columns of the patches of a part."""
        rows, columns = layout.part(self.count)
        return rows.stop - rows.start, columns.stop - columns.start

    def windows(self, x: Tensor) -> Tensor:
        """Rows of the padded field, [B, G, h p + 2, .] -> tokens of h rows of patches, [B, ., G, window]."""
        ph, pw = self.size
        x = x.unfold(-2, ph + 2 * _RIM, ph).unfold(-2, pw + 2 * _RIM, pw)  # [B, G, h, w, ., .]
        return x.flatten(-2).flatten(2, 3).transpose(1, 2)

    def rows(self, tokens: int, layout: Layout = WHOLE) -> list[Piece]:
        """Whole rows of patches, `tokens` or one row at a time: of the padded field, rows first, and of the tokens."""
        (h, w), p = self.count_of(layout), self.size[0]
        step = max(1, tokens // w)
        cuts = [(first, min(first + step, h)) for first in range(0, h, step)]
        return [Piece((slice(a * p, b * p + 2 * _RIM),), slice(a * w, b * w)) for a, b in cuts]

    def _turn(self, padded: Tensor, part: slice, signs_G: Tensor) -> Tensor:
        """Change signs in the rows beyond the poles, where a part has them."""
        beyond = [self.ends.poles[0] and part.start == 0, self.ends.poles[1] and part.stop == self.shape[0]]
        if not any(beyond):
            return padded
        rows = [padded[..., :_RIM, :], padded[..., _RIM:-_RIM, :], padded[..., -_RIM:, :]]
        for end in (0, 1):
            if beyond[end]:
                rows[2 * end] = rows[2 * end] * signs_G[:, None, None]
        return torch.cat(rows, dim=-2)

    def join(self, x_BNCP: Tensor, layout: Layout = WHOLE) -> Tensor:
        """[B, N, C, points] -> [B, C, h, w] of a part."""
        (b, _, c, _), count = x_BNCP.shape, self.count_of(layout)
        rows, columns = layout.part(self.shape)
        x = x_BNCP.transpose(1, 2).reshape(b, c, *count, *self.size).transpose(3, 4)
        x = x.reshape(b, c, count[0] * self.size[0], count[1] * self.size[1])
        return x[..., : rows.stop - rows.start, : columns.stop - columns.start]

    def positions(self) -> Tensor:
        """Row and column of each patch [N, 2], in patches."""
        rows, columns = torch.meshgrid(*(torch.arange(n) for n in self.count), indexing="ij")
        return torch.stack([rows.flatten(), columns.flatten()], dim=1)

    def periods(self) -> tuple[float | None, float | None]:
        """Length of each axis in patches where it wraps, else None."""
        lengths = [s / p if wraps else None for s, p, wraps in zip(self.shape, self.size, self.periodic, strict=True)]
        return lengths[0], lengths[1]


class VariableEmbedding(nn.Module):
    """Patches of C variables, each with F planes, to tokens: weights and an embedding a variable.

    Args:
        channels: C.
        features: numbers of a patch of one variable (planes x window).
        width: D.
    """

    def __init__(self, channels: int, features: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, features, width) / math.sqrt(features))
        self.variable = nn.Parameter(0.1 * torch.randn(channels, width))

    def forward(self, x_BNCF: Tensor) -> Tensor:
        """[B, N, C, F] -> [B, N, C, D]."""
        tokens: Tensor = torch.einsum("bncf,cfd->bncd", x_BNCF, self.weight) + self.variable
        return tokens


class Pool(nn.Module):
    """One learned query pools S tokens to one: [..., S, D] -> [..., D], whatever S and whichever are masked.

    Args:
        width: D.
        heads: each pools with weights of its own.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.query = nn.Parameter(torch.randn(heads, self.size))
        self.nothing = nn.Parameter(torch.zeros(heads, self.size))
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Pool; `mask` [..., S], true where a token is there. Where none is, the learned token stands."""
        k, v = (f(x).view(*x.shape[:-1], self.heads, self.size) for f in (self.key, self.value))
        scores = (k * self.query).sum(-1) / math.sqrt(self.size)  # [..., S, heads]
        if mask is not None:
            scores = scores.masked_fill(~mask[..., None], -math.inf)
        scores = torch.cat([scores, scores.new_zeros(*scores.shape[:-2], 1, self.heads)], dim=-2)
        weights = scores.softmax(dim=-2)[..., None]  # the last one is that of the learned token
        pooled = math.sqrt(x.shape[-2]) * (weights[..., :-1, :, :] * v).sum(dim=-3)
        out: Tensor = (pooled + weights[..., -1, :, :] * self.nothing).flatten(-2)
        return out
