"""STORM: a transformer that denoises the state, given frames of its past.

    tokens   = pool over variables of patches(x_t, what a linear-Gaussian guess makes of it)  + places
    history  = pool over frames and variables of patches(mean, log error)  + places
    n        = noise level and season
    blocks   -> a patch of the output a variable, zero at the start of training

The preconditioning around it, which makes noisy fields and targets of unit size, is `stormda.diffusion.denoise`. Any
grid (regional, periodic, 1 x n), any variables, any number of frames; the network knows no configuration and no
process. After STORM (arXiv 2604.16590), with attention that is global in every layer (`stormda.nn.attention`).
"""

__all__ = ["Storm"]

import math
from functools import partial

import torch
from torch import Tensor, nn

from stormda.layout import WHOLE, Layout
from stormda.nn.attention import rotary
from stormda.nn.block import Block
from stormda.nn.embedding import Patches, Pool, VariableEmbedding, fourier
from stormda.nn.stream import through
from stormda.nn.tiles import layer_tiles

_FOURIER = 8  # frequencies of the noise embedding
_STATE_PLANES = 5  # noisy field, guess, spread, what noise leaves of it, linear-Gaussian answer
_HISTORY_PLANES = 2  # mean, log error


class Storm(nn.Module):
    """The network F of EDM preconditioning.

    Args:
        channels: C.
        shape: (H, W).
        static: fields that never change, [F0, H, W].
        periodic: which axes wrap.
        frames: K history frames, oldest first.
        patch, width, blocks, heads, latents: the size of the network; `latents` 0: only softmax attention.
        forcing: number of forcing features.
        tile: tokens of a tile along an axis, so that the cost of attention is linear; 0: softmax over everything. The
            parameters are the same.
        halo: tokens that a tile sees around it.
        dilation: of the tiles of every second block.
        poles: whether a pole lies beyond the first and the last row.
    """

    def __init__(
        self,
        channels: int,
        shape: tuple[int, int],
        static: Tensor,
        *,
        periodic: tuple[bool, bool],
        frames: int,
        patch: int,
        width: int,
        blocks: int,
        heads: int,
        latents: int,
        forcing: int = 4,
        tile: int = 0,
        halo: int = 4,
        dilation: int = 1,
        poles: tuple[bool, bool] = (False, False),
    ) -> None:
        super().__init__()
        if width % (4 * heads):
            raise ValueError(f"width {width} is not a multiple of 4 x {heads} heads")
        self.pieces = tile > 0
        self.patches = Patches(shape, patch, periodic)
        window = self.patches.window
        self.register_buffer("static", static.to(torch.float32))
        angles = rotary(self.patches.positions(), self.patches.periods(), width // heads)
        self.static: Tensor
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)
        self.places = nn.Linear(static.shape[0] * window, width)
        self.embed = VariableEmbedding(channels, _STATE_PLANES * window, width)
        self.pool = Pool(width, heads)
        self.embed_history = VariableEmbedding(frames * channels, _HISTORY_PLANES * window, width)
        self.pool_history = Pool(width, heads)
        self.noise = nn.Linear(2 * _FOURIER, width)
        self.season = nn.Linear(forcing, width)
        self.condition = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        # The sum of 3 x blocks branches starts as large as the tokens.
        cut = partial(layer_tiles, shape=self.patches.count, periodic=periodic, size=tile, halo=halo)
        self.blocks = nn.ModuleList(
            Block(
                width,
                heads,
                latents,
                1 / math.sqrt(3 * blocks),
                cut(layer, dilation=dilation, poles=poles) if tile else None,
            )
            for layer in range(blocks)
        )
        self.norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, channels * self.patches.points)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(
        self,
        state_BPCHW: Tensor,
        noise_B: Tensor,
        history_mean_BKCHW: Tensor,
        history_error_BKCHW: Tensor,
        history_mask_BK: Tensor,
        forcing_BF: Tensor,
        layout: Layout = WHOLE,
    ) -> Tensor:
        """F_BCHW.

        Args:
            state_BPCHW: five planes of unit size: see `stormda.diffusion.denoise`.
            noise_B: ln(sigma)/4.
            history_mean_BKCHW: mean of K frames, oldest first.
            history_error_BKCHW: standard deviation of their error.
            history_mask_BK: true where a frame is there. One history (B = 1) may serve the whole batch.
            forcing_BF: phase of the year and the day.
            layout: how the tokens are spread over processes.
        """
        places = self.places(self.patches.cut(self.static[None], layout).flatten(2))  # [1, N, D]
        x = through((self.embed, self.pool), self._planes(state_BPCHW, layout), pieces=self.pieces) + places
        history = self._history(history_mean_BKCHW, history_error_BKCHW, history_mask_BK, layout) + places
        n = self.condition(self.noise(fourier(noise_B, _FOURIER)) + self.season(forcing_BF))
        for block in self.blocks:
            x = block(x, history, n, (self.cos, self.sin), layout)
        y_BNO = through((self.norm, self.head), x, pieces=self.pieces)
        return self.patches.join(y_BNO.view(*y_BNO.shape[:-1], -1, self.patches.points))

    def _planes(self, x_BPCHW: Tensor, layout: Layout) -> Tensor:
        """[B, P, C, H, W] -> [B, N, C, P x window]."""
        b, p, c = x_BPCHW.shape[:3]
        cut = self.patches.cut(x_BPCHW.flatten(1, 2), layout)
        return cut.reshape(b, -1, p, c, self.patches.window).transpose(2, 3).flatten(3)

    def _history(self, mean: Tensor, error: Tensor, mask_BK: Tensor, layout: Layout) -> Tensor:
        """One token a place from all frames and variables: [B, N, D]."""
        c = mean.shape[2]
        planes = torch.stack([mean, error.clamp_min(1e-2).log() / 2], dim=2)  # [B, K, 2, C, H, W]
        x = self._planes(planes.transpose(1, 2).flatten(2, 3), layout)  # [B, N, K C, .]
        mask = mask_BK.repeat_interleave(c, dim=1)[:, None]
        return through((self.embed_history, self.pool_history), x, mask, pieces=self.pieces)
