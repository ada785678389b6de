"""What `stormda init` writes for cron and Slurm works in any folder, and no value is read by a shell."""

import os
import re
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

from stormda.config import load
from stormda.errors import AlreadyRunning, ConfigError, InputMissing, StormdaError
from stormda.pipeline.cycle_submit import submit
from stormda.pipeline.init import init
from stormda.store.lease import hold
from stormda.templates import jobs
from stormda.time import parse_time

NASTY = "a b'c\"d$(touch hacked)`touch hacked`;%&e"
NAMES = ["cpu.sbatch", "crontab", "cycle.sh", "gpu.sbatch", "mpi.sbatch", "nodes.sbatch", "train.sbatch"]
SCRIPTS = [name for name in NAMES if name != "crontab"]
NOW = parse_time("2019-02-10T12Z")


def program(path: Path, text: str) -> Path:
    """A shell script that can be run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in a folder with a name that a shell would love, and a fake program and fake Slurm in PATH."""
    bin_ = tmp_path / "bin"
    monkeypatch.setenv("PATH", f"{bin_}:/usr/bin:/bin")
    said = f'printf "%s\\n" "$(basename "$0")" "$@" >> "{tmp_path}/said"; '
    for name, text in {
        "sbatch": "echo 42",
        "squeue": f'cat "{tmp_path}/queue" 2>/dev/null',
        "scontrol": "true",
        "stormda": "exec sleep ${FAKE_SLEEP:-0}",
    }.items():
        program(bin_ / name, said + text)
    folder = tmp_path / NASTY / "proj"
    folder.parent.mkdir()
    init(folder, "minimal")
    monkeypatch.setenv("STORMDA", str(bin_ / "stormda"))
    monkeypatch.chdir(tmp_path)
    return folder


def said(project: Path) -> list[str]:
    """Every word that fake programs were called with."""
    file = project.parents[1] / "said"
    return file.read_text().splitlines() if file.exists() else []


def test_it_writes_jobs_and_a_place_for_their_output(project: Path) -> None:
    assert sorted(p.name for p in (project / "jobs").iterdir()) == NAMES and (project / "logs").is_dir()
    assert stat.S_IMODE((project / "jobs" / "cycle.sh").stat().st_mode) == 0o755
    assert load(project / "config.yaml").path("jobs/cpu.sbatch").is_file()  # the default of cycle.slurm.script


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_is_valid_and_explains_every_variable(project: Path, name: str) -> None:
    text = (project / "jobs" / name).read_text()
    assert subprocess.run(["bash", "-n", str(project / "jobs" / name)], check=False).returncode == 0
    head = text[: text.index("set -euo pipefail")]
    used = set(re.findall(r"\$\{?((?:STORMDA|OMP)_?\w*)", text))
    assert {v for v in used if not re.search(rf"(?m)^#   {v}\b", head)} == set()
    if name.endswith("sbatch"):
        wanted = {"requeue", "open-mode", "signal", "output", "nodes", "ntasks", "job-name"}
        options = set(re.findall(r"(?m)^#SBATCH --([\w-]+)", text))
        assert wanted <= options <= wanted | {"gpus-per-node"}  # nothing of a site: account, partition, time, memory


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_does_its_work_wherever_it_lies(project: Path, name: str) -> None:
    environment = os.environ | {"SLURM_JOB_ID": "7"}
    script = shutil.copy(project / "jobs" / name, project.parents[1] / "elsewhere")  # As Slurm copies it.
    done = subprocess.run(["bash", script, "assimilate.seed=$(touch hacked)"], env=environment, check=True)
    words = said(project)
    verb = ["train"] if name == "train.sbatch" else ["cycle", "run"]
    assert done.returncode == 0 and words[: len(verb) + 1] == ["stormda", *verb]
    assert words[len(verb) + 1 : len(verb) + 3] == ["-c", str(project / "config.yaml")]
    assert words[-1] == "assimilate.seed=$(touch hacked)"
    assert ("cycle.launch=[srun]" in words) == (name in ("gpu.sbatch", "mpi.sbatch", "nodes.sbatch"))
    assert not list(project.parents[1].rglob("hacked"))


def test_the_line_of_cron_is_one_command(project: Path) -> None:
    """As cron reads it: `%` ends a command unless it is escaped, and what is left goes to /bin/sh."""
    (line,) = [x for x in (project / "jobs" / "crontab").read_text().splitlines() if x and not x.startswith("#")]
    command = line.split(maxsplit=5)[5]
    assert re.search(r"(?<!\\)%", command) is None
    subprocess.run(["/bin/sh", "-c", command.replace(r"\%", "%")], check=True)
    assert said(project)[:3] == ["stormda", "cycle", "run"] and (project / "logs" / "cycle.jsonl").exists()
    assert not list(project.parents[1].rglob("hacked"))


@pytest.mark.parametrize(
    ("array", "task"), [({}, "7"), ({"SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "3"}, "5_3")]
)
def test_before_its_time_limit_a_task_ends_in_good_order_and_is_put_back(
    project: Path, array: dict[str, str], task: str
) -> None:
    environment = os.environ | {"SLURM_JOB_ID": "7", "FAKE_SLEEP": "30"} | array
    process = subprocess.Popen(["bash", str(project / "jobs" / "cpu.sbatch")], env=environment)
    limit = time.monotonic() + 20
    while "stormda" not in said(project):
        assert time.monotonic() < limit
        time.sleep(0.02)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(10) == 0 and said(project)[-3:] == ["scontrol", "requeue", task]


def test_a_program_that_is_gone_is_told_to_who_gets_the_mail(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORMDA", "/gone/bin/stormda")
    done = subprocess.run(["sh", "-c", '"$0"', str(project / "jobs" / "cycle.sh")], capture_output=True, text=True)
    assert done.returncode == 1 and "FATAL ERROR: the program is not there - file=/gone/bin/stormda" in done.stderr
    assert not (project / "logs" / "cycle.jsonl").exists()  # Which holds lines of JSON alone.


@pytest.mark.parametrize(("code", "ends"), [(0, 0), (1, 1), (3, 3), (4, 0), (5, 5)])
def test_a_task_ends_as_its_cycle_does(project: Path, tmp_path: Path, code: int, ends: int) -> None:
    """But where another process holds the lock nothing is lost."""
    program(tmp_path / "bin" / "stormda", f"exit {code}")
    environment = os.environ | {"SLURM_JOB_ID": "7"}
    done = subprocess.run(["bash", str(project / "jobs" / "cpu.sbatch")], env=environment, check=False)
    assert done.returncode == ends


def test_a_path_that_no_crontab_can_hold() -> None:
    with pytest.raises(ConfigError, match="cannot be printed"):
        jobs("/a\nb", "/usr/bin/stormda")


# --- submit ----------------------------------------------------------------------------------------------------------


def asked(project: Path, *overrides: str) -> tuple[str, ...]:
    """The words of sbatch."""
    chosen = ["cycle.start=2019-02-10T00Z", "observations.sources={}", *overrides]
    return submit(load(project / "config.yaml", chosen), project / "config.yaml", chosen, now=NOW, dry_run=True).command


def test_what_the_site_wants_to_know_reaches_sbatch_word_by_word(project: Path) -> None:
    words = asked(project, "cycle.slurm={account: 'x; rm -rf $HOME', gpus: 2, tasks: 8, extra: ['--constraint=a&b']}")
    assert words[:2] == ("sbatch", "--parsable") and "--array=0-2%1" in words
    assert {"--account=x; rm -rf $HOME", "--gpus-per-node=2", "--ntasks=8", "--constraint=a&b"} <= set(words)
    script = words.index(str(project / "jobs" / "cpu.sbatch"))
    assert words[script + 1 :][:4] == ("-c", str(project / "config.yaml"), "--now", "2019-02-10T12:00Z")
    assert f"--output={str(project).replace('%', '%%')}/logs/slurm-%j.log" in words  # Slurm reads `%&` in the folder.
    assert not any(word.startswith(("--partition", "--time", "--mem")) for word in words)


def test_one_job_at_a_time(project: Path, tmp_path: Path) -> None:
    config = load(project / "config.yaml", ["cycle.start=2019-02-10T00Z", "observations.sources={}"])
    first = submit(config, project / "config.yaml", now=NOW)
    assert first.job == "42" and "3 cycles" in first.words
    (tmp_path / "queue").write_text("RUNNING\nPENDING\n")
    again = submit(config, project / "config.yaml", now=NOW)
    assert again.job is None and "job 42 is still there" in again.words
    (tmp_path / "queue").write_text("")
    assert submit(config, project / "config.yaml", now=NOW).job == "42"
    program(tmp_path / "bin" / "squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert submit(config, project / "config.yaml", now=NOW).job == "42"
    program(tmp_path / "bin" / "squeue", "echo 'Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(StormdaError, match="squeue failed: Unable to contact"):
        submit(config, project / "config.yaml", now=NOW)
    with hold(config.run / "cycle" / "submit.lock", 60.0), pytest.raises(AlreadyRunning):
        submit(config, project / "config.yaml", now=NOW)


def test_nothing_is_submitted_where_nothing_is_due_or_nothing_is_there(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = load(project / "config.yaml", ["cycle.start=2030-01-01", "observations.sources={}"])
    assert submit(later, project / "config.yaml", now=NOW).job is None and said(project) == []
    missing = load(project / "config.yaml", ["cycle.slurm.script=jobs/none.sbatch"])
    with pytest.raises(InputMissing, match="the script is not there"):
        submit(missing, project / "config.yaml", now=NOW)
    monkeypatch.setenv("PATH", str(tmp_path))
    config = load(project / "config.yaml", ["cycle.start=2019-02-10T00Z", "observations.sources={}"])
    with pytest.raises(StormdaError, match="sbatch cannot be run"):
        submit(config, project / "config.yaml", now=NOW)
