"""One block of the network: attention within the noisy state, attention to the past, and a perceptron.

    h = FiLM(x; n)          x += SelfAttention(h)
                            x += sigmoid(W n + b) * CrossAttention(x, history)
    h = FiLM(x; n)          x += MLP(h)

n is the embedding of noise level and season. FiLM scales and shifts normalised tokens by it (Perez et al. 2018,
https://arxiv.org/abs/1709.07871). The gate of the cross-attention lets high noise lean on the past and low noise on
spatial refinement (STORM, https://arxiv.org/abs/2604.16590). About 21 D^2 parameters.
"""

__all__ = ["Angles", "Block"]

import torch
from torch import Tensor, nn

from stormda.layout import WHOLE, Layout
from stormda.nn.attention import Attention

Angles = tuple[Tensor, Tensor]


class Block(nn.Module):
    """Tokens [B, N, D] of the state, given history tokens [B, M, D] and a condition n_BD.

    `scale` is the size of its branches before training.
    """

    def __init__(self, width: int, heads: int, latents: int, scale: float = 1.0) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.RMSNorm(width, elementwise_affine=False) for _ in range(3))
        self.film = nn.Linear(width, 4 * width)
        self.gate = nn.Linear(width, width)
        self.attention = Attention(width, heads, latents)
        self.cross = Attention(width, heads, latents)
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
        h = self.norms[0](x_BND) * (1 + scale1) + shift1
        x = x_BND + self.attention(h, h, angles, angles, layout)
        past = self.cross(self.norms[1](x), history_BMD, angles, angles, layout)
        x = x + torch.sigmoid(self.gate(n_BD))[:, None] * past
        out: Tensor = x + self.mlp(self.norms[2](x) * (1 + scale2) + shift2)
        return out
