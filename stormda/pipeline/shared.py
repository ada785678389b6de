"""One product of several processes: each brings its members, rank 0 makes the files.

No rank ever holds all members. Each writes its own as they are into a part below the hidden folder of the product,
which all ranks reach (so `run_dir` is on a file system that they share); rank 0 goes through the parts member by
member, in order, and compresses them into NetCDF as it does with members of its own. So the file is the same to the
last bit for any number of ranks, and appears when all of it is there. Where a member is cut, the first of the ranks
that hold it gets it whole and writes it, one micro-batch after another.
"""

__all__ = ["shared_folder", "shared_members"]

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from itertools import chain
from pathlib import Path

import numpy as np
from torch import Tensor

from stormda.distributed.world import World
from stormda.pipeline.parts import UNCUT, Parts
from stormda.store.publish import atomic_folder, writing
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
        if world.leads and world.processes > 1:
            shutil.rmtree(folder / _PARTS)


def shared_members(world: World, folder: Path, cut: Parts = UNCUT, **ensembles: Tensor) -> dict[str, Iterable[Array]]:
    """The members of all ranks by name of the ensemble, to be gone through once, by rank 0.

    Args:
        world: the ranks.
        folder: of `shared_folder`.
        cut: how the ranks that draw the same members hold them.
        ensembles: the members of this rank [m, C, H, W], or its part of them, physical.

    Raises:
        OutputError: no room, no permission, on any rank.
    """
    parts = folder / _PARTS
    if world.processes > 1:
        with writing(parts):
            parts.mkdir(exist_ok=True)
    for name, x in ensembles.items():
        if cut.several:
            _join(None if world.part else _part(parts, name, world.rank), cut, x)
        elif world.rank > 0 and world.part == 0:
            with _file(_part(parts, name, world.rank), x, x.shape) as write:
                write(x)
    world.wait()
    if cut.several:
        return {name: _written(parts, name, range(world.size)) for name in ensembles}
    others = range(1, world.size)
    return {
        name: chain((member.numpy() for member in x), _written(parts, name, others)) for name, x in ensembles.items()
    }


def _join(path: Path | None, cut: Parts, x_MCHW: Tensor) -> None:
    """Make the members whole, and write them where this rank is to."""
    with _file(path, x_MCHW, (*x_MCHW.shape[:2], *cut.shape)) if path is not None else nullcontext() as write:
        for whole in cut.wholes(x_MCHW):
            if write is not None:
                write(whole)


@contextmanager
def _file(path: Path, like: Tensor, shape: Sequence[int]) -> Iterator[Callable[[Tensor], None]]:
    """A .npy file, one block of members after another: written, not mapped, as a full disk kills who writes to a map.

    Args:
        path: its place.
        like: has its type.
        shape: of all of it.
    """
    kind = np.lib.format.dtype_to_descr(like.numpy().dtype)
    with writing(path), path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": tuple(shape)})

        def write(x: Tensor) -> None:
            file.write(np.ascontiguousarray(x.numpy()).data)

        yield write


def _written(parts: Path, name: str, ranks: range) -> Iterator[Array]:
    """The members that ranks have written, in order; a file is mapped, not read whole, and then removed."""
    for rank in ranks:
        yield from np.load(part := _part(parts, name, rank), mmap_mode="r")
        part.unlink()


def _part(parts: Path, name: str, rank: int) -> Path:
    return parts / f"{name}-{rank:06d}.npy"
