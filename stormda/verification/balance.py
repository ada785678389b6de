"""The balance of background, analysis and increment, and the shock of a forecast's first step, as parts."""

__all__ = ["balances", "shocks"]

from collections.abc import Sequence

import numpy as np

from stormda.grid import Grid
from stormda.metrics.balance import geostrophic, hydrostatic, tendencies
from stormda.metrics.base import Sums
from stormda.types import Array
from stormda.variables import Channel, LevelType
from stormda.verification.compare import NO_LEAD, Part


def balances(
    side: str, field_CHW: Array, channels: Sequence[Channel], grid: Grid, cycle: np.datetime64, split: int, members: int
) -> list[Part]:
    """Geostrophic imbalance at every level that has z, u and v, hydrostatic between neighbours that have z and t.

    Args:
        side: `background`, `analysis` or `increment` (analysis minus background).
        field_CHW: ensemble mean, physical units.
        channels, grid: of the field.
        cycle, split, members: of the analysis.
    """
    fields = {(c.variable, c.level): field_CHW[i].astype(np.float64) for i, c in enumerate(channels)}
    levels = {c.level for c in channels if c.level is not None and c.info.level_type is LevelType.PRESSURE}
    parts = []
    for level in sorted(levels):
        z, u, v = (fields.get((name, level)) for name in ("z", "u", "v"))
        found = None if z is None or u is None or v is None else geostrophic(z, u, v, grid)
        if found is not None:
            off, whole, counts = found
            sums = _sums(off[counts], whole[counts], grid.weights[counts])
            parts.append(Part("balance", f"geostrophic {level:g} hPa", "1", side, cycle, split, members, sums, _FIELD))
    warm = sorted((p for p in levels if ("z", p) in fields and ("t", p) in fields), reverse=True)
    for below, above in zip(warm, warm[1:], strict=False):
        z1, z2, t1, t2 = (fields[name, p] for name in ("z", "t") for p in (below, above))
        off, whole = hydrostatic(z1, z2, t1, t2, below, above)
        name = f"hydrostatic {below:g}-{above:g} hPa"
        sums = _sums(off, whole, grid.weights)
        parts.append(Part("balance", name, "1", side, cycle, split, members, sums, _FIELD))
    return parts


def shocks(
    steps: tuple[Array, Array, Array], channels: Sequence[Channel], grid: Grid, cycle: np.datetime64, split: int
) -> list[Part]:
    """The first step of a forecast against its second, by channel.

    Args:
        steps: members of the analysis, and one and two steps later, each [M, C, H, W].
        channels, grid: of the fields.
        cycle, split: the time of the second step, and the split of the analysis.
    """
    x0, x1, x2 = (s.astype(np.float64) for s in steps)
    parts = []
    for c, channel in enumerate(channels):
        first, second = tendencies(x0[:, c], x1[:, c], x2[:, c])
        sums = _sums(first, second, grid.weights)
        key = "balance", f"shock {channel.name}", "1", "forecast", cycle, split, len(x0)
        parts.append(Part(*key, sums, _FIELD, NO_LEAD))
    return parts


_FIELD = np.array([""])


def _sums(off: Array, whole: Array, weights: Array) -> Sums:
    total = np.array([float(weights.sum())])
    count = np.array([float(weights.size)])
    return Sums(count, total, {"off": np.array([(off * weights).sum()]), "whole": np.array([(whole * weights).sum()])})
