"""Several processes make the same files as one, to the last bit; one that fails takes the others with it."""

import json
import multiprocessing as mp
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_world import FIRST, World, child, hidden, stamp, visible

from stormda.observations import QC
from stormda.store.analysis import read_analysis
from stormda.store.feedback import read_feedback

DRAW = ("assimilate", "--cycle", stamp(FIRST), "--cycle", stamp(FIRST + 1))
SMALL = ("quality.withhold.seeds=[0]", "assimilate.ensemble=10", "assimilate.batch=4")  # 4 + 4 + 2 members
TRAIN = ("storm.tile=2", "storm.halo=1", "train.steps=20", "train.validate_every=20", "train.members=0")
PROMPT = 60.0  # s until a job has ended whose rank was killed; the others would work and wait for much longer


def started(
    arguments: Sequence[str], size: int, folder: Path, prepare: Callable[[int], None] = lambda rank: None
) -> tuple[list[int | None], list[str]]:
    """Run a command in `size` processes as torchrun starts them: exit codes, and what they said."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    context, talks = mp.get_context("fork"), [folder / f"talk-{rank}" for rank in range(size)]
    processes = [
        context.Process(target=_run, args=(list(arguments), talk, rank, size, port, prepare))
        for rank, talk in enumerate(talks)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(280)
        process.kill()
        process.join()
    return [process.exitcode for process in processes], [talk.read_text() for talk in talks]


def _run(arguments: list[str], talk: Path, rank: int, size: int, port: int, prepare: Callable[[int], None]) -> None:
    torch.set_num_threads(1)  # Threads of the parent are not there any more.
    words = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in words.items()} | {"MASTER_ADDR": "127.0.0.1"}
    prepare(rank)
    child(arguments, talk)


def again(world: World, run: Path, *arguments: str) -> list[str]:
    """The words of a command on a run folder of its own, a copy of the ingested one where it is new."""
    if not run.exists():
        shutil.copytree(world.folder / "run", run)
    verb, *rest = arguments
    return [verb, "-c", str(world.config), *rest, *SMALL, f"run_dir={run}"]


def same(one: Path, many: Path, kind: str) -> None:
    """All NetCDF files have the same bytes, and nothing else is there; provenance but for time and place."""
    assert visible(one / kind) == visible(many / kind) != set()
    assert hidden(many) == set()
    for name in sorted(visible(one / kind)):
        a, b = one / kind / name, many / kind / name
        if a.suffix == ".nc":
            assert a.read_bytes() == b.read_bytes(), name
        if a.name == "provenance.json":
            assert facts(a) == facts(b)


def facts(path: Path) -> dict[str, Any]:
    known = json.loads(path.read_text())
    return {name: known[name] for name in ("members", "used", "withheld", "counts", "inputs", "sampler", "history")}


@pytest.fixture(scope="module")
def trained(world: World, few_draws: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a few steps, whose draws are as hard to repeat as good ones."""
    run = tmp_path_factory.mktemp("trained") / "run"
    codes, said = started(again(world, run, "train", *TRAIN), 1, run.parent)
    assert codes == [0], said
    return run / "weights.safetensors"


@pytest.fixture(scope="module", params=["gaussian", "storm"])
def alone(
    request: pytest.FixtureRequest, world: World, trained: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[str], Path]:
    """The words of a method, and the run folder of one process: two analyses, and a forecast from the first."""
    words = [f"assimilate.method={request.param}", f"storm.weights={trained}"]
    run = tmp_path_factory.mktemp(request.param) / "run"
    for verb in (DRAW, ("forecast", "--cycle", stamp(FIRST), "--lead", "12h")):
        codes, said = started(again(world, run, *verb, *words), 1, run.parent)
        assert codes == [0], said
    return words, run


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.soak), pytest.param(4, marks=pytest.mark.soak)])
def test_several_processes_are_one(world: World, alone: tuple[list[str], Path], tmp_path: Path, size: int) -> None:
    """With 4 ranks one of them has nothing to draw; of 3 batches, the last one is half full."""
    words, one = alone
    codes, said = started(again(world, tmp_path / "run", *DRAW, *words), size, tmp_path)
    assert codes == [0] * size, said
    same(one, tmp_path / "run", "analyses")
    assert "10 members, method" in said[0] and said[1] == ""
    made = (tmp_path / "run" / "analyses").glob("*/*/provenance.json")
    assert [json.loads(path.read_text())["processes"] for path in made] == [size, size]
    assert ("are work for 3 of 4 processes" in said[0]) == (size == 4)
    forecast = again(world, tmp_path / "run", "forecast", "--cycle", stamp(FIRST), "--lead", "12h", *words)
    codes, said = started(forecast, size, tmp_path)
    assert codes == [0] * size, said
    same(one, tmp_path / "run", "forecasts")


def test_a_method_that_is_not_divided_is_drawn_by_one_of_them(world: World, tmp_path: Path) -> None:
    for size, name in ((1, "one"), (2, "two")):
        words = again(world, tmp_path / name, *DRAW, "assimilate.method=letkf")
        codes, said = started(words, size, tmp_path)
        assert codes == [0] * size, said
    same(tmp_path / "one", tmp_path / "two", "analyses")
    assert "letkf is the work of one process" in said[0]


def alike(one: Path, many: Path, kind: str) -> None:
    """The same observations are used and rejected, and fields differ by 1e-3 of their standard deviation at most.

    In float32 a step rounds to 1e-7, which the solver may increase by its condition, some 1e3.
    """
    assert visible(one / kind) == visible(many / kind) != set()
    assert hidden(many) == set()
    for name in sorted(visible(one / kind)):
        a, b = one / kind / name, many / kind / name
        if a.name == "feedback.nc":
            seen, found = read_feedback(a), read_feedback(b)
            assert np.array_equal(seen.observations["qc"], found.observations["qc"])
            assert (seen.observations["qc"] == QC.USED).sum() > 50
        elif a.suffix == ".nc":
            x, y = read_analysis(a), read_analysis(b)
            sd = x.state.values.std(axis=(0, 2, 3), keepdims=True)
            assert (np.abs(x.state.values - y.state.values) <= 1e-3 * sd).all(), name
            assert (x.carry is None) == (y.carry is None)
            if x.carry is not None and y.carry is not None:
                assert np.abs(x.carry - y.carry).max() <= 1e-3 * np.abs(x.carry).max()
        elif a.name == "provenance.json":
            assert facts(a) == facts(b)


FOUR = (4, ("parallel.tile=2",)), (4, ("parallel.shard=2",)), (4, ("parallel.tile=2", "parallel.shard=2"))
MESHES = [
    (2, ("parallel.tile=2",)),
    (2, ("parallel.shard=2",)),
    *(pytest.param(*mesh, marks=pytest.mark.soak) for mesh in FOUR),
]


@pytest.mark.parametrize("size, mesh", MESHES)
@pytest.mark.parametrize("alone", ["storm"], indirect=True)
def test_a_member_or_the_weights_in_two_parts(
    world: World, alone: tuple[list[str], Path], tmp_path: Path, size: int, mesh: tuple[str, ...]
) -> None:
    """With 4 ranks members are divided as well, or both are cut. Weights that are cut do not change a bit."""
    words, one = alone
    for verb, kind in ((DRAW, "analyses"), (("forecast", "--cycle", stamp(FIRST), "--lead", "12h"), "forecasts")):
        codes, said = started(again(world, tmp_path / "run", *verb, *words, *mesh), size, tmp_path)
        assert codes == [0] * size, said
        assert said[1:] == [""] * (size - 1)
        (alike if "parallel.tile=2" in mesh else same)(one, tmp_path / "run", kind)
    made = (tmp_path / "run" / "analyses").glob("*/*/provenance.json")
    assert [json.loads(path.read_text())["processes"] for path in made] == [size, size]


def little_room(rank: int) -> None:
    """A member is half as large again as what rank 1 has."""
    from stormda.pipeline import room

    room.member_bytes = lambda config: 3e9
    room.room = lambda processes, device: 9e9 / (1 + 3 * rank)


@pytest.mark.parametrize("alone", ["storm"], indirect=True)
def test_a_member_that_does_not_fit_into_one_process_is_cut(
    world: World, alone: tuple[list[str], Path], tmp_path: Path
) -> None:
    words, one = alone
    asked = again(world, tmp_path / "run", *DRAW, *words)
    codes, said = started(asked, 2, tmp_path, little_room)
    assert codes == [0, 0] and "ensemble 1 x tile 2 x shard 1" in said[0], said
    alike(one, tmp_path / "run", "analyses")


def die_in_posterior(rank: int) -> None:
    """Rank 1 is killed at the end of its work, rank 0 would go on for minutes."""
    from stormda.assimilation import methods

    whole = methods.analysis

    def dies(*arguments: Any, **options: Any) -> Any:
        drawn = whole(*arguments, **options)
        if rank:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(300)
        return drawn

    methods.analysis = dies


def die_while_writing(rank: int) -> None:
    """Rank 1 is killed when rank 0 has begun with the folder."""
    import numpy as np

    if rank:
        np.lib.format.write_array_header_1_0 = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("prepare", [die_in_posterior, die_while_writing])
def test_a_killed_rank_ends_the_job_and_leaves_nothing(
    world: World, tmp_path: Path, prepare: Callable[[int], None]
) -> None:
    words, begin = again(world, tmp_path / "run", *DRAW), time.monotonic()
    codes, said = started(words, 2, tmp_path, prepare)
    assert codes == [1, -signal.SIGKILL] and time.monotonic() - begin < PROMPT
    assert "FATAL ERROR: rank 1 ended: it vanished without a word" in said[0] and "Traceback" not in said[0]
    assert visible(tmp_path / "run" / "analyses") == set() and hidden(tmp_path / "run") == set()
    assert started(words, 2, tmp_path)[0] == [0, 0]  # And the next call does it.


def test_what_rank_0_finds_wrong_ends_all_of_them(world: World, tmp_path: Path) -> None:
    """Only rank 0 reads observations; all end with the code of its error, which is said once."""
    words = again(world, tmp_path / "run", *DRAW, "observations.sources.stations.min_count=1000",
                  "observations.sources.stations.policy=required")  # fmt: skip
    codes, said = started(words, 2, tmp_path)
    assert codes == [3, 3]
    assert "FATAL ERROR: source 'stations' has 120 observations" in said[0]
    assert said[1] == ""


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["assimilate.batsh=3"], 2, "unknown key 'batsh', on the command line - key=assimilate.batsh"),
        (["--from", "2019-02-17T12Z"], 2, "give --cycle, or both --from and --to"),
        (["--no-such-option"], 2, "No such option: --no-such-option"),
        (
            ["parallel.tile=2", "window.frames=3", "--dry-run"],
            2,
            "window.frames=3 needs all of a member in one process",
        ),
        (["parallel.ensemble=1", "window.frames=3", "--dry-run"], 2, "window.frames=3 needs all of a member"),
        (["parallel.tile=3", "--dry-run"], 2, "2 processes were started, which is no mesh of tile 3"),
    ],
)
def test_a_mistake_of_the_user_is_said_once(
    world: World, tmp_path: Path, words: list[str], code: int, line: str
) -> None:
    """Also before the processes have met, and where nothing would be done."""
    codes, said = started(again(world, tmp_path / "run", *DRAW, "assimilate.method=storm", *words), 2, tmp_path)
    assert codes == [code, code], said
    assert line in said[0] and said[0].count("FATAL ERROR") == 1 and said[1] == ""


def test_what_one_rank_alone_finds_wrong_the_first_says(world: World, tmp_path: Path) -> None:
    """As where its host lacks a file system: here the two are in different folders."""
    words = again(world, tmp_path / "run", *DRAW)
    words[words.index("-c") + 1] = world.config.name
    codes, said = started(words, 2, tmp_path, lambda rank: os.chdir(tmp_path if rank else world.config.parent))
    assert codes == [2, 2] and said[1] == ""
    assert "FATAL ERROR: rank 1 ended: the configuration file does not exist" in said[0]


def test_a_real_mpiexec(world: World, alone: tuple[list[str], Path], tmp_path: Path) -> None:
    mpiexec = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}:/usr/bin")
    if mpiexec is None:
        pytest.skip("no mpiexec: pip install 'stormda[mpi]'")
    words, one = alone
    command = [mpiexec, "-n", "2", sys.executable, "-m", "stormda", *again(world, tmp_path / "run", *DRAW, *words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("10 members, method") == 1
    same(one, tmp_path / "run", "analyses")
