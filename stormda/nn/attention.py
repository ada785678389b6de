"""Attention: tokens talk to tokens, directly by softmax and globally through a few latent tokens.

    softmax   y_i = sum_j softmax_j(q_i k_j / sqrt(d)) v_j                       cost N^2     (Vaswani et al. 2017)
    latent    z_m = sum_j softmax_j(l_m k_j / sqrt(d)) v_j                       cost N M     latents read all tokens
              y_i = sum_m softmax_m(q_i l_m / sqrt(d)) z_m                                    tokens read the latents

and a gate g in (0, 1) a head mixes them, y = (1 - g) softmax + g latent (the latent form after the Perceiver, Jaegle et
al. 2021, https://arxiv.org/abs/2103.03206, and FLARE, Puri et al. 2025, https://arxiv.org/abs/2508.12594). Queries and
keys are normalised (Dehghani et al. 2023, https://arxiv.org/abs/2302.05442) and, for softmax, turned by angles
proportional to position, so that their product knows how far apart two places are and in which direction (rotary
embedding, Su et al. 2021, https://arxiv.org/abs/2104.09864, one half of a head for each axis).

Everything is built on `attend(q, k, v) -> (out, lse)`. The log-sum-exp lets partial results over a part of the keys
merge exactly, which is what `Layout.merge` does where tokens live in several processes.
"""

__all__ = ["Attention", "attend", "rotary", "rotate"]

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from stormda.layout import WHOLE, Layout

_SHORTEST = 4.0  # tokens: wavelength of the fastest rotation on an axis that does not wrap


def attend(q_BhND: Tensor, k_BhMD: Tensor, v_BhMD: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax attention of N queries over M keys, and the log-sum-exp of its scores.

    Returns:
        out_BhND, and lse_BhN (in at least float32), through which no gradient flows.
    """
    if q_BhND.device.type == "cpu":
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q_BhND, k_BhMD, v_BhMD)
        return out, lse.detach()
    scores = q_BhND.detach() @ k_BhMD.detach().transpose(-1, -2) / math.sqrt(q_BhND.shape[-1])
    return functional.scaled_dot_product_attention(q_BhND, k_BhMD, v_BhMD), torch.logsumexp(scores, dim=-1)


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
    """

    def __init__(self, width: int, heads: int, latents: int) -> None:
        super().__init__()
        self.width, self.heads, self.size = width, heads, width // heads
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
        """Attend; `angles` are cosines and sines [N, size/2] of `rotary` at queries and keys."""
        q = self.query_norm(self._split(self.query(x_BND)))
        k, v = (self._split(part) for part in self.key_value(context_BMD).split(self.width, dim=-1))
        k, v = self.key_norm(k).expand(len(q), -1, -1, -1), v.expand(len(q), -1, -1, -1)
        y, _ = layout.merge(*attend(rotate(q, *angles_query), rotate(k, *angles_key), v))
        if self.latents is not None and self.gate is not None:
            gate = torch.sigmoid(self.gate)
            y = (1 - gate) * y + gate * self._through_latents(q, k, v, layout)
        out: Tensor = self.out(y.transpose(1, 2).flatten(2))
        return out

    def _through_latents(self, q: Tensor, k: Tensor, v: Tensor, layout: Layout) -> Tensor:
        assert self.latents is not None
        latents = self.key_norm(self.latents).expand(len(q), -1, -1, -1)
        z, _ = layout.merge(*attend(latents, k, v))  # over the tokens of all parts
        return attend(q, latents, z)[0]

    def _split(self, x_BND: Tensor) -> Tensor:
        return x_BND.view(*x_BND.shape[:-1], self.heads, self.size).transpose(1, 2)
