"""Several processes that learn one network: what training asks of them, and never how they talk.

A step draws its whole batch from its number, the same everywhere, and each process (a rank) keeps every n-th sample.
Its loss is the sum over these divided by the number of all, so the sum over ranks is the loss of the batch, and the sum
of gradients its gradient: the curve does not depend on how many ranks there are, up to the order in which numbers are
added.

What a checkpoint holds does not either: `gather` makes whole tensors of parts, `part` takes a rank's part of a whole
one. `Alone`, the default, is one process; `stormda.distributed.parallelize` knows the others.
"""

__all__ = ["ALONE", "Alone", "Team"]

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from stormda.nn.block import Block


class Team(Protocol):
    """The processes that train together."""

    number: int
    """Of this one, from 0; the first alone writes files."""

    count: int
    """How many there are."""

    def block(self, *arguments: Any) -> nn.Module:
        """A block of a network that is being built, cut over the ranks at once where its weights are to be."""

    def spread(self, model: nn.Module) -> nn.Module:
        """What to call so that a backward pass leaves in the parameters of `model` the mean gradient of all ranks."""

    def sum(self, x: Tensor) -> Tensor:
        """The sum over all ranks."""

    def gather(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole tensors, on the first rank; on the others what is no part of a whole may be empty."""

    def part(self, whole: Tensor, like: Tensor) -> Tensor:
        """This rank's part of a tensor that all ranks hold, cut as `like` is, and on its device."""


class Alone:
    """One process that holds everything."""

    number = 0
    count = 1

    def block(self, *arguments: Any) -> nn.Module:
        """The block."""
        return Block(*arguments)

    def spread(self, model: nn.Module) -> nn.Module:
        """The model."""
        return model

    def sum(self, x: Tensor) -> Tensor:
        """The sum over one rank."""
        return x

    def gather(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """They are whole."""
        return dict(tensors)

    def part(self, whole: Tensor, like: Tensor) -> Tensor:
        """All of it."""
        return whole.to(like.device)


ALONE = Alone()
