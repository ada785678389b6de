"""How many processes were started for one command.

Whoever starts them tells each by its environment: MPICH, Intel MPI and others with PMI, Open MPI, torchrun, and Slurm
for the tasks of a step (`srun`). An analysis is drawn by one process. More of them would each draw all of it, and
publish it in the same place, so they are refused.
"""

__all__ = ["one_process", "started"]

import os
from collections.abc import Mapping

from stormda.errors import ConfigError

_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
"""In this order: `mpiexec` within a step of Slurm inherits what Slurm told it."""


def started(environment: Mapping[str, str]) -> tuple[int, str]:
    """How many processes, and the variable that says so; 1 and nothing where none does."""
    for name in _SIZES:
        if (text := environment.get(name, "")).isdigit():
            return int(text), name
    return 1, ""


def one_process() -> None:
    """Raise ConfigError where several processes were started."""
    count, name = started(os.environ)
    if count > 1:
        raise ConfigError(
            f"{count} processes were started for one command ({name}={count}), and the work is not divided among them",
            key="cycle.launch",
            hint="ask for one: srun --ntasks=1, mpiexec -n 1; it uses the threads of OMP_NUM_THREADS, and a GPU",
        )
