"""Whoever starts several processes says which is which, and two who say different things are not believed."""

import pytest

from stormda.distributed.ranks import Ranks, find, first_host
from stormda.errors import ConfigError


def _slurm(size: int, rank: int, **more: str) -> dict[str, str]:
    names = {"SLURM_STEP_NUM_TASKS": size, "SLURM_PROCID": rank, "SLURM_LOCALID": rank % 2, "SLURM_NODEID": rank // 2}
    return {name: str(value) for name, value in names.items()} | {"SLURM_STEP_TASKS_PER_NODE": "2(x2)"} | more


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, Ranks()),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, Ranks()),  # A batch script, which is one process of its job.
        (_slurm(4, 3), Ranks(3, 4, 1, 2, "Slurm", "SLURM_STEP_NUM_TASKS")),
        # srun --mpi=pmi2 speaks both.
        (_slurm(4, 2, PMI_SIZE="4", PMI_RANK="2"), Ranks(2, 4, 0, 2, "Slurm", "SLURM_STEP_NUM_TASKS")),
        # mpiexec over two nodes, whose helpers Slurm started.
        (
            _slurm(2, 1, PMI_SIZE="8", PMI_RANK="5", MPI_LOCALRANKID="1", MPI_LOCALNRANKS="4"),
            Ranks(5, 8, 1, 4, "MPI", "PMI_SIZE"),
        ),
        ({"PMI_SIZE": "1"}, Ranks(0, 1, 0, 0, "MPI", "PMI_SIZE")),
        (
            {
                "OMPI_COMM_WORLD_SIZE": "4",
                "OMPI_COMM_WORLD_RANK": "1",
                "OMPI_COMM_WORLD_LOCAL_RANK": "1",
                "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
                "PMI_SIZE": "?",
            },
            Ranks(1, 4, 1, 4, "Open MPI", "OMPI_COMM_WORLD_SIZE"),
        ),
        (
            {"WORLD_SIZE": "3", "RANK": "2", "LOCAL_RANK": "2", "LOCAL_WORLD_SIZE": "3"},
            Ranks(2, 3, 2, 3, "torchrun", "WORLD_SIZE"),
        ),
        # torchrun on each of two nodes, by srun.
        (_slurm(2, 1, WORLD_SIZE="8", RANK="6", LOCAL_RANK="2"), Ranks(6, 8, 2, 0, "torchrun", "WORLD_SIZE")),
    ],
)
def test_who_starts_processes_says_which_this_is(environment: dict[str, str], wanted: Ranks) -> None:
    assert find(environment) == wanted


def test_on_one_host_or_on_several() -> None:
    assert Ranks(1, 2, 1, 2).one_host and Ranks().one_host
    assert not Ranks(1, 4, 1, 2).one_host and not Ranks(1, 2, 1, 0).one_host


@pytest.mark.parametrize(
    "inner",
    [
        {"PMI_SIZE": "1", "PMI_RANK": "0", "MPI_LOCALRANKID": "0"},  # srun -n 4 mpiexec -n 1
        {"OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0"},
        {"WORLD_SIZE": "2", "RANK": "1"},
    ],
)
def test_processes_that_do_not_know_of_each_other_are_refused(inner: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="Slurm started 4 processes .* each would do all of the work"):
        find(_slurm(4, 0) | inner)


@pytest.mark.parametrize("rank", [{}, {"RANK": "2"}, {"RANK": "-1"}])
def test_a_size_without_a_rank_is_not_enough(rank: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"torchrun started 2 processes \(WORLD_SIZE=2\)") as caught:
        find({"WORLD_SIZE": "2"} | rank)
    assert "RANK must be 0 to 1" in str(caught.value)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node7", "node7"),
        ("gpu[003-010,12],other", "gpu003"),
        ("rack1-n[01,07]-ib", "rack1-n01-ib"),
        ("a,b[1-2]", "a"),
    ],
)
def test_the_first_of_a_node_list(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


def test_what_is_no_node_list() -> None:
    with pytest.raises(ConfigError, match="is no node list"):
        first_host("")
