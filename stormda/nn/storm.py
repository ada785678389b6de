"""STORM: a transformer that denoises the state, given frames of its past.

    tokens   = pool over variables of patches(x_t, what a linear-Gaussian guess makes of it)  + places
    history  = pool over frames and variables of patches(mean, log error)  + places
    n        = noise level and season
    blocks   -> a patch of the output a variable, zero at the start of training

A window of L noisy frames at once runs with the same weights: tokens of all frames are one sequence, to which their age
is added, and every frame reads the same past. What the network may be told besides: `docs/network.md`.

The preconditioning around it, which makes noisy fields and targets of unit size, is `stormda.diffusion.denoise`. Any
grid (regional, periodic, 1 x n), any variables, any number of frames; the network knows no configuration and no
process. After STORM (arXiv 2604.16590), with attention that is global in every layer (`stormda.nn.attention`).
"""

__all__ = ["Storm"]

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from stormda.layout import WHOLE, Layout
from stormda.nn.attention import rotary
from stormda.nn.block import Block
from stormda.nn.embedding import Patches, Pool, VariableEmbedding, ages, fourier
from stormda.nn.parts import part_rows
from stormda.nn.planes import Cut, Strip, signs
from stormda.nn.stream import chunk_of, through
from stormda.nn.tiles import layer_tiles

_FOURIER = 8  # frequencies of the noise embedding
_AGES = 4  # frequencies of the age of a frame in a window
# Whether a plane changes sign across a pole, where its channel is part of a vector.
_STATE = (True, True, False, False, True)  # noisy field, guess, spread, what noise leaves of it, linear-Gaussian answer
_HISTORY = (True, False)  # mean, log error
_STRIP = (True, False)  # field, where it is known


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
        poles, pole_rows: whether a pole lies beyond the first and the last row; whether that row is the pole.
        vectors: channels that change sign across a pole.
        strip: width in points of the rim that a field may be given for, see `stormda.nn.planes`; 0: it takes none.
        window: L noisy frames at once; weights of one L serve another.
        block: makes a block from the arguments of `Block`; instead of it, one that is cut over processes at once.
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
        pole_rows: tuple[bool, bool] = (False, False),
        vectors: Sequence[int] = (),
        strip: int = 0,
        window: int = 1,
        block: Callable[..., nn.Module] = Block,
    ) -> None:
        super().__init__()
        if width % (4 * heads):
            raise ValueError(f"width {width} is not a multiple of 4 x {heads} heads")
        if window < 1:
            raise ValueError(f"a window has at least one frame, not {window}")
        self.pieces, self.strip, self.window = tile > 0, strip, window
        self.patches = Patches(shape, patch, periodic, poles, pole_rows)
        points = self.patches.window
        self.register_buffer("static", static.to(torch.float32))
        angles = rotary(self.patches.positions(), self.patches.periods(), width // heads)
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)
        odd = _STATE + (_STRIP if strip else ())
        self.register_buffer("state_signs", signs(odd, channels, vectors), persistent=False)
        everywhere = [frame * channels + vector for frame in range(frames) for vector in vectors]
        self.register_buffer("history_signs", signs(_HISTORY, frames * channels, everywhere), persistent=False)
        self.static: Tensor
        self.cos: Tensor
        self.sin: Tensor
        self.state_signs: Tensor
        self.history_signs: Tensor
        self.places = nn.Linear(static.shape[0] * points, width)
        self.embed = VariableEmbedding(channels, len(odd) * points, width)
        self.pool = Pool(width, heads)
        self.embed_history = VariableEmbedding(frames * channels, len(_HISTORY) * points, width)
        self.pool_history = Pool(width, heads)
        self.noise = nn.Linear(2 * _FOURIER, width)
        self.season = nn.Linear(forcing, width)
        self.condition = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        # The sum of 3 x blocks branches starts as large as the tokens.
        scale = 1 / math.sqrt(3 * blocks)
        cut = partial(layer_tiles, shape=self.patches.count, periodic=periodic, size=tile, halo=halo)
        cuts = [cut(layer, dilation=dilation, poles=poles) if tile else None for layer in range(blocks)]
        self.blocks = nn.ModuleList(block(width, heads, latents, scale, tiles, window) for tiles in cuts)
        self.norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, channels * self.patches.points)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.age = nn.Linear(2 * _AGES, width, bias=False) if window > 1 else None
        self.register_load_state_dict_pre_hook(_without_age)  # type: ignore[no-untyped-call]

    def forward(
        self,
        state_BPCHW: Tensor,
        noise_B: Tensor,
        history_mean_BKCHW: Tensor,
        history_error_BKCHW: Tensor,
        history_mask_BK: Tensor,
        forcing_BF: Tensor,
        layout: Layout = WHOLE,
        strip: Strip | None = None,
    ) -> Tensor:
        """F_BCHW.

        Args:
            state_BPCHW: five planes of unit size: see `stormda.diffusion.denoise`.
            noise_B: ln(sigma)/4.
            history_mean_BKCHW: mean of K frames, oldest first.
            history_error_BKCHW: standard deviation of their error.
            history_mask_BK: true where a frame is there. One history (B = 1) may serve the whole batch.
            forcing_BF: phase of the year and the day.
            layout: how the tokens are spread over processes; fields are those of the part.
            strip: what is known at the rim, where the network was built for it; None: nothing.

        With a window of L > 1 frames, oldest first, the state is [B, L, P, C, H, W], the forcing [B, L, F], fields of
        the strip are [B, L, C, H, W] and the result is [B, L, C, H, W].

        Raises:
            ValueError: a strip for a network that was built without.
        """
        state = self._planes(state_BPCHW, strip)
        rows, columns = layout.part(self.patches.shape)
        places = self._tokens((nn.Flatten(2), self.places), self.static[None, None, :, rows, columns], None, layout)
        x = self._tokens((self.embed, self.pool), state, self.state_signs, layout) + places
        history = self._history(history_mean_BKCHW, history_error_BKCHW, history_mask_BK, layout) + places
        del state, places  # as large as the tokens
        n = self.noise(fourier(noise_B, _FOURIER))
        if self.age is None:
            n = self.condition(n + self.season(forcing_BF))
        else:
            n = self.condition(n[:, None] + self.season(forcing_BF))
            x = x.view(-1, self.window, *x.shape[1:]) + self.age(ages(self.window, _AGES).to(x))[:, None]
            x, n = x.flatten(0, 1), n.expand(len(x), -1, -1).flatten(0, 1)
            if len(history) > 1:
                history = history.repeat_interleave(self.window, dim=0)
        angles = part_rows(self.cos, self.patches.count, layout), part_rows(self.sin, self.patches.count, layout)
        for block in self.blocks:
            x = block(x, history, n, angles, layout)
        y_BNO = through((self.norm, self.head), x, pieces=self.pieces)
        f = self.patches.join(y_BNO.view(*y_BNO.shape[:-1], -1, self.patches.points), layout)
        return f if self.age is None else f.view(-1, self.window, *f.shape[1:])

    def _planes(self, x: Tensor, strip: Strip | None) -> Tensor:
        """The state with the planes of the strip, frames of a window as further members: [B L, P, C, H, W]."""
        if strip is not None and not self.strip:
            raise ValueError("the network was built without a strip at the rim (strip=0)")
        if self.age is not None:
            strip = None if strip is None else strip.flat(len(x))
            x = x.flatten(0, 1)
        if not self.strip:
            return x
        known = x.new_zeros(len(x), len(_STRIP), *x.shape[2:]) if strip is None else strip.planes()
        return torch.cat([x, known.to(x).expand(len(x), -1, -1, -1, -1)], dim=1)

    def _history(self, mean: Tensor, error: Tensor, mask_BK: Tensor, layout: Layout) -> Tensor:
        """One token a place from all frames and variables: [B, N, D]."""
        planes = torch.stack([mean, error.clamp_min(1e-2).log() / 2], dim=1).flatten(2, 3)  # [B, 2, K C, H, W]
        mask = mask_BK.repeat_interleave(mean.shape[2], dim=1)[:, None]
        return self._tokens((self.embed_history, self.pool_history), planes, self.history_signs, layout, mask)

    def _tokens(
        self, modules: Sequence[nn.Module], x_BPCHW: Tensor, signs: Tensor | None, layout: Layout, *last: Tensor
    ) -> Tensor:
        """Patches of planes through modules: [B, N, D]."""
        rows = self.patches.pad(x_BPCHW.flatten(1, 2), layout, signs).transpose(1, 2)  # [B, rows, P C, columns]
        pieces = self.patches.rows(chunk_of(rows), layout) if self.pieces else False
        return through((Cut(self.patches, x_BPCHW.shape[1]), *modules), rows, *last, pieces=pieces)


def _without_age(network: Storm, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Weights of single frames know no age: all frames of a window start as the newest."""
    if network.age is not None:
        state.setdefault(f"{prefix}age.weight", torch.zeros_like(network.age.weight))
