"""A real Slurm of its own on this machine: its configuration, key, sockets, ports and state lie in one folder.

Two nodes are two slurmd on one host. Jobs of partition `high` displace those of `low`, which are put back. What was
put back waits for the lifetime of a credential (`cred_expire`, two minutes unless a site changes it) before it begins.
"""

import os
import pwd
import re
import secrets
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

import psutil

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "scancel")
PATIENCE = 120.0  # s until something that must happen counts as hanging
OVER = ("BOOT_FAIL", "CANCELLED", "COMPLETED", "FAILED", "NODE_FAIL", "TIMEOUT")
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
MpiDefault=none
KillWait=5
SlurmdTimeout=6
MessageTimeout=5
SlurmdParameters=config_overrides
SlurmctldPort={ports[0]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
StateSaveLocation={folder}/state
SlurmdPidFile={folder}/%n.pid
SlurmdLogFile={folder}/%n.log
SlurmdSpoolDir={folder}/spool-%n
GresTypes=gpu
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=1000 Gres=gpu:1
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=1000 Gres=gpu:1
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE State=UP
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF State=UP
"""


def found(name: str) -> str | None:
    """A program of Slurm, which may be in a folder of the administrator."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def until(true: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Wait until something is so."""
    limit = monotonic() + seconds
    while not true():
        assert monotonic() < limit, f"it does not happen: {what}"
        sleep(0.1)


class Slurm:
    """The daemons, and what they say.

    Args:
        folder: where everything of it lies; its name has no character that slurm.conf reads.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.daemons = folder, dict[str, "subprocess.Popen[bytes]"]()
        host, user = socket.gethostname(), pwd.getpwuid(os.geteuid()).pw_name
        text = CONFIGURATION.format(host=host, user=user, folder=folder, ports=_ports(3))
        (folder / "slurm.conf").write_text(text)
        (folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")  # An accelerator that nobody talks to.
        (folder / "munge.key").write_bytes(secrets.token_bytes(128))
        (folder / "munge.key").chmod(0o600)
        for name in ("state", "spool-n1", "spool-n2"):
            (folder / name).mkdir()

    @property
    def environment(self) -> dict[str, str]:
        """For its clients."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def start(self) -> None:
        """Until both nodes are idle."""
        files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        munge = [f"--{option}={self.folder}/munge.{suffix}" for option, suffix in files.items()]
        self._daemon("munged", "--force", "--foreground", *munge)
        until((self.folder / "munge.socket").exists, "munged listens")
        self._daemon("slurmctld", "-D", "-f", self.environment["SLURM_CONF"])
        for node in ("n1", "n2"):
            self.begin(node)
        until(lambda: self.state("n1") == self.state("n2") == "IDLE", "two nodes are idle")

    def begin(self, node: str) -> None:
        """Start a node."""
        self._daemon("slurmd", "-D", "-f", self.environment["SLURM_CONF"], "-N", node, name=node)

    def _daemon(self, program: str, *words: str, name: str = "") -> None:
        with (self.folder / f"{name or program}.out").open("ab") as file:
            self.daemons[name or program] = subprocess.Popen(
                [str(found(program)), *words], stdout=file, stderr=file, env=os.environ | self.environment
            )

    def stop(self) -> None:
        """Everything, jobs included."""
        with suppress(subprocess.SubprocessError, AssertionError):
            self.ask("scancel", f"--user={pwd.getpwuid(os.geteuid()).pw_name}")
            until(lambda: not self._steps(), "jobs end", 15)
        self._kill()
        for name in reversed(self.daemons):
            self.daemons[name].terminate()
        for daemon in self.daemons.values():
            with suppress(subprocess.TimeoutExpired):
                daemon.wait(10)
            daemon.kill()

    def ask(self, *words: str) -> str:
        """What a client says."""
        done = subprocess.run(
            words, env=os.environ | self.environment, capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout

    def state(self, node: str) -> str:
        """Of a node; empty where nobody answers."""
        with suppress(subprocess.CalledProcessError):
            return str(_field("State", self.ask("scontrol", "show", "node", "-o", node)))
        return ""

    def jobs(self, number: str) -> list[dict[str, str]]:
        """Of every task of a job: JobState, Restarts, ExitCode, NodeList, Reason."""
        names = ("JobId", "JobState", "Restarts", "ExitCode", "NodeList", "Reason", "BatchHost")
        lines = self.ask("scontrol", "show", "job", "-o", number).splitlines()
        return [{name: _field(name, line) or "" for name in names} for line in lines if line.strip()]

    def ended(self, number: str, seconds: float = PATIENCE) -> list[dict[str, str]]:
        """The tasks of a job when all are over."""
        until(lambda: all(j["JobState"] in OVER for j in self.jobs(number)), number, seconds)
        return self.jobs(number)

    def lose(self, node: str) -> None:
        """A node fails: everything on it is gone at once, and it does not come back by itself."""
        daemon = self.daemons.pop(node)
        daemon.kill()
        daemon.wait()
        self._kill(node)

    def _kill(self, node: str = "") -> None:
        for step in self._steps(node):
            for process in [*step.children(recursive=True), step]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()

    def _steps(self, node: str = "") -> list[psutil.Process]:
        """What watches the jobs of a node: processes that listen in its spool."""
        steps = []
        for process in psutil.process_iter(["name"]):
            with suppress(psutil.Error):
                if process.info["name"] == "slurmstepd" and str(self.folder / f"spool-{node}") in _places(process):
                    steps.append(process)
        return steps


def _places(process: psutil.Process) -> str:
    return " ".join(str(c.laddr) for c in process.net_connections("unix"))


def _field(name: str, line: str) -> str | None:
    match = re.search(rf"\b{name}=(\S*)", line)
    return None if match is None else match[1]


def _ports(count: int) -> list[int]:
    """Free ones."""
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [int(s.getsockname()[1]) for s in sockets]
    for s in sockets:
        s.close()
    return ports


@contextmanager
def slurm(folder: Path) -> Iterator[Slurm]:
    """One that runs."""
    cluster = Slurm(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
