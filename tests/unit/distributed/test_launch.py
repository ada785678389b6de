"""Processes meet, work together and end together: one that fails takes the others with it, and they know why."""

import json
import multiprocessing as mp
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from stormda.distributed import launch
from stormda.distributed.launch import Job, launched
from stormda.distributed.ranks import Ranks
from stormda.distributed.watch import Lost, News, Watch
from stormda.distributed.world import World
from stormda.errors import AnalysisRejected, StormdaError

LONG, PROMPT = 120.0, 45.0
"""s: of work that nobody may wait for; until its end is heard of, on a machine with twenty processes a core."""

Work = Callable[[Job], None]


def environment(rank: int, size: int, port: int) -> dict[str, str]:
    """What torchrun says on one host."""
    words = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    return {name: str(value) for name, value in words.items()} | {"MASTER_ADDR": "127.0.0.1"}


def several(
    folder: Path, works: list[Work], size: int | None = None, more: Sequence[Mapping[str, str]] = ()
) -> tuple[list[str], float]:
    """Each work in a process: how it ended, empty where by a kill, and how many seconds it took all of them."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    context, begin = mp.get_context("fork"), time.monotonic()
    words = [environment(rank, size or len(works), port) for rank in range(len(works))]
    own = dict(enumerate(more))
    words = [word | dict(own.get(rank, {})) for rank, word in enumerate(words)]
    processes = [context.Process(target=_run, args=(folder, *both)) for both in zip(works, words, strict=True)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(LONG)
        process.kill()
    ends = [folder / f"end-{rank}" for rank in range(len(works))]
    return [end.read_text() if end.exists() else "" for end in ends], time.monotonic() - begin


def _run(folder: Path, work: Work, words: Mapping[str, str]) -> None:
    torch.set_num_threads(1)  # Those of the parent are not there any more.
    end = "done"
    try:
        with launched(dict(words)) as job:
            work(job)
    except StormdaError as error:
        end = f"{type(error).__name__}: {error}" + "; told" * error.told
    (folder / f"end-{words['RANK']}").write_text(end)
    os._exit(0)


def wait_for_others(job: Job) -> None:
    World(job.ranks.rank, job.ranks.size).wait()


def compute(job: Job) -> None:
    """Work that talks to nobody."""
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        sum(range(10000))


def be_killed(job: Job) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def be_rejected(job: Job) -> None:
    raise AnalysisRejected("the analysis is not finite", key="assimilate.limit", hint="look")


def be_wrong(job: Job) -> None:
    raise ValueError("nobody foresaw this")


def test_one_process_is_a_job() -> None:
    with launched({}) as job:
        assert job == Job(Ranks())
    assert not torch.distributed.is_initialized()


def test_what_ranks_share(tmp_path: Path) -> None:
    def share(job: Job) -> None:
        world = World(job.ranks.rank, job.ranks.size)
        rows = torch.arange(3.0 * world.rank, dtype=torch.float64).reshape(-1, 3)  # None, one and two rows.
        assert world.gather(rows).tolist() == [[0, 1, 2], [0, 1, 2], [3, 4, 5]]
        assert world.sum(torch.tensor([1.0, world.rank])).tolist() == [3.0, 3.0]
        assert world.spread(lambda: {"read": world.rank}) == {"read": 0}

    ends, _ = several(tmp_path, [share] * 3)
    assert ends == ["done"] * 3


@pytest.mark.parametrize("other", [wait_for_others, compute])
@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (be_rejected, "AnalysisRejected: rank {} ended: the analysis is not finite - key=assimilate.limit; hint: look"),
        (be_killed, "StormdaError: rank {} ended: it vanished without a word; hint: was it killed"),
        (be_wrong, "StormdaError: rank {} ended: ValueError: nobody foresaw this"),
    ],
)
@pytest.mark.parametrize("rank", [0, 1])
def test_one_that_fails_ends_all_with_its_reason(
    tmp_path: Path, rank: int, work: Work, reason: str, other: Work
) -> None:
    works = [other] * 3
    works[rank] = work
    ends, seconds = several(tmp_path, works)
    told = [end for r, end in enumerate(ends) if r != rank]
    assert all(end.startswith(reason.format(rank)) for end in told), ends
    # Rank 0 says it for all, and everybody where it is gone; of what nobody foresaw a process leaves its traceback.
    says = [r for r, end in enumerate(ends) if end and not end.endswith("; told")]
    of_first = [1, 2] if work is be_killed else [] if work is be_wrong else [0]
    assert says == (of_first if rank == 0 else [0])
    assert seconds < PROMPT


def test_one_that_never_comes_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "START", 3.0)
    ends, seconds = several(tmp_path, [wait_for_others], size=2)
    assert ends[0].startswith("StormdaError: 1 of 2 processes came within 3 s - key=cycle.launch")
    assert seconds < PROMPT


def test_nobody_at_the_place_where_all_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "START", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(StormdaError, match=f"rank 1 cannot meet the others at 127.0.0.1:{port}"):
        with launched(environment(1, 2, port)):
            pytest.fail("there was nobody")


def test_steps_of_slurm_meet_at_places_of_their_own() -> None:
    here = {"SLURM_STEP_NODELIST": "gpu[003-004]", "SLURM_JOB_ID": "1234", "SLURM_STEP_ID": "0"}
    host, port = launch._slurm(Ranks(1, 4, 1, 2), here)
    assert host == "gpu003" and launch._slurm(Ranks(1, 2, 1, 2), here) == ("127.0.0.1", port)
    ports = {launch._slurm(Ranks(), here | {"SLURM_STEP_ID": str(n)})[1] for n in range(20)}
    ports |= {launch._slurm(Ranks(), here | {"SLURM_JOB_ID": str(1234 + n)})[1] for n in range(20)}
    assert len(ports) == 39 and all(20000 <= p < 32000 for p in ports)


def test_an_mpi_whose_world_is_another_is_refused() -> None:
    """A process that no mpiexec started is a world of its own."""
    code = (
        "from stormda.distributed import launch, ranks\n"
        "try:\n    launch._mpi(ranks.Ranks(0, 4, 0, 4, 'MPI', 'PMI_SIZE'), {})\n"
        "except Exception as error:\n    print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    if "finds no MPI library" in done.stdout:
        pytest.skip("no MPI library: pip install 'stormda[mpi]'")
    assert re.match(r"ConfigError MPI started 4 processes \(PMI_SIZE=4\), .* sees a world of 1:", done.stdout)


def test_who_does_not_know_the_token_is_not_heard() -> None:
    """Nor who says too much before it, or a rank that is there already."""
    watch = Watch(0, 3, "127.0.0.1", token="word")
    place = "127.0.0.1", watch.port
    news = json.dumps(asdict(News(1, "StormdaError", "a stranger ends the job"))).encode()
    one = Watch(1, 3, *place, token="word")
    try:
        for first in (b"2\n", b"2 wrong\n", b"2 \n", b"0 word\n", b"9 word\n", b"1 word\n", b"2 " + b"x" * 1000):
            with socket.create_connection(place, timeout=10.0) as stranger:
                stranger.sendall(first + news + b"\n")
                with suppress(ConnectionError):
                    assert stranger.recv(1) == b"", first  # It is shown the door,
            assert watch.news is None and watch.count == 2 and not watch.complete.is_set()  # and nothing else happens.
        two = Watch(2, 3, *place, token="word")
        assert watch.complete.wait(10.0)
        two.close()
    finally:
        one.close()
        watch.close()


def test_a_token_of_the_environment_is_for_all_or_for_nobody(tmp_path: Path) -> None:
    def given(*tokens: str) -> list[str]:
        folder = tmp_path / "-".join(["tokens", *tokens])
        folder.mkdir()
        more = [{"STORMDA_TOKEN": token} for token in tokens]
        return several(folder, [wait_for_others] * len(tokens), more=more)[0]

    assert given("secret", "secret") == ["done", "done"]
    assert given("secret", "")[1].startswith("ConfigError: rank 0 and rank 1 do not both have STORMDA_TOKEN")


def test_who_tidies_up_already_is_not_interrupted() -> None:
    watch = Watch(0, 2, "127.0.0.1", token="word")
    try:
        watch.news = News(1, "StormdaError", "gone")
        with pytest.raises(Lost):
            watch._interrupt(0, None)
        try:
            raise RuntimeError("a collective broke off")
        except RuntimeError:
            watch._interrupt(0, None)  # Else what follows here would not be done.
    finally:
        watch.close()
