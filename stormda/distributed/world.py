"""The processes of a job as a pipeline sees them: who has which members, and what all of them must know.

Members are divided in whole micro-batches, in their order: with b of them, rank r of R has those from r b // R up to
(r + 1) b // R. The last bit of a matrix product depends on how many members are in it, so with whole micro-batches the
members have the same bits for any number of ranks.

Where a member is cut (`Shape.tile`), or the network (`Shape.shard`), the ranks that hold the parts draw the same
members together: they have one `rank` along the axis `ensemble`, and the first of them speaks for them.

What rank 0 reads, `spread` gives to all. Where one rank fails within any of these, the others are interrupted
(`stormda.distributed.watch`), so nobody has to ask whether all went well. `ALONE` is one process.
"""

__all__ = ["ALONE", "World"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import ProcessGroup
    from torch.distributed.device_mesh import DeviceMesh

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class World:
    """One of the ranks that share an ensemble.

    Args:
        rank, size: along the mesh axis `ensemble`.
        group: of torch, along that axis; None: one process.
        mesh: all ranks; None: one process.
        part, parts: which of the ranks that draw the same members together this is, and how many they are.
    """

    rank: int = 0
    size: int = 1
    group: "ProcessGroup | None" = None
    mesh: "DeviceMesh | None" = None
    part: int = 0
    parts: int = 1

    @classmethod
    def of(cls, mesh: "DeviceMesh") -> "World":
        """This process on a mesh (`stormda.distributed.mesh.device_mesh`)."""
        ensemble, tile, shard = mesh["ensemble"], mesh["tile"], mesh["shard"]
        part = tile.get_local_rank() * shard.size() + shard.get_local_rank()
        parts = tile.size() * shard.size()
        return cls(ensemble.get_local_rank(), ensemble.size(), ensemble.get_group(), mesh, part, parts)

    @property
    def leads(self) -> bool:
        """Whether this is the one that reads, publishes and talks."""
        return self.rank == 0 and self.part == 0

    @property
    def processes(self) -> int:
        """All of them."""
        return self.size * self.parts

    def share(self, members: int, batch: int) -> range:
        """The numbers of the members that this rank draws, whole micro-batches of `batch`; may be empty."""
        batches = -(-members // batch)
        first, last = (min(r * batches // self.size * batch, members) for r in (self.rank, self.rank + 1))
        return range(first, last)

    def spread(self, make: Callable[[], T]) -> T:
        """What rank 0 makes, on every rank."""
        if self.processes == 1:
            return make()
        import torch.distributed as dist

        box: list[Any] = [make() if self.leads else None]
        dist.broadcast_object_list(box, src=0)
        made: T = box[0]
        return made

    def gather(self, x: "Tensor") -> "Tensor":
        """The rows [m, ...] of all ranks along `ensemble`, in order, on every rank: for what is small, as H(x) is."""
        if self.size == 1:
            return x
        import torch
        import torch.distributed as dist

        counts = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(counts, torch.tensor([len(x)]), group=self.group)
        rows = [int(n) for n in counts]
        padded = x.new_zeros((max(rows), *x.shape[1:]))
        padded[: len(x)] = x
        parts = [torch.empty_like(padded) for _ in rows]
        dist.all_gather(parts, padded.contiguous(), group=self.group)
        return torch.cat([part[:n] for part, n in zip(parts, rows, strict=True)])

    def sum(self, x: "Tensor") -> "Tensor":
        """The sum over the ranks along `ensemble`, on every rank."""
        if self.size == 1:
            return x
        import torch.distributed as dist

        total = x.clone()
        dist.all_reduce(total, group=self.group)
        return total

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.processes > 1:
            import torch.distributed as dist

            dist.barrier()


ALONE = World()
