"""Type aliases and the letters of array dimensions.

Mathematics names a tensor with its shape as a suffix, one letter an axis:

    B batch (members)   K history frames   L frames at once   C channels   H latitude   W longitude
    N tokens or observations   D width of a token   R modes (EOFs)   F forcing features
"""

__all__ = ["Array", "Denoise", "Mapping2", "Progress", "Tensor", "silent"]

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor
else:  # `stormda --help` must not import torch.
    Tensor = "Tensor"

Array: TypeAlias = npt.NDArray[Any]

Denoise: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"
"""E[x | x_t]: (x_BCHW noisy and standardised, sigma: 0-d tensor, the noise level of the whole batch) -> D_BCHW."""

Mapping2: TypeAlias = "Callable[[Tensor], Tensor]"
"""A differentiable map of a batch, such as an observation operator: x_BCHW -> y_BN."""

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told about long work: (what is being done, how many are done, how many there are)."""


def silent(what: str, done: int, total: int) -> None:
    """The `Progress` that says nothing."""
