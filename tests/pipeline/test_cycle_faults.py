"""Whatever happens to a call of `stormda cycle`, the next one finishes as if nothing had happened.

A trial disturbs the call that makes one analysis, looks at what is visible, calls again until the cycle is done, and
compares bit by bit with the analyses of a run that nobody disturbed. The processes are forked from a server that has
imported everything, so that a kill hits the work and not the imports.
"""

import multiprocessing
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
from cycle_world import (
    POINTS,
    Project,
    can_mount,
    cycle_child,
    die_at,
    hanging,
    read_only_at,
    slow_sampling,
    small_files,
)
from tiny_world import FIRST, TIMES, World, stamp

from stormda.pipeline.cycle import catch_up
from stormda.time import format_time

IMPORTED = ["tiny_world", "cycle_world", "torch._dynamo", "matplotlib.pyplot"]
IMPORTED += [f"stormda.pipeline.{name}" for name in ("ingest", "assimilate", "train", "verify", "forecast", "cycle")]
CONTEXT = multiprocessing.get_context("forkserver")
PATIENCE = 60.0  # s until a call counts as hanging
CYCLES = 38  # after which a project begins anew: the tiny world has observations for 40
Prepare = Callable[[], None]


@dataclass
class Row:
    """A line of the fault matrix."""

    trials: int = 0
    completed: int = 0
    lost: int = 0
    half_written: int = 0
    double_runs: int = 0
    recovery: list[float] = field(default_factory=list)

    def cells(self, name: str) -> str:
        """As text."""
        seconds = f"{np.median(self.recovery):.2f}  {max(self.recovery):.2f}"
        return (
            f"{name:<16} {self.trials:6} {self.completed:9} {self.lost:5} {self.half_written:12} {self.double_runs:11}"
            f"   {seconds}"
        )


HEAD = "kind             trials completed  lost half-written double runs   recovery s: median, longest"


class Bench:
    """Projects on which calls are disturbed, one cycle a trial, and the matrix of what came of it."""

    def __init__(self, world: World, folder: Path, seed: int = 0) -> None:
        CONTEXT.set_forkserver_preload(IMPORTED)
        self.world, self.folder = world, folder
        self.random = np.random.default_rng(seed)
        self.rows: dict[str, Row] = {}
        self.number, self.k = 0, FIRST
        self.reference = self._new()
        self.project = self._new()
        self.seconds = self._finish()  # The server imports ...
        self.seconds = self._finish()  # ... and now it is timed.

    def _new(self) -> Project:
        self.number, self.k = self.number + 1, FIRST
        # A cycle that is cut a thousand times is none that cannot be done.
        source = {"policy": "required", "wait": "3h"}
        return Project(self.world, self.folder / str(self.number), {"attempts": 1000, "timeout": "20s"}, source=source)

    def start(
        self, *more: str, verb: str = "run", prepare: Prepare | None = None, now: str | None = None
    ) -> BaseProcess:
        """A call that works on the next cycle, running."""
        words = [verb, "-c", str(self.project.folder / "config.yaml"), "--now", now or stamp(self.k), *more]
        process = CONTEXT.Process(target=cycle_child, args=(words, self.project.folder / "talk", prepare))
        process.start()
        return process

    def ended(self, process: BaseProcess) -> int:
        """Its exit code."""
        process.join(PATIENCE)
        assert process.exitcode is not None, "a call hangs"
        return process.exitcode

    def talk(self) -> str:
        """What the last call said."""
        return (self.project.folder / "talk").read_text()

    def _finish(self) -> float:
        """Make the next cycle, undisturbed; the seconds that took."""
        self.project.deliver(self.k)
        begun = monotonic()
        code = self.ended(self.start())
        assert code == 0, self.talk()
        self.k += 1
        return monotonic() - begun

    def _undisturbed(self, k: int) -> np.ndarray[Any, Any]:
        """The analysis of a project in which nothing happens."""
        if not self.reference.product(k).exists():
            self.reference.deliver(*range(FIRST, k + 1))
            catch_up(self.reference.config(), now=TIMES[k])
        return self.reference.analysis(k)

    def trial(self, kind: str, disturb: Callable[[], None]) -> None:
        """Disturb the call of one cycle, let it recover, and judge."""
        if self.k == FIRST + CYCLES:
            self.project = self._new()
        row, p, k = self.rows.setdefault(kind, Row()), self.project, self.k
        p.deliver(k)
        disturb()
        row.trials += 1
        row.half_written += len(p.half_written(2))
        row.recovery.append(self._finish())
        until = f"state != 'superseded' AND cycle <= '{format_time(TIMES[k])}'"
        done = [s for (s,) in p.rows(f"SELECT state FROM cycles WHERE {until}")]
        row.completed += done == ["done"] * (k - FIRST + 1)
        whole = p.product(k).exists() and np.array_equal(p.analysis(k), self._undisturbed(k))
        row.lost += not whole
        row.half_written += len(p.half_written(2)) + len(p.left())
        row.double_runs += p.double_runs()
        assert p.rows("PRAGMA integrity_check") == [("ok",)]

    def judge(self) -> None:
        """Nothing is lost, half-written or done twice."""
        for name, row in self.rows.items():
            assert (row.completed, row.lost, row.half_written, row.double_runs) == (row.trials, 0, 0, 0), name

    def __str__(self) -> str:
        return "\n".join([HEAD, *(row.cells(name) for name, row in self.rows.items())])

    # --- disturbances ---

    def kill(self, number: signal.Signals) -> None:
        """At a moment between the beginning and the end of an undisturbed call."""
        process = self.start()
        process.join(float(self.random.uniform(0, self.seconds)))
        if process.is_alive():
            process._popen._send_signal(number)  # type: ignore[attr-defined]
        assert self.ended(process) in (0, -number, 128 + number), self.talk()

    def die(self, point: str, leaving: bool) -> None:
        """As a function is entered or left."""
        assert self.ended(self.start(prepare=partial(die_at, point, leaving))) == -signal.SIGKILL, self.talk()

    def fill(self) -> None:
        """The disk is full after some bytes."""
        size = int(10 ** self.random.uniform(2, 5.3))
        code = self.ended(self.start(prepare=partial(small_files, size)))
        assert code in (0, 1), self.talk()

    def protect(self, point: str = "") -> None:
        """The file system becomes read-only as a function is entered."""
        point = point or str(self.random.choice(POINTS))
        code = self.ended(self.start(prepare=partial(read_only_at, point, self.project.run)))
        assert code == 0 or (code == 1 and "FATAL ERROR" in self.talk()), self.talk()

    def damage(self) -> None:
        """The observations are cut short, or rubbish; then they come whole."""
        file = self.project.folder / "obs" / f"{self.k}.csv"
        whole = file.read_bytes()
        cut = int(self.random.integers(0, 60))
        file.write_bytes(whole[:cut] if self.random.uniform() < 0.5 else self.random.bytes(3000))
        assert self.ended(self.start()) == 3, self.talk()
        file.write_bytes(whole)

    def jump(self) -> None:
        """The clock is up to two days ahead, or five behind, for a call that catches up."""
        span = np.timedelta64(int(self.random.uniform(-120, 48) * 3600), "s")
        process = self.start(verb="catch-up", now=f"{TIMES[self.k] + span}Z")
        assert self.ended(process) in (0, 1, 3), self.talk()

    def crowd(self) -> None:
        """Three calls at once."""
        codes = [self.ended(process) for process in [self.start() for _ in range(3)]]
        assert set(codes) <= {0, 4} and 0 in codes, self.talk()

    def stall(self) -> None:
        """The store hangs, with and without hearing the alarm."""
        deaf = bool(self.random.uniform() < 0.5)
        process = self.start("cycle.timeout=1s", prepare=partial(hanging, deaf))
        assert self.ended(process) == 1, self.talk()
        assert "hears no alarm" in self.talk() if deaf else "could not be read" in self.talk()


@pytest.fixture(scope="module")
def bench(world: World, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Bench]:
    """One for all tests, which prints what came of it."""
    bench = Bench(world, tmp_path_factory.mktemp("faults"))
    yield bench
    capture: Any = pytestconfig.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n{bench}")


def test_killed_at_every_step_of_a_cycle(bench: Bench) -> None:
    for number, point in enumerate(POINTS):
        bench.trial("each step", partial(bench.die, point, bool(number % 2)))
    bench.judge()


def test_killed_at_random_moments(bench: Bench) -> None:
    for _ in range(10):
        bench.trial("SIGKILL", partial(bench.kill, signal.SIGKILL))
    bench.judge()


@pytest.mark.skipif(not can_mount(), reason="this machine lets nobody mount")
def test_a_file_system_that_becomes_read_only(bench: Bench) -> None:
    """The call says so or had nothing left to write, nothing is lost, and the next one finishes."""
    for point in POINTS:
        bench.trial("read-only", partial(bench.protect, point))
    bench.judge()


TRIALS: dict[str, tuple[int, Callable[[Bench], None]]] = {
    "SIGKILL": (200, partial(Bench.kill, number=signal.SIGKILL)),
    "SIGTERM": (60, partial(Bench.kill, number=signal.SIGTERM)),
    "disk full": (30, Bench.fill),
    "read-only": (30, Bench.protect),
    "corrupt input": (30, Bench.damage),
    "clock jump": (30, Bench.jump),
    "three at once": (30, Bench.crowd),
    "stalled store": (20, Bench.stall),
}


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", TRIALS)
def test_the_fault_matrix(bench: Bench, kind: str) -> None:
    if kind == "read-only" and not can_mount():
        pytest.skip("this machine lets nobody mount")
    trials, disturb = TRIALS[kind]
    for _ in range(trials):
        bench.trial(kind, partial(disturb, bench))
    bench.judge()


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_killed_on_both_sides_of_every_step(bench: Bench) -> None:
    for point in POINTS:
        for leaving in (False, True):
            bench.trial("each step", partial(bench.die, point, leaving))
    bench.judge()


def test_a_call_that_is_terminated_says_so_and_counts_no_attempt(bench: Bench) -> None:
    """As Slurm ends a task before its time limit: the next one goes on, however often that happens."""
    bench.project.deliver(bench.k)
    for _ in range(2):
        process = bench.start(prepare=slow_sampling)
        limit = monotonic() + PATIENCE
        while not bench.project.rows("SELECT * FROM stages WHERE state = 'running'"):
            assert process.is_alive() and monotonic() < limit, bench.talk()
            sleep(0.01)
        process.terminate()
        assert bench.ended(process) == 143 and "interrupted by SIGTERM" in bench.talk()
        assert bench.project.rows("SELECT state, attempts FROM cycles ORDER BY cycle DESC LIMIT 1") == [("due", 0)]


def test_the_command_line_is_a_process_of_its_own(world: World, tmp_path: Path) -> None:
    """A fresh interpreter that finds nothing to do ends without the heavy packages."""
    p = Project(world, tmp_path / "p", {})
    code = (
        "import sys\nfrom stormda.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nfinally:\n    sys.stderr.write(str('torch' in sys.modules))"
    )
    words = ["cycle", "run", "-c", str(p.folder / "config.yaml"), "--now", stamp(FIRST - 1)]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stderr == "False" and "nothing to do" in done.stdout
