"""Several processes that were started for one command do not race for one product."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stormda.errors import ConfigError
from stormda.pipeline.ranks import one_process, started


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, (1, "")),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, (1, "")),  # A batch script, which is one process of its job.
        ({"SLURM_STEP_NUM_TASKS": "8"}, (8, "SLURM_STEP_NUM_TASKS")),
        ({"SLURM_STEP_NUM_TASKS": "2", "PMI_SIZE": "1"}, (1, "PMI_SIZE")),  # mpiexec, whose helpers Slurm started.
        ({"OMPI_COMM_WORLD_SIZE": "4", "PMI_SIZE": "?"}, (4, "OMPI_COMM_WORLD_SIZE")),
        ({"WORLD_SIZE": "3"}, (3, "WORLD_SIZE")),
    ],
)
def test_who_starts_processes_says_how_many(environment: dict[str, str], wanted: tuple[int, str]) -> None:
    assert started(environment) == wanted


def test_one_of_several_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    one_process()
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    with pytest.raises(ConfigError, match="2 processes were started for one command") as caught:
        one_process()
    assert "--ntasks=1" in str(caught.value)


def test_a_real_mpiexec(tmp_path: Path) -> None:
    """Both processes end with the code of a configuration that cannot be, and nothing is written."""
    mpiexec = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}:/usr/bin")
    if mpiexec is None:
        pytest.skip("no mpiexec: pip install 'stormda[mpi]'")
    (tmp_path / "config.yaml").write_text("name: many\nrun_dir: run\nchannels: [msl]\n")
    words = [mpiexec, "-n", "2", sys.executable, "-m", "stormda", "assimilate", "--cycle", "2019-02-17T12Z"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.count("2 processes were started for one command") == 2
    assert [p.name for p in tmp_path.iterdir()] == ["config.yaml"]
