"""Several processes that train one network: `mpiexec -n 2 stormda train`, `srun`, `torchrun`.

Samples of a batch are divided among all of them; weights and optimiser too, with `parallel.shard` (`docs/training.md`).
"""

__all__ = ["learners"]

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stormda.distributed.launch import launched
from stormda.distributed.mesh import choose, device_mesh
from stormda.errors import ConfigError
from stormda.pipeline.device import device_of
from stormda.training.team import ALONE, Team

if TYPE_CHECKING:
    from stormda.config import Config


@contextmanager
def learners(config: "Config") -> Iterator[tuple[Team, str]]:
    """The processes that were started for a training, and the device of this one; `ALONE` where it is one.

    Raises:
        ConfigError: they do not make the mesh that is asked for, or one with tiles.
        StormdaError: another process has failed.
    """
    wanted = config.parallel
    if (wanted.tile or 1) > 1:
        what = f"parallel.tile={wanted.tile}: training divides samples and weights, and no fields"
        raise ConfigError(what, key="parallel.tile", hint="parallel.tile=1")
    with launched(accelerators=config.compute.device != "cpu") as job:
        shape = choose(job.ranks.size, ensemble=wanted.ensemble, tile=1, shard=wanted.shard)
        if job.ranks.size == 1:
            yield ALONE, device_of(config)
            return
        from stormda.distributed.parallelize import Spread

        device = device_of(config)
        yield Spread(device_mesh(shape, device)), device
