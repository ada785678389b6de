"""One block of the network: attention within the noisy state, attention to the past, and a perceptron.

    h = FiLM(x; n)          x += SelfAttention(h)
                            x += sigmoid(W n + b) * CrossAttention(x, history)
    h = FiLM(x; n)          x += MLP(h)

n is the embedding of noise level and season. FiLM scales and shifts normalised tokens by it (Perez et al. 2018,
https://arxiv.org/abs/1709.07871). The gate of the cross-attention lets high noise lean on the past and low noise on
spatial refinement (STORM, https://arxiv.org/abs/2604.16590). About 21 D^2 parameters. With tiles everything runs in
pieces (`stormda.nn.stream`), so that the memory beyond the tokens themselves does not depend on their number.
"""

__all__ = ["Angles", "Block"]

import torch
from torch import Tensor, nn
from torch.nn import functional

from stormda.layout import WHOLE, Layout
from stormda.nn.attention import Attention
from stormda.nn.stream import tokenwise
from stormda.nn.tiles import Tiles

Angles = tuple[Tensor, Tensor]


class Block(nn.Module):
    """Tokens [B, N, D] of the state, given history tokens [B, M, D] and a condition n_BD.

    `scale` is the size of its branches before training; `tiles` which tokens of a frame softmax connects, None: all
    with all. In a window of L frames, consecutive members of the batch are frames of one sequence, joined by
    self-attention; everything else treats them alone.
    """

    def __init__(
        self, width: int, heads: int, latents: int, scale: float = 1.0, tiles: Tiles | None = None, window: int = 1
    ) -> None:
        super().__init__()
        self.pieces, self.window = tiles is not None, window
        self.film = nn.Linear(width, 4 * width)
        self.gate = nn.Linear(width, width)
        self.attention = Attention(width, heads, latents, None if tiles is None else tiles.over(window))
        self.cross = Attention(width, heads, latents, tiles)
        last = nn.Linear(4 * width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), last)
        for branch in (self.attention.out, self.cross.out, last):
            nn.init.xavier_uniform_(branch.weight, gain=scale)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(
        self, x_BND: Tensor, history_BMD: Tensor, n_BD: Tensor, angles: Angles, layout: Layout = WHOLE
    ) -> Tensor:
        """The next tokens; `angles` are the rotary cosines and sines of the places of both kinds of tokens."""
        scale1, shift1, scale2, shift2 = self.film(n_BD)[:, None].chunk(4, dim=-1)
        x = x_BND + self._within(tokenwise(_film, x_BND, scale1, shift1, pieces=self.pieces), angles, layout)
        past = self.cross(tokenwise(_norm, x, pieces=self.pieces), history_BMD, angles, angles, layout)
        x = x + torch.sigmoid(self.gate(n_BD))[:, None] * past
        del past  # as large as the tokens
        out: Tensor = x + tokenwise(_perceptron, x, scale2, shift2, *self.mlp.parameters(), pieces=self.pieces)
        return out

    def _within(self, h_BND: Tensor, angles: Angles, layout: Layout) -> Tensor:
        """Self-attention, of all frames of a window together."""
        if self.window == 1:
            return self.attention(h_BND, h_BND, angles, angles, layout)  # type: ignore[no-any-return]
        joint = h_BND.reshape(-1, self.window * h_BND.shape[1], h_BND.shape[2])
        turns = angles[0].repeat(self.window, 1), angles[1].repeat(self.window, 1)
        return self.attention(joint, joint, turns, turns, layout).view_as(h_BND)  # type: ignore[no-any-return]


def _norm(x: Tensor) -> Tensor:
    return functional.rms_norm(x, x.shape[-1:])


def _film(x_BND: Tensor, scale_B1D: Tensor, shift_B1D: Tensor) -> Tensor:
    return _norm(x_BND) * (1 + scale_B1D) + shift_B1D


def _perceptron(x: Tensor, scale: Tensor, shift: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    hidden = functional.gelu(functional.linear(_film(x, scale, shift), w1, b1), approximate="tanh")
    return functional.linear(hidden, w2, b2)
