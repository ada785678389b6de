"""What `stormda init` writes, under the schedulers that it is written for: a real Slurm and a real cron.

A task is disturbed while its forecast waits at a gate: its analysis is published by then. Whatever Slurm does to it,
the task that is put back goes on at the forecast, and everything is as in a run that nobody disturbed.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from cycle_world import Project
from safetensors.torch import load_file
from slurm_world import NEEDED, OVER, Slurm, found, slurm, until
from tiny_world import FIRST, TIMES, World, command, stamp

from stormda.pipeline.cycle import catch_up
from stormda.pipeline.cycle_submit import SubmitResult, submit
from stormda.pipeline.init import init

pytestmark = [pytest.mark.schedulers, pytest.mark.timeout(600)]

NASTY = "a b'c\"d$(touch hacked)`touch hacked`;%j&e"
GATED = """#!{python}
import os, sys, time
from pathlib import Path
from stormda.pipeline import forecast
from stormda.training import loop

def gated(*arguments, whole=forecast.forecast, **options):
    Path({gate!r}).with_name("reached").touch()
    while not Path({gate!r}).exists():
        time.sleep(0.05)
    return whole(*arguments, **options)

def slow(*arguments, whole=loop._step, **options):
    time.sleep(0 if Path({gate!r}).exists() else 0.2)
    return whole(*arguments, **options)

forecast.forecast, loop._step = gated, slow
from stormda.cli.main import main
main(sys.argv[1:])
"""
Make = Callable[..., Project]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A Slurm with two nodes."""
    if missing := [name for name in NEEDED if found(name) is None]:
        pytest.skip(f"no Slurm: {', '.join(missing)} not found (Debian: apt-get install slurm-wlm munge)")
    with slurm(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture
def project(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A project as `stormda init` writes it, with the tiny world's configuration, in a folder that shells love."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def make(cycles: int = 1, **cycle: object) -> Project:
        folder = tmp_path / NASTY / "project"
        folder.parent.mkdir()
        init(folder, "minimal")
        p = Project(world, folder, {"end": stamp(FIRST + cycles - 1), "lead": "6h", "lease": "5s"} | cycle)
        p.deliver(*range(FIRST, FIRST + cycles))
        return p

    return make


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file without which no forecast begins (`reached` beside it tells that one would) and a training is slow."""
    (tmp_path / "gate").mkdir()
    program = tmp_path / "gate" / "stormda"
    program.write_text(GATED.format(python=sys.executable, gate=str(tmp_path / "gate" / "open")))
    program.chmod(0o755)
    monkeypatch.setenv("STORMDA", str(program))
    return tmp_path / "gate" / "open"


def sent(cluster: Slurm, monkeypatch: pytest.MonkeyPatch, p: Project, *overrides: str) -> SubmitResult:
    """What is due, submitted as `stormda cycle run --submit` does."""
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    result = submit(p.config(*overrides), p.folder / "config.yaml", overrides)
    assert result.job, result.words
    return result


def whole(p: Project, cycles: int = 1) -> None:
    """Everything is there, made once, and as in a run that nobody disturbed."""
    assert p.states() == ["done"] * cycles and p.double_runs() == 0
    assert p.half_written() == [] and p.left() == set()
    assert len(list((p.run / "forecasts" / "gaussian").glob("*/forecast_*.nc"))) == cycles
    reference = Project(p.world, p.folder.parents[1] / "reference", {})
    reference.deliver(*range(FIRST, FIRST + cycles))
    catch_up(reference.config(), now=TIMES[FIRST + cycles - 1])
    for k in range(FIRST, FIRST + cycles):
        np.testing.assert_array_equal(p.analysis(k), reference.analysis(k))
    assert not list(p.folder.parents[1].rglob("hacked"))


def talk(p: Project) -> str:
    """What the tasks said."""
    return "\n".join(log.read_text() for log in sorted((p.folder / "logs").glob("*.log")))


def disturbed(cluster: Slurm, p: Project, gate: Path, job: str, disturb: Callable[[dict[str, str]], object]) -> None:
    """A task is disturbed at its gate, put back, and goes on: what was published is not made again."""
    until(lambda: gate.with_name("reached").exists() or cluster.jobs(job)[0]["JobState"] in OVER, "a forecast begins")
    assert gate.with_name("reached").exists(), (cluster.jobs(job), talk(p))
    made = (p.product(FIRST) / "provenance.json").stat().st_mtime_ns
    (task,) = cluster.jobs(job)
    disturb(task)
    until(lambda: cluster.jobs(job)[0]["Restarts"] == "1", "the task is put back")
    gate.touch()
    (task,) = cluster.ended(job)
    assert (task["JobState"], task["ExitCode"], task["Restarts"]) == ("COMPLETED", "0:0", "1")
    assert (p.product(FIRST) / "provenance.json").stat().st_mtime_ns == made
    whole(p)


def test_an_array_makes_one_cycle_a_task(project: Make, cluster: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    p = project(cycles=3)
    result = sent(cluster, monkeypatch, p, "assimilate.seed=0")
    again = submit(p.config(), p.folder / "config.yaml")
    assert again.job is None and "is still there" in again.words
    tasks = cluster.ended(str(result.job))
    assert [(t["JobState"], t["ExitCode"]) for t in tasks] == [("COMPLETED", "0:0")] * 3, talk(p)
    whole(p, 3)
    logs = sorted((p.folder / "logs").glob("slurm-*.log"))
    lines = [json.loads(line) for log in logs for line in log.read_text().splitlines() if line.startswith("{")]
    assert len(logs) == 3 and sum(line.get("stage") == "assimilate" for line in lines) == 3
    assert submit(p.config(), p.folder / "config.yaml").words == "nothing is due: nothing is submitted"


def test_an_accelerator_is_asked_for(project: Make, cluster: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    p = project()
    job = str(sent(cluster, monkeypatch, p, "cycle.slurm.script=jobs/gpu.sbatch").job)
    assert cluster.ask("scontrol", "show", "job", "-o", job).count("gres:gpu:1") >= 1
    assert cluster.ended(job)[0]["JobState"] == "COMPLETED", talk(p)
    whole(p)


def test_the_analysis_is_a_step_of_its_own(project: Make, cluster: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    p = project(lead="0h")
    step = "cycle.slurm.script=jobs/mpi.sbatch"
    two = str(sent(cluster, monkeypatch, p, step, "cycle.slurm.tasks=2", "assimilate.batch=2").job)
    assert cluster.ended(two)[0]["ExitCode"] == "0:0", talk(p)
    assert p.provenance(FIRST)["processes"] == 2
    assert p.states() == ["done"] and p.half_written() == []
    assert p.provenance(FIRST)["command"].split()[1] == "assimilate"  # and not `cycle run`


def test_a_task_that_is_preempted_goes_on(
    project: Make, gate: Path, cluster: Slurm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    p = project()
    job = str(sent(cluster, monkeypatch, p).job)
    urgent = tmp_path / "urgent"
    urgent.write_text("#!/bin/sh\nsleep 5\n")

    def displace(task: dict[str, str]) -> None:
        place = f"--nodelist={task['NodeList']}"
        cluster.ask("sbatch", "--partition=high", "--exclusive", place, "--output=/dev/null", str(urgent))

    disturbed(cluster, p, gate, job, displace)


def test_a_task_whose_node_fails_goes_on_on_another(
    project: Make, gate: Path, cluster: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    p = project()
    job = str(sent(cluster, monkeypatch, p).job)
    lost: list[str] = []

    def lose(task: dict[str, str]) -> None:
        lost.append(task["NodeList"])
        cluster.lose(lost[0])

    try:
        disturbed(cluster, p, gate, job, lose)
        assert {*lost, cluster.jobs(job)[0]["NodeList"]} == {"n1", "n2"}
    finally:
        for node in lost:
            cluster.begin(node)
            until(lambda: cluster.state(lost[0]) == "IDLE", "the node is there again")


def test_a_task_ends_in_good_order_before_its_time_limit_and_goes_on(
    project: Make, gate: Path, cluster: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm looks at its jobs every 30 s, and gives a signal that much earlier: of three minutes 30 to 60 s pass."""
    p = project()
    job = str(sent(cluster, monkeypatch, p, "cycle.slurm.time=00:03:00").job)
    disturbed(cluster, p, gate, job, lambda task: None)
    assert p.rows("SELECT attempts FROM cycles") == [(0,)]  # A task that is ended in good order counts as no attempt.
    assert any("interrupted by SIGTERM" in log.read_text() for log in (p.folder / "logs").glob("*.log"))


def test_a_training_writes_its_checkpoint_before_its_time_limit_and_goes_on(
    project: Make, gate: Path, cluster: Slurm
) -> None:
    """To the same weights, bit by bit, as one that was never interrupted."""
    p = project()
    steps = ("train.steps=400", "train.validate_every=200", "storm.background_modes=0", "train.checkpoint_every=1h")
    log = f"--output={str(p.folder).replace('%', '%%')}/logs/train.log"
    words = "sbatch", "--parsable", "--time=3", f"--chdir={p.folder}", log, str(p.folder / "jobs" / "train.sbatch")
    job = cluster.ask(*words, *steps).strip()
    until(lambda: cluster.jobs(job)[0]["Restarts"] == "1", "the task is put back")
    reached = torch.load(p.run / "training" / "checkpoint.pt", weights_only=True)["state"]["step"]
    assert 0 < reached < 400  # Its end alone writes one: the span between two is an hour.
    gate.touch()
    assert cluster.ended(job, 300.0)[0]["JobState"] == "COMPLETED", talk(p)
    reference = Project(p.world, p.folder.parents[1] / "reference", {})
    assert command("train", "-c", reference.folder / "config.yaml", *steps).code == 0
    mine, wanted = (load_file(run / "weights.safetensors") for run in (p.run, reference.run))
    assert mine.keys() == wanted.keys() and all(torch.equal(mine[name], wanted[name]) for name in wanted)


# --- cron ------------------------------------------------------------------------------------------------------------

OWN = """
mount --make-rprivate /
mount --bind "$1/spool" /var/spool/cron
mount --bind "$1/empty" /etc/cron.d
mount --bind /dev/null /etc/crontab
mount -t tmpfs tmpfs /run
chown root:crontab /var/spool/cron/crontabs
chmod 1730 /var/spool/cron/crontabs
crontab "$1/tab"
exec cron -f
"""


@pytest.fixture
def cron(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """`cron(text)` starts a real cron with this table alone: its spool and its lock are seen by nobody else."""
    if missing := [name for name in ("cron", "crontab", "unshare", "mount") if found(name) is None]:
        pytest.skip(f"no cron: {', '.join(missing)} not found (Debian: apt-get install cron)")
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("only root, and not in every container, may give cron a spool of its own")
    started: list[subprocess.Popen[bytes]] = []

    def start(table: str) -> None:
        folder = tmp_path / "cron"
        (folder / "spool" / "crontabs").mkdir(parents=True)
        (folder / "empty").mkdir()
        (folder / "tab").write_text(table)
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        started.append(subprocess.Popen(["unshare", "--mount", "sh", "-ec", OWN, "sh", str(folder)], env=environment))

    yield start
    for process in started:
        process.terminate()
        process.wait(10)


def test_cron_calls_the_line_that_was_written(project: Make, cron: Callable[[str], None]) -> None:
    """Nobody waits for five minutes here: the first field is the only thing that is changed."""
    p = project()
    table, count = re.subn(r"(?m)^\*/5 ", "* ", (p.folder / "jobs" / "crontab").read_text())
    assert count == 1
    log = p.folder / "logs" / "cycle.jsonl"
    cron(table)
    until(lambda: log.exists() and '"state": "done"' in log.read_text(), "a call within the minute")
    until(lambda: not (p.run / "cycle" / "lock").exists(), "the call ends")
    assert all(isinstance(json.loads(line), dict) for line in log.read_text().splitlines())
    whole(p)
