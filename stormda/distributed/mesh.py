"""How ranks are laid out: members of an ensemble, tiles of one member, shards of the weights.

    ensemble x tile x shard = ranks

Members need nothing of each other while they are drawn, so ranks go to `ensemble` first. There cannot be more of them
than micro-batches: the rest would wait. Where a member does not fit into the memory of one rank, it is cut into tiles,
the fewest that do (`stormda.pipeline.room` estimates both); what is given by hand is kept.

Ranks along `shard` are neighbours, then those along `tile`: the more two ranks say to each other, the nearer they are.
"""

__all__ = ["AXES", "Shape", "choose", "device_mesh"]

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stormda.errors import ConfigError

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

AXES = ("ensemble", "tile", "shard")


@dataclass(frozen=True)
class Shape:
    """Ranks along each axis of the mesh."""

    ensemble: int = 1
    tile: int = 1
    shard: int = 1

    @property
    def size(self) -> int:
        """All of them."""
        return self.ensemble * self.tile * self.shard

    def __str__(self) -> str:
        return " x ".join(f"{name} {getattr(self, name)}" for name in AXES)


def choose(
    ranks: int,
    *,
    ensemble: int | None = None,
    tile: int | None = None,
    shard: int = 1,
    need: float = 0.0,
    room: float = math.inf,
) -> Shape:
    """The mesh of so many ranks.

    Args:
        ranks: how many there are.
        ensemble, tile: by hand; None: chosen.
        shard: ranks that the weights are divided among.
        need, room: bytes that a member takes, and that a rank has.

    Raises:
        ConfigError: the axes do not multiply to the ranks, or no number of tiles makes a member fit.
    """
    if ranks % shard:
        raise _unfit(ranks, f"shard {shard}", "parallel.shard")
    left = ranks // shard
    if tile is None:
        tile = left // ensemble if ensemble is not None and left % ensemble == 0 else _tiles(left, need, room)
    if left % tile and ensemble is None:
        raise _unfit(ranks, f"tile {tile} x shard {shard}", "parallel.tile")
    shape = Shape(left // tile if ensemble is None else ensemble, tile, shard)
    if shape.size != ranks:
        raise _unfit(ranks, str(shape), "parallel")
    return shape


def _tiles(ranks: int, need: float, room: float) -> int:
    """The fewest, a divisor of the ranks, with which the need fits into the room."""
    found = next((n for n in range(1, ranks + 1) if ranks % n == 0 and need / n <= room), None)
    if found is None:
        what = f"a member takes {need / 2**30:.1f} GiB, more than {ranks} ranks of {room / 2**30:.1f} GiB have"
        raise ConfigError(what, key="parallel.tile", hint=f"more ranks or hosts; parallel.tile={ranks} tries it")
    return found


def _unfit(ranks: int, axes: str, key: str) -> ConfigError:
    started = "1 process was started" if ranks == 1 else f"{ranks} processes were started"
    hint = "ensemble x tile x shard is their number: mpiexec -n N, srun -n N or torchrun start N; or leave the key out"
    return ConfigError(f"{started}, which is no mesh of {axes}", key=key, hint=hint)


def device_mesh(shape: Shape, device: str) -> "DeviceMesh":
    """The mesh of torch over all ranks, with its process groups, on `cpu` or `cuda`."""
    from torch.distributed.device_mesh import init_device_mesh

    return init_device_mesh(device, (shape.ensemble, shape.tile, shape.shard), mesh_dim_names=AXES)
