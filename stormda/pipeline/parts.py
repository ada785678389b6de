"""One member over several processes, as a pipeline sees it: where it is possible, and how parts become members again.

Each process of a group holds its rectangle of every member that the group draws (`stormda.distributed.tiled`). What
needs whole members, as H of the background and the files do, gets them one micro-batch at a time.
"""

__all__ = ["UNCUT", "Parts", "impossible", "parts_of", "possible"]

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from stormda.assimilation.prior import Prior
from stormda.assimilation.storm_prior import StormPrior
from stormda.config import Config
from stormda.distributed.world import ALONE, World
from stormda.errors import ConfigError
from stormda.layout import WHOLE, Layout
from stormda.nn.storm import Storm
from stormda.operators.stack import Stack


@dataclass(frozen=True, eq=False)
class Parts:
    """How the processes of one member hold it.

    Args:
        layout: of fields.
        shape: H x W of a whole one.
        batch: members at once that are made whole.
    """

    layout: Layout = WHOLE
    shape: tuple[int, int] = (0, 0)
    batch: int = 1

    @property
    def several(self) -> bool:
        """Whether there is more than one."""
        return self.layout is not WHOLE

    def prior(self, prior: Prior) -> Prior:
        """That of this process's part."""
        return prior.part(self.layout) if self.several and isinstance(prior, StormPrior) else prior

    def wholes(self, x_MCHW: Tensor) -> Iterator[Tensor]:
        """Whole members, a batch [b, C, H, W] at a time; all processes of a member go through them together."""
        for first in range(0, len(x_MCHW), self.batch):
            yield self.layout.gather(x_MCHW[first : first + self.batch], self.shape)

    def h(self, operator: Stack, x_MCHW: Tensor) -> Tensor:
        """H [M, N] of the members [M, C, h, w] of this process, physical."""
        if not self.several:
            return operator(x_MCHW)
        none = x_MCHW.new_zeros(0, x_MCHW.shape[1], *self.shape)
        return torch.cat([operator(none), *(operator(whole) for whole in self.wholes(x_MCHW))])


UNCUT = Parts()


def impossible(config: Config, axis: str) -> list[str]:
    """What of an analysis needs all of a member (`tile`) or of the network (`shard`) in one process."""
    a = config.assimilate
    both = {
        f"method {a.method}": a.method != "storm",
        f"window.frames={config.window.frames}": config.window.frames > 1,
    }
    fields = {
        f"assimilate.inflation={a.inflation}": a.inflation != "none",
        "a state from elsewhere (assimilate.background)": a.background is not None,
    }
    return [what for what, asked in (both | fields if axis == "tile" else both).items() if asked]


def possible(config: Config, world: World = ALONE) -> None:
    """Raise ConfigError where an analysis needs what is to be cut, a member or the network, in one process."""
    for axis, thing in (("tile", "a member"), ("shard", "the network")):
        wrong = impossible(config, axis)
        asked = (getattr(config.parallel, axis) or 1) > 1
        if wrong and (asked or (world.mesh is not None and world.mesh[axis].size() > 1)):
            hint = f"parallel.{axis}=1; members are divided among processes without it"
            raise ConfigError(f"{wrong[0]} needs all of {thing} in one process", key=f"parallel.{axis}", hint=hint)


def parts_of(prior: Prior | None, world: World, batch: int) -> Parts:
    """How the processes of `world` hold a member of a prior; raises ConfigError where its network cannot be cut."""
    if world.mesh is None or world.mesh["tile"].size() == 1:
        return UNCUT
    from stormda.distributed.tiled import Tiled

    if not isinstance(prior, StormPrior) or not isinstance(prior.model.network, Storm):
        what = "a model without a network needs all of a member in one process"
        raise ConfigError(what, key="parallel.tile", hint="parallel.tile=1, or method storm and its own model")
    network = prior.model.network
    if not network.pieces:
        what = "the network was trained with storm.tile=0: each of its tokens looks at all of a member"
        hint = "weights that were trained with storm.tile above 0; or parallel.tile=1"
        raise ConfigError(what, key="storm.tile", hint=hint)
    shape = prior.grid.shape
    return Parts(Tiled(shape, network.patches.size, group=world.mesh["tile"].get_group()), shape, batch)
