"""Sizes of the network, from a laptop to a machine room.

    name   width  blocks  heads  latents  parameters (6 variables, patch 2, 2 frames)
    nano      64       4      4       32  0.45 M
    10M      256       6      4       64   9.1 M
    200M    1024       8     16      128   185 M
    10B     3072      40     24      256   8.0 B

Widths, depths and names of the three large ones are those of STORM (https://arxiv.org/abs/2604.16590). A block has
21 D^2 parameters: 8 in two attentions, 8 in the perceptron, 5 in what noise and season do to them; embeddings and head
add 5 D^2 and what variables, patches and static fields ask for. So 10M and 200M are within a tenth of their names,
whereas 40 blocks of width 3072 hold 7.9 B: 10B is a fifth smaller than its name, because width and depth are what makes
it comparable.

Heads have 64 numbers or more where there are enough, which matrix units of accelerators like. A tile of 8 x 8 tokens
with a halo of 4 is 1/16 of a grid of 64 x 64.
"""

__all__ = ["PRESETS", "Preset"]

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Preset:
    """Arguments of `Storm` that make its size."""

    width: int
    blocks: int
    heads: int
    latents: int
    tile: int = 8
    halo: int = 4

    def arguments(self) -> dict[str, int]:
        """By name."""
        return asdict(self)


PRESETS = {
    "nano": Preset(width=64, blocks=4, heads=4, latents=32),
    "10M": Preset(width=256, blocks=6, heads=4, latents=64),
    "200M": Preset(width=1024, blocks=8, heads=16, latents=128),
    "10B": Preset(width=3072, blocks=40, heads=24, latents=256),
}
