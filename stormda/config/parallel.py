"""How the processes of one command are laid out: `stormda.distributed.mesh`."""

__all__ = ["ParallelConfig"]

from pydantic import Field

from stormda.config.fields import Section


class ParallelConfig(Section):
    """Several processes (srun, mpiexec, torchrun) on a mesh of ensemble x tile x shard."""

    ensemble: int | None = Field(None, ge=1, description="that members or samples are divided among; empty: all")
    tile: int | None = Field(
        None, ge=1, description="that one member of method storm is cut among; empty: as few as memory asks for"
    )
    shard: int = Field(1, ge=1, description="that the weights of the network are cut among")
