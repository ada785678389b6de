"""One product of several processes: each brings its members, rank 0 makes the files.

No rank ever holds all members. Each writes its own as they are into a part below the hidden folder of the product,
which all ranks reach (so `run_dir` is on a file system that they share); rank 0 goes through the parts member by
member, in order, and compresses them into NetCDF as it does with members of its own. So the file is the same to the
last bit for any number of ranks, and appears when all of it is there.
"""

__all__ = ["shared_folder", "shared_members"]

import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path

import numpy as np
from torch import Tensor

from stormda.distributed.world import World
from stormda.store.publish import atomic_folder
from stormda.types import Array

_PARTS = "parts"


@contextmanager
def shared_folder(world: World, path: Path) -> Iterator[Path]:
    """`atomic_folder` of rank 0, for all ranks.

    Raises:
        OutputError: of rank 0, see `atomic_folder`.
    """
    with ExitStack() as stack:
        folder = world.spread(lambda: stack.enter_context(atomic_folder(path)))
        yield folder
        if world.leads and world.size > 1:
            shutil.rmtree(folder / _PARTS)


def shared_members(world: World, folder: Path, **ensembles: Tensor) -> dict[str, Iterable[Array]]:
    """The members of all ranks by name of the ensemble, to be gone through once, by rank 0.

    Args:
        world: the ranks.
        folder: of `shared_folder`.
        ensembles: the members of this rank [m, C, H, W], physical.
    """
    parts = folder / _PARTS
    if world.size > 1:
        parts.mkdir(exist_ok=True)
    if not world.leads:
        for name, x in ensembles.items():
            np.save(_part(parts, name, world.rank), x.numpy())
    world.wait()
    return {name: chain((member.numpy() for member in x), _others(world, parts, name)) for name, x in ensembles.items()}


def _others(world: World, parts: Path, name: str) -> Iterator[Array]:
    """The members of the other ranks, in order; a file is mapped, not read whole, and then removed."""
    for rank in range(1, world.size):
        yield from np.load(part := _part(parts, name, rank), mmap_mode="r")
        part.unlink()


def _part(parts: Path, name: str, rank: int) -> Path:
    return parts / f"{name}-{rank:06d}.npy"
