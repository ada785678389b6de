"""Who does work that can be done in parts: processes of this machine, or the workers of a Dask scheduler.

Both are a `concurrent.futures.Executor`, so that nothing else knows which it is. Dask is an extra (`pip install
'stormda[dask]'`). Its workers may be on other machines: they need the same version of stormda and see the same files
under the same names. `local:N` starts a scheduler and N workers here for the time of the command.
"""

__all__ = ["workers"]

import logging
from collections.abc import Iterator
from concurrent.futures import CancelledError, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib import import_module
from multiprocessing import get_context
from typing import Any

from stormda.config import IngestConfig
from stormda.errors import ConfigError
from stormda.store.archive_blocks import Workers

_PATIENCE = 20  # s, for a scheduler to answer
_ALONE = "a damaged file, or too little memory: ingest.processes=1 tells which file it is"
_ALONE_DASK = (
    "a damaged file, or too little memory: the logs of the workers, or ingest.dask=null, tell which file it is"
)


@contextmanager
def workers(config: IngestConfig) -> Iterator[Workers | None]:
    """The workers that the configuration names; None: this process alone.

    Raises:
        ConfigError: Dask is not installed, no scheduler answers, or it has no worker.
    """
    if config.dask is not None:
        with _dask(config.dask) as found:
            yield found
    elif config.processes > 1:
        # A new interpreter, not a fork: that of a process with threads is not safe.
        with ProcessPoolExecutor(config.processes, mp_context=get_context("spawn")) as pool:
            yield Workers(pool, config.processes, (BrokenProcessPool,), "ingest.processes", _ALONE)
    else:
        yield None


@contextmanager
def _dask(where: str) -> Iterator[Workers]:
    key = "ingest.dask"
    try:
        distributed = import_module("distributed")
        start, connect = distributed.LocalCluster, distributed.Client
    except (ImportError, AttributeError) as error:
        raise ConfigError("Dask is not installed", key=key, hint="pip install 'stormda[dask]'") from error
    local, _, number = where.partition(":")
    if local == "local":
        cluster = start(
            n_workers=int(number or 2),
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            silence_logs=logging.ERROR,
        )
        with cluster, connect(cluster) as client:
            yield _of(distributed, client, int(number or 2))
        return
    try:
        client = connect(where, timeout=_PATIENCE)
    except (OSError, TimeoutError, ValueError) as error:
        hint = "`dask scheduler` starts one and tells its address"
        raise ConfigError(f"no Dask scheduler answers at {where}", key=key, hint=hint) from error
    with client:
        count = sum(client.nthreads().values())
        if not count:
            raise ConfigError(f"the Dask scheduler at {where} has no worker", key=key, hint=f"dask worker {where}")
        yield _of(distributed, client, count)


def _of(distributed: Any, client: Any, count: int) -> Workers:
    """Those that a client of Dask hands work to; what it says of a worker, or a scheduler, that died."""
    died = (distributed.KilledWorker, CancelledError)
    return Workers(client.get_executor(pure=False, retries=0), count, died, "ingest.dask", _ALONE_DASK)
