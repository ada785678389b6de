"""What a coarser model knows of the rim of a regional domain, as training and twin experiments make it up.

Weather enters a region from outside, and its own past cannot tell. Where a coarser model covers more, its field at the
time of the state, on a rim of some points, tells the network what enters (the nesting of Davies 1976,
https://doi.org/10.1002/qj.49710243210, as a condition). For training there is none: a field of the archive is averaged
over blocks of points, gets an error that is independent from block to block, and is interpolated back.
"""

__all__ = ["NO_RIM", "Rim", "coarse"]

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from stormda.nn.planes import Strip, rim


@dataclass(frozen=True)
class Rim:
    """Which part of the domain a coarser field is known on, and how good it is.

    Args:
        width: of the rim, in points; 0: there is none.
        factor: points of a block along an axis.
        error: of a block, in climatological standard deviations.
        dropout: share of samples that are told nothing, so that the network works without such a field too.
        periodic: which axes wrap and have no rim.
    """

    width: int = 0
    factor: int = 4
    error: float = 0.1
    dropout: float = 0.2
    periodic: tuple[bool, bool] = (False, False)

    def of(self, x_BCHW: Tensor, g: torch.Generator, dropout: float = 0.0) -> Strip | None:
        """The strip of each state, standardised; None where there is no rim."""
        if self.width == 0:
            return None
        field = coarse(x_BCHW, self.factor, self.error, g)
        told = torch.rand(len(x_BCHW), 1, 1, 1, generator=g, device=g.device) >= dropout
        height, width = x_BCHW.shape[-2:]
        return Strip(field, told & rim((height, width), self.width, self.periodic).to(told.device))


NO_RIM = Rim()


def coarse(x_BCHW: Tensor, factor: int, error: float, g: torch.Generator) -> Tensor:
    """Averages over blocks of `factor` x `factor` points (fewer at the ends) with an error, linear between them."""
    factors = [min(factor, n) for n in x_BCHW.shape[-2:]]
    blocks = functional.avg_pool2d(x_BCHW, factors, ceil_mode=True, count_include_pad=False)
    blocks = blocks + error * torch.randn(blocks.shape, generator=g, device=g.device).to(blocks)
    return functional.interpolate(blocks, size=x_BCHW.shape[-2:], mode="bilinear", align_corners=False)
