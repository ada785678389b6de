"""A few processes that talk to each other, for tests: `ranks(3, function, ...)`."""

import os
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

TIMEOUT = 240  # seconds, of a test and of every exchange; a machine may be busy


def ranks(count: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `function(*arguments)` returns in each of `count` processes of a Gloo group."""
    with tempfile.TemporaryDirectory() as folder:
        context = mp.get_context("fork")
        processes = [context.Process(target=_run, args=(r, count, folder, function, arguments)) for r in range(count)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(TIMEOUT)
        alive = [r for r, process in enumerate(processes) if process.is_alive()]
        for r in alive:
            processes[r].kill()
        failures = [path.read_text() for path in sorted(Path(folder).glob("failed-*"))]
        assert not failures, "\n".join(failures)
        assert not alive, f"processes {alive} did not end"
        return [torch.load(Path(folder) / f"result-{r}", weights_only=False) for r in range(count)]


def _run(rank: int, count: int, folder: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)  # Threads of the parent are not there any more.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    where = f"file://{folder}/store"
    dist.init_process_group("gloo", where, rank=rank, world_size=count, timeout=timedelta(seconds=TIMEOUT))
    try:
        torch.save(function(*arguments), Path(folder) / f"result-{rank}")
        dist.barrier()
    except BaseException:
        (Path(folder) / f"failed-{rank}").write_text(traceback.format_exc())
        os._exit(1)
    os._exit(0)
