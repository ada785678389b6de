"""Several processes that were started for one command do not race for one product."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stormda.config import load
from stormda.errors import ConfigError
from stormda.pipeline.ranks import number, one_process, together


def test_one_of_several_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    one_process()
    assert number() == 0
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    monkeypatch.setenv("SLURM_PROCID", "1")
    with pytest.raises(ConfigError, match="2 processes were started for one command") as caught:
        one_process()
    assert "--ntasks=1" in str(caught.value) and number() == 1


def test_one_process_initialises_nothing() -> None:
    """torch.distributed is imported by torch itself; what costs something is a process group."""
    code = (
        "import sys; from pathlib import Path; from stormda.config import load; from stormda.pipeline.ranks import *\n"
        "with together(load(None, base={'channels': ['msl']})) as world: assert world.size == 1\n"
        "assert 'torch' not in sys.modules and 'mpi4py' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("axis", ["tile", "shard", "ensemble"])
def test_a_mesh_that_is_not_possible_is_refused(axis: str) -> None:
    config = load(None, [f"parallel.{axis}=2"], {"channels": ["msl"]})
    with pytest.raises(ConfigError, match="1 process was started, which is no mesh of"), together(config):
        pytest.fail("it was not refused")


def test_a_command_for_one_process_under_a_real_mpiexec(tmp_path: Path) -> None:
    """Both processes end with the code of a configuration that cannot be, the first says why; nothing is written."""
    mpiexec = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}:/usr/bin")
    if mpiexec is None:
        pytest.skip("no mpiexec: pip install 'stormda[mpi]'")
    (tmp_path / "config.yaml").write_text("name: many\nrun_dir: run\nchannels: [msl]\n")
    words = [mpiexec, "-n", "2", sys.executable, "-m", "stormda", "ingest"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.count("2 processes were started for one command") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["config.yaml"]
