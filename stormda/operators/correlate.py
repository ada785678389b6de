"""Observation errors that are correlated within a report: levels of a sounding.

    R = S C S,     S = diag(sd),   C_ij = (1 - n) exp(-|ln p_i - ln p_j| / l) + n delta_ij

between values of one variable in one report, 0 elsewhere: an autoregression in the logarithm of pressure, positive
definite for any levels (the Ornstein-Uhlenbeck covariance). n = 1 % of a variance is never shared, so that two values
at one level do not claim to know their difference exactly. With the Cholesky factor C = L L^T the observations

    y' = S L^-1 S^-1 y,     H' = S L^-1 S^-1 H

have uncorrelated errors of the same standard deviations S (R' = S^2), and the same likelihood: whoever assimilates them
needs to know nothing of C. Blocks are small and share nothing, so this costs a small product a report; rows without
correlation are handed on bit by bit.
"""

__all__ = ["Decorrelation", "decorrelation"]

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stormda.observations import Observations
from stormda.types import Array

_OWN = 0.01  # share of a variance that is never shared


@dataclass(frozen=True, eq=False)
class Decorrelation:
    """y -> S L^-1 S^-1 y.

    Args:
        blocks: for each size m of a block, the rows of its K blocks [K, m] and their factors S L^-1 S^-1 [K, m, m].
    """

    blocks: tuple[tuple[Tensor, Tensor], ...] = ()

    def __call__(self, y: Tensor) -> Tensor:
        """Values [..., N] with correlated errors -> as many with errors that are not, differentiable."""
        for rows, factors in self.blocks:
            turned = torch.einsum("kij,...kj->...ki", factors.to(y), y[..., rows.to(y.device)])
            y = y.index_copy(-1, rows.flatten().to(y.device), turned.flatten(-2))
        return y


def decorrelation(
    observations: Observations, variance: Tensor, lengths: Mapping[tuple[str, str], float]
) -> Decorrelation:
    """The transformation for the rows of a table.

    Args:
        observations: N rows, of which `block`, or else `source` and `report_id`, tell which belong together.
        variance: of their errors [N].
        lengths: l by source and variable, above 0; others have uncorrelated errors.
    """
    groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
    columns = (observations[name] for name in ("source", "variable", "report_id", "block", "level"))
    for row, (source, variable, report, block, level) in enumerate(zip(*columns, strict=True)):
        if lengths.get((source, variable), 0.0) > 0 and np.isfinite(level) and level > 0:
            groups[source, variable, report if block < 0 else block].append(row)
    sizes: dict[int, list[tuple[list[int], Array]]] = defaultdict(list)
    level, sd = observations["level"], variance.double().sqrt().numpy()
    for (source, variable, _), rows in groups.items():
        if len(rows) > 1:
            factor = _factor(np.log(level[rows]), lengths[str(source), str(variable)])
            sizes[len(rows)].append((rows, sd[rows][:, None] * factor / sd[rows]))
    return Decorrelation(
        tuple(
            (torch.tensor([rows for rows, _ in same]), torch.as_tensor(np.stack([f for _, f in same])))
            for same in sizes.values()
        )
    )


def _factor(log_p: Array, length: float) -> Array:
    """L^-1 [m, m]."""
    c = (1 - _OWN) * np.exp(-np.abs(log_p[:, None] - log_p) / length) + _OWN * np.eye(len(log_p))
    return np.asarray(np.linalg.inv(np.linalg.cholesky(c)))
