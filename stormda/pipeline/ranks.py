"""Several processes for one command: where they are wanted, and where they would only be in each other's way.

`stormda assimilate` and `stormda forecast` divide the members among them, `stormda train` its samples. Any other
command is the work of one process: more of them would each do all of it, and publish it in the same place, so they are
refused.
"""

__all__ = ["announced", "number", "one_process", "together"]

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stormda.distributed.launch import Job, launched
from stormda.distributed.mesh import choose, device_mesh
from stormda.distributed.ranks import find
from stormda.distributed.world import ALONE, World
from stormda.errors import ConfigError, StormdaError

if TYPE_CHECKING:
    from stormda.config import Config

log = logging.getLogger(__name__)


def number() -> int:
    """Which of the processes of this command it is, from 0; raises ConfigError where launchers disagree."""
    return find(os.environ).rank


def one_process() -> None:
    """Raise ConfigError where several processes were started."""
    ranks = find(os.environ)
    if ranks.size > 1:
        error = ConfigError(
            f"{ranks.size} processes were started for one command ({ranks.said_by}={ranks.size}), and its work is not "
            "divided among them",
            key="cycle.launch",
            hint="ask for one: srun --ntasks=1, mpiexec -n 1; analyses of `cycle run` are divided by cycle.launch",
        )
        error.told = ranks.rank > 0
        raise error


@contextmanager
def announced() -> Iterator[None]:
    """What is wrong before processes meet they say once: they meet for that."""
    try:
        yield
    except StormdaError as error:
        if find(os.environ).size > 1:
            try:
                with launched(accelerators=False):
                    raise
            except StormdaError as told:
                if told.told:
                    raise told from error
        raise


@contextmanager
def together(config: "Config") -> Iterator[World]:
    """The processes that were started for this command, as one; `ALONE` where it is one.

    Raises:
        ConfigError: they do not make the mesh that is asked for, or it is of a kind that is not possible here.
        StormdaError: another process has failed.
    """
    with launched(accelerators=config.compute.device != "cpu") as job:
        size, wanted = job.ranks.size, config.parallel
        if size == 1:
            choose(1, ensemble=wanted.ensemble, tile=wanted.tile, shard=wanted.shard)
            yield ALONE
            return
        need, room = _memory(config, job) if wanted.tile is None else (0.0, math.inf)
        shape = choose(size, ensemble=wanted.ensemble, tile=wanted.tile, shard=wanted.shard, need=need, room=room)
        if job.ranks.rank == 0:
            log.info("%s", shape)
            _enough(config, shape.ensemble)
        from stormda.pipeline.device import device_of

        yield World.of(device_mesh(shape, device_of(config)))


def _memory(config: "Config", job: Job) -> tuple[float, float]:
    """Bytes that a member takes, and that the process with least has: the same on all processes."""
    import torch

    from stormda.pipeline.room import member_bytes, room

    every = World(job.ranks.rank, job.ranks.size)
    need = every.spread(lambda: member_bytes(config))
    own = room(job.ranks.local_size or job.ranks.size, job.device)
    return need, float(every.gather(torch.tensor([own], dtype=torch.float64)).min())


def _enough(config: "Config", ranks: int) -> None:
    """Say so where there are fewer micro-batches than ranks."""
    members, batch = config.assimilate.ensemble, config.assimilate.batch
    batches = -(-members // batch)
    if batches < ranks:
        most = max(1, members // ranks)
        what = "%d members in batches of %d are work for %d of %d processes - key=assimilate.batch; hint: %d"
        log.warning(what, members, batch, batches, ranks, most)
