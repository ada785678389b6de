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
        field = coarse(x_BCHW, self.factor, self.error, g, self.periodic)
        told = torch.rand(len(x_BCHW), 1, 1, 1, generator=g, device=g.device) >= dropout
        height, width = x_BCHW.shape[-2:]
        known = rim((height, width), self.width, self.periodic).to(x_BCHW.device)
        return Strip(field, told.to(x_BCHW.device) & known)


NO_RIM = Rim()


def coarse(
    x_BCHW: Tensor, factor: int, error: float, g: torch.Generator, periodic: tuple[bool, bool] = (False, False)
) -> Tensor:
    """Averages over blocks of `factor` x `factor` points with an error, linear between their centres.

    Beyond the outermost centres the line goes on, where a coarser model that covers more would have its next point.
    """
    n, m = (min(factor, size) for size in x_BCHW.shape[-2:])
    blocks = functional.avg_pool2d(x_BCHW, (n, m), ceil_mode=True, count_include_pad=False)
    blocks = blocks + error * torch.randn(blocks.shape, generator=g, device=g.device).to(blocks)
    rows, columns = (
        _between(size, block, wraps).to(blocks)
        for size, block, wraps in zip(x_BCHW.shape[-2:], (n, m), periodic, strict=True)
    )
    return rows @ blocks @ columns.T


def _between(size: int, block: int, wraps: bool) -> Tensor:
    """Linear weights [size, blocks] of the centres of the blocks at every point of an axis."""
    first = torch.arange(0, size, block)
    centre = (first + (first + block).clamp_max(size) - 1) / 2
    number = torch.arange(len(first))
    if len(first) == 1:
        return torch.ones(size, 1)
    if wraps:
        centre = torch.cat([centre[-1:] - size, centre, centre[:1] + size])
        number = torch.cat([number[-1:], number, number[:1]])
    point = torch.arange(size)
    right = torch.searchsorted(centre, point.to(centre)).clamp(1, len(centre) - 1)
    share = (point - centre[right - 1]) / (centre[right] - centre[right - 1])
    weights = torch.zeros(size, len(first))
    weights[point, number[right - 1]] += 1 - share
    weights[point, number[right]] += share
    return weights
