"""Which of how many processes this one is, and who says so.

Whoever starts several processes for one command tells each by its environment:

    torchrun     RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE
    Open MPI     OMPI_COMM_WORLD_{RANK, SIZE, LOCAL_RANK, LOCAL_SIZE}
    MPICH, Intel PMI_RANK, PMI_SIZE, MPI_LOCALRANKID, MPI_LOCALNRANKS
    srun         SLURM_PROCID, SLURM_STEP_NUM_TASKS, SLURM_LOCALID, SLURM_STEP_TASKS_PER_NODE

Launchers may be nested: `mpiexec` and `torchrun` within a step of Slurm inherit what Slurm said. Then the inner one
counts, which must have at least as many processes as the outer one: each of those started one or more. Where it has
fewer, as where an MPI that knows nothing of Slurm leaves every task alone, each would do all of the work and publish it
in the same place; that is an error. `srun --mpi=pmi2` speaks PMI as well, and remains Slurm.

Nothing here needs torch.
"""

__all__ = ["Ranks", "find", "first_host"]

import re
from collections.abc import Mapping
from dataclasses import dataclass

from stormda.errors import ConfigError


@dataclass(frozen=True)
class Ranks:
    """One of several processes.

    Args:
        rank, size: of all.
        local_rank, local_size: of those on this host; a size of 0 is not known.
        launcher: `torchrun`, `Open MPI`, `MPI`, `Slurm`; empty: nobody started several.
        said_by: the variable that says how many.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    launcher: str = ""
    said_by: str = ""

    @property
    def one_host(self) -> bool:
        """Whether all are on this host."""
        return self.local_size == self.size


_NAMES = {  # launcher: size, rank, local rank, local size; the innermost first
    "torchrun": ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    "Open MPI": (
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
    ),
    "MPI": ("PMI_SIZE", "PMI_RANK", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    "Slurm": ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID", ""),
}


def find(environment: Mapping[str, str]) -> Ranks:
    """Which process this is.

    Raises:
        ConfigError: launchers disagree, or one says how many there are and not which this is.
    """
    sizes = {launcher: n for launcher, names in _NAMES.items() if (n := _number(environment, names[0])) is not None}
    if not sizes:
        return Ranks()
    if sizes.get("Slurm") == sizes.get("MPI") and "MPI_LOCALRANKID" not in environment:
        sizes.pop("MPI", None)  # srun --mpi=pmi2
    launcher, size = next(iter(sizes.items()))
    for outer, count in sizes.items():
        if count > size:
            inner, around = _NAMES[launcher][0], _NAMES[outer][0]
            raise ConfigError(
                f"{outer} started {count} processes ({around}={count}), and {launcher} in each of them knows of {size} "
                f"({inner}={size}): each would do all of the work",
                key="cycle.launch",
                hint=f"one launcher: srun without mpiexec or torchrun within it, or unset {inner}",
            )
    return _place(launcher, size, environment)


def _place(launcher: str, size: int, environment: Mapping[str, str]) -> Ranks:
    """The process among `size`."""
    said_by, rank_name, local_rank_name, local_size_name = _NAMES[launcher]
    rank = 0 if size == 1 else _number(environment, rank_name)
    if rank is None or not 0 <= rank < size:
        what = f"{launcher} started {size} processes ({said_by}={size}), and does not say which of them this is"
        raise ConfigError(what, key="cycle.launch", hint=f"{rank_name} must be 0 to {size - 1}")
    local_rank = _number(environment, local_rank_name) or 0
    if launcher == "Slurm":
        counts, node = (
            _tasks_per_node(environment.get("SLURM_STEP_TASKS_PER_NODE", "")),
            _number(environment, "SLURM_NODEID"),
        )
        local_size = counts[node] if node is not None and node < len(counts) else None
    else:
        local_size = _number(environment, local_size_name)
    return Ranks(rank, size, local_rank, local_size or 0, launcher, said_by)


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "")
    return int(text) if text.isdigit() else None


def _tasks_per_node(text: str) -> list[int]:
    """`2(x3),1` of Slurm as 2, 2, 2, 1; empty where it is not of that form."""
    counts: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if match is None:
            return []
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def first_host(nodes: str) -> str:
    """The first of a node list of Slurm, such as `gpu[003-010,12]-ib,other`: where rank 0 is.

    Raises:
        ConfigError: it is not such a list.
    """
    match = re.match(r"([^\[\],]+)(?:\[(\d+)[^\]]*\]([^\[\],]*))?(?:,|$)", nodes)
    if match is None:
        what, hint = f"'{nodes}' is no node list of Slurm", "MASTER_ADDR and MASTER_PORT say where rank 0 is"
        raise ConfigError(what, key="SLURM_STEP_NODELIST", hint=hint)
    return match[1] + (match[2] or "") + (match[3] or "")
