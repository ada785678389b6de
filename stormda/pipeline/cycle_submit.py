"""Cycles as jobs of Slurm: one array job, as many tasks as there are cycles to do, one after the other.

Each task is a plain `stormda cycle run`, which does the oldest cycle that is not over: a task that is requeued, or one
too many, does no harm. Nothing is submitted while the last job is still there, so that cron may call this, too.
Values of the configuration reach sbatch as arguments of their own; no shell reads them.
"""

__all__ = ["SubmitResult", "submit"]

import json
import shlex
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stormda.config import Config, SlurmConfig
from stormda.errors import InputMissing, StormdaError
from stormda.pipeline.cycle import run_cycle
from stormda.store.lease import hold
from stormda.store.ledger import ledger_path
from stormda.store.publish import write_json
from stormda.time import format_time

_MOST = 1000  # tasks: Slurm allows 1001 unless a site changed that
_SECONDS = 60.0  # until a client of Slurm counts as hanging


@dataclass(frozen=True)
class SubmitResult:
    """What was submitted.

    Args:
        job: its number; None where nothing was, or would be, submitted.
        cycles: that are to do.
        command: the words of sbatch.
        words: what was done.
    """

    job: str | None
    cycles: int
    command: tuple[str, ...]
    words: str

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people."""
        return self.words, ["command"] if self.command else [], [[shlex.join(self.command)]] if self.command else []


def submit(
    config: Config,
    file: Path,
    overrides: Sequence[str] = (),
    *,
    now: np.datetime64 | None = None,
    dry_run: bool = False,
) -> SubmitResult:
    """Submit what is due.

    Args:
        config: the run.
        file: the configuration, for the job.
        overrides: of it, for the job.
        now: the present time, also of the job; None: the clock of this machine.
        dry_run: show the command, submit nothing.

    Raises:
        InputMissing: the script is not there.
        StormdaError: Slurm refuses, or does not answer.
        AlreadyRunning: another process submits right now.
    """
    script, folder = config.path(config.cycle.slurm.script), file.resolve().parent
    if not script.is_file():
        hint = "stormda init NAME writes one"
        raise InputMissing("the script is not there", file=script, key="cycle.slurm.script", hint=hint)
    count = len(run_cycle(config, now=now, dry_run=True).cycles)
    if count == 0:
        return SubmitResult(None, 0, (), "nothing is due: nothing is submitted")
    words = ["sbatch", "--parsable", f"--job-name=stormda-{config.name}", f"--chdir={folder}"]
    # Slurm reads `%j` in the whole path, the folder's name included, unless its `%` is doubled.
    words += [f"--output={str(folder).replace('%', '%%')}/logs/slurm-%j.log"]
    words += [f"--array=0-{min(count, _MOST) - 1}%1", *_asked(config.cycle.slurm), str(script)]
    words += ["-c", str(file.resolve()), *([] if now is None else ["--now", format_time(now)]), *overrides]
    if dry_run:
        return SubmitResult(None, count, tuple(words), f"{count} cycles would be submitted")
    note = ledger_path(config.run).with_name("submitted.json")
    with hold(note.with_name("submit.lock"), float(config.cycle.lease / np.timedelta64(1, "s"))):
        if (job := _pending(note)) is not None:
            return SubmitResult(None, count, (), f"job {job} is still there: nothing is submitted")
        (folder / "logs").mkdir(exist_ok=True)  # Slurm does not make the folder of its output.
        job = _slurm(words).strip().partition(";")[0]
        write_json(note, {"job": job, "command": words})
    return SubmitResult(job, count, tuple(words), f"job {job}: {count} cycles, one after the other")


def _asked(slurm: SlurmConfig) -> list[str]:
    """Options of sbatch, one a word."""
    values = {
        "account": slurm.account,
        "partition": slurm.partition,
        "qos": slurm.qos,
        "time": slurm.time,
        "nodes": slurm.nodes,
        "ntasks": slurm.tasks,
        "cpus-per-task": slurm.cpus,
        "gpus-per-node": slurm.gpus,
        "mem": slurm.memory,
    }
    return [f"--{name}={value}" for name, value in values.items() if value is not None] + list(slurm.extra)


def _pending(note: Path) -> str | None:
    """The job that was submitted last, where it is not over."""
    job = ""
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        job = str(json.loads(note.read_text(encoding="utf-8"))["job"])
    if not job:
        return None
    try:
        states = _slurm(["squeue", "--noheader", "--format=%T", f"--jobs={job}"])
    except StormdaError as error:
        if "Invalid job id" in error.what:  # Slurm has forgotten it.
            return None
        raise
    return job if states.strip() else None


def _slurm(words: Sequence[str]) -> str:
    """What a client of Slurm says; raises StormdaError where it fails."""
    key, hint = "cycle.slurm", f"try it by hand: {words[0]} --version"
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except OSError as error:
        what = f"{words[0]} cannot be run: {error.strerror}"
        raise StormdaError(what, key=key, hint="--submit needs Slurm's clients in PATH") from error
    except subprocess.TimeoutExpired:
        raise StormdaError(f"{words[0]} does not answer within {_SECONDS:g} s", key=key, hint=hint) from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split()) or "it said nothing"
        raise StormdaError(f"{words[0]} failed: {said}", key=key, hint=hint)
    return done.stdout
