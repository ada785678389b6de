"""From several processes to one job: they meet, work, and end together.

    with launched() as job:      # one process: nothing is initialised, torch.distributed not even imported
        ...

Where they meet: MASTER_ADDR and MASTER_PORT, which torchrun sets and anybody may; else on the first host of the node
list of a step of Slurm, at a port made of the numbers of job and step; else at an address that MPI broadcasts, whose
world must be as large as the launcher says (an MPI of another make than `mpiexec` gives every process a world of its
own). MPI is needed for nothing else and is finalised at once.

On the processor they talk through Gloo, on accelerators through NCCL as well; rank r of a host has its r-th device.
Collectives may wait for long, since work differs; a process that fails is known at once (`stormda.distributed.watch`).
All end with its error, which rank 0 says for all: the others have `StormdaError.told`.
"""

__all__ = ["Job", "launched"]

import logging
import os
import secrets
import socket
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from stormda.distributed.ranks import Ranks, find, first_host
from stormda.distributed.watch import Lost, Watch
from stormda.errors import ConfigError, StormdaError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

log = logging.getLogger(__name__)

START = 120.0  # s in which all processes must have come
_WORK = timedelta(days=1)  # that one may wait for another: of those that fail we hear otherwise
_DOUBT = 10.0  # s in which the end of another explains an error that may be its consequence
_TOKEN = "STORMDA_TOKEN"  # a word that all processes of a job have in their environment; empty: rank 0 makes one
_PORTS = 20000, 12000  # the first one, and how many, below those that Linux gives to clients


@dataclass(frozen=True)
class Job:
    """The processes of this job.

    Args:
        ranks: which one this is.
        device: of this process, `cpu` or `cuda`.
    """

    ranks: Ranks
    device: str = "cpu"


@contextmanager
def launched(environment: MutableMapping[str, str] | None = None, accelerators: bool = True) -> Iterator[Job]:
    """Make the processes that were started for this command one job, for the time of the `with`.

    Args:
        environment: that of the process.
        accelerators: whether they may be used, where torch sees some.

    Raises:
        ConfigError: launchers disagree, or the processes cannot find each other.
        StormdaError: another process has failed; of the class of its error. `told` where rank 0 says it.
    """
    environment = os.environ if environment is None else environment
    ranks = find(environment)
    if ranks.size == 1:
        yield Job(ranks)
        return
    environment.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # A lost connection is told of here, in one line.
    host, store = _meet(ranks, environment)
    watch = _watched(ranks, host, store, environment.get(_TOKEN, ""))
    try:
        with _explained(watch):
            yield Job(ranks, _start(ranks, store, watch, environment, accelerators))
            _finish()
    except StormdaError as error:
        error.told = not watch.speaks
        raise
    finally:
        watch.close()
        _stop()


def _meet(ranks: Ranks, environment: Mapping[str, str]) -> "tuple[str, Store]":
    """Where rank 0 is, and a store that all have in common."""
    from torch._C._distributed_c10d import PrefixStore, TCPStore
    from torch.distributed import DistError

    agent = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # torchrun itself has the store.
    attempt = environment.get("TORCHELASTIC_RESTART_COUNT", "0")
    options: dict[str, Any] = {"timeout": timedelta(seconds=START), "wait_for_workers": False}
    host, port, store = "", 0, None
    try:
        if "MASTER_ADDR" in environment and "MASTER_PORT" in environment:
            host, port = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
        elif ranks.launcher == "Slurm":
            host, port = _slurm(ranks, environment)
        else:
            host, port, store = _mpi(ranks, options)
        store = store or TCPStore(host, port, None, ranks.rank == 0 and not agent, **options)
    except (DistError, ValueError) as error:
        what = f"rank {ranks.rank} cannot meet the others at {host}:{port}: {str(error).splitlines()[0]}"
        hint = "is rank 0 alive, and the port free? MASTER_ADDR and MASTER_PORT choose another place"
        raise StormdaError(what, key="cycle.launch", hint=hint) from error
    return host, PrefixStore(f"stormda/{attempt}", store)


def _slurm(ranks: Ranks, environment: Mapping[str, str]) -> tuple[str, int]:
    """The host of the first task, and a port that no other step of a job on it has."""
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    numbers = (environment.get(name, "") for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    job, step = (int(text) if text.isdigit() else 0 for text in numbers)
    first, count = _PORTS
    return "127.0.0.1" if ranks.one_host else first_host(nodes), first + (job * 31 + step) % count


def _mpi(ranks: Ranks, options: Mapping[str, Any]) -> "tuple[str, int, Store | None]":
    """The store of rank 0, whose address MPI tells the others."""
    from torch._C._distributed_c10d import TCPStore

    ours = "mpi4py.MPI" not in sys.modules
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        what = f"{ranks.launcher} started {ranks.size} processes, and mpi4py finds no MPI library: {error}"
        hint = "pip install 'stormda[mpi]' or load the module of MPI; or set MASTER_ADDR and MASTER_PORT"
        raise ConfigError(" ".join(what.split()), key="cycle.launch", hint=hint) from error
    size = MPI.COMM_WORLD.Get_size()
    if size != ranks.size:
        library = MPI.Get_library_version().split("\n")[0].strip(" ,\0")
        raise ConfigError(
            f"{ranks.launcher} started {ranks.size} processes ({ranks.said_by}={ranks.size}), and the MPI of mpi4py "
            f"({library}) sees a world of {size}: it is of another make",
            key="cycle.launch",
            hint="the mpiexec that belongs to that library; or set MASTER_ADDR and MASTER_PORT",
        )
    host = "127.0.0.1" if ranks.one_host else socket.getfqdn()
    store = TCPStore(host, 0, None, True, **options) if ranks.rank == 0 else None
    host, port = MPI.COMM_WORLD.bcast((host, store.port if store else 0))
    if ours:
        MPI.Finalize()
    return host, port, store


def _watched(ranks: Ranks, host: str, store: "Store", token: str) -> Watch:
    """The connections of all processes to rank 0, which know each other by a token."""
    from torch.distributed import DistError

    host = "127.0.0.1" if ranks.one_host else host
    try:
        if ranks.rank == 0:
            made = "" if token else secrets.token_hex(16)
            watch = Watch(0, ranks.size, host, token=token or made)
            store.set("watch", f"{watch.port} {made}")
            return watch
        port, _, made = store.get("watch").decode().partition(" ")
        if bool(made) == bool(token):
            what = f"rank 0 and rank {ranks.rank} do not both have {_TOKEN} in their environment"
            raise ConfigError(what, key="cycle.launch", hint=f"set it for all processes of the job, or unset {_TOKEN}")
        return Watch(ranks.rank, ranks.size, host, int(port), token=token or made)
    except (DistError, OSError) as error:
        what = f"rank {ranks.rank} has no connection to rank 0 at {host}: {str(error).splitlines()[0]}"
        raise StormdaError(what, key="cycle.launch", hint="did all processes start? see their logs") from error


def _start(
    ranks: Ranks, store: "Store", watch: Watch, environment: MutableMapping[str, str], accelerators: bool
) -> str:
    """Start the backends of torch when all processes are there; returns the device."""
    import torch
    import torch.distributed as dist

    device, backend = "cpu", "gloo"
    if accelerators and torch.cuda.is_available():
        device, backend = "cuda", "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(ranks.local_rank % torch.cuda.device_count())
    if ranks.one_host:
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")  # Whatever the name of this host means to its resolver.
    if ranks.rank == 0 and not watch.complete.wait(START):
        what = f"{watch.count} of {ranks.size} processes came within {START:.0f} s"
        raise StormdaError(what, key="cycle.launch", hint="did all of them start? see the log of the launcher")
    dist.init_process_group(backend, store=store, rank=ranks.rank, world_size=ranks.size, timeout=_WORK)
    log.info("%d processes of %s, on %s through %s", ranks.size, ranks.launcher, device, backend)
    return device


@contextmanager
def _explained(watch: Watch) -> Iterator[None]:
    """Tell the others why this process ends, or say which of them was the reason."""
    try:
        with _telling(watch):
            yield
    except Lost as lost:
        assert watch.news is not None
        raise watch.news.error() from lost


@contextmanager
def _telling(watch: Watch) -> Iterator[None]:
    try:
        yield
    except Lost:
        raise
    except BaseException as error:
        watch.deaf = True
        if isinstance(error, RuntimeError):  # Of a collective, where another process is gone: it may say why.
            watch.heard.wait(_DOUBT)
        news = watch.news
        if news is not None and news.rank != watch.rank and not isinstance(error, StormdaError):
            raise news.error() from error
        watch.tell(error)
        raise


def _finish() -> None:
    import torch.distributed as dist

    dist.barrier()


def _stop() -> None:
    import torch.distributed as dist

    if dist.is_initialized():
        with suppress(RuntimeError):
            dist.destroy_process_group()
