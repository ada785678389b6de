"""The ledger: transactions that hold, fencing, and what a person reads."""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stormda.errors import AlreadyRunning, InputError, InputMissing, OutputError
from stormda.store.ledger import Cycle, Ledger

T = [np.datetime64("2019-02-10T00", "s") + k * np.timedelta64(6 * 3600, "s") for k in range(5)]


def first(ledger: Ledger) -> Cycle:
    cycle = ledger.next_open()
    assert cycle is not None
    return cycle


def test_a_cycle_from_due_to_done(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l", "a") as ledger:
        for time in T[:2]:
            ledger.add(time)
        cycle = first(ledger)
        assert (cycle.time, cycle.run, cycle.state) == (T[0], 1, "due")
        cycle = ledger.set(cycle, "waiting", note="for stations")
        assert first(ledger).note == "for stations"
        ledger.begin(cycle, "assimilate", "before")
        assert [c.time for c in ledger.running()] == [T[0]]
        cycle = ledger.finish(first(ledger), "assimilate", seconds=1.5, product="analysis", used=7)
        assert (cycle.product, cycle.used, cycle.seconds) == ("analysis", 7, 1.5)
        ledger.set(cycle, "done")
        assert first(ledger).time == T[1]
        assert ledger.counts() == {"done": 1, "due": 1}
        (stage,) = ledger.stages(cycle).values()
        assert (stage.name, stage.state, stage.before) == ("assimilate", "done", "before")
        assert [e.event for e in ledger.events()] == ["due", "due", "waiting", "begin", "end", "done"]
        (good,) = ledger.newest(1, product="analysis")
        assert good.time == T[0] and ledger.newest()[0].time == T[1]


def test_attempts_count_until_a_stage_is_done(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l", "a") as ledger:
        ledger.add(T[0])
        for count, attempts in ((True, 1), (False, 1), (True, 2)):
            ledger.begin(first(ledger), "assimilate")
            assert ledger.fail(first(ledger), "assimilate", "cut", count=count).attempts == attempts
        assert ledger.finish(first(ledger), "assimilate").attempts == 0


def test_superseded_runs_stay_and_are_not_seen(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l", "a") as ledger:
        for time in T[:3]:
            ledger.add(time, state="done", product="analysis")
        ledger.supersede(ledger.since(T[1]), "late")
        assert [(c.time, c.run, c.state) for c in ledger.since(T[0])] == [
            (T[0], 1, "done"),
            (T[1], 2, "due"),
            (T[2], 2, "due"),
        ]
        assert ledger.counts()["superseded"] == 2


def test_who_lost_the_lease_cannot_write(tmp_path: Path) -> None:
    """Fencing: an owner that was stopped, lost the lock and wakes up meets another token."""
    with Ledger(tmp_path / "l", "old") as old:
        old.add(T[0])
        with Ledger(tmp_path / "l", "new") as new:
            for write in (lambda: old.add(T[1]), lambda: old.set(first(new), "done"), lambda: old.put("a", "b")):
                with pytest.raises(AlreadyRunning, match="another process took over"):
                    write()
            new.add(T[1])
            assert new.counts() == {"due": 2}


def test_a_reader_writes_nothing_and_needs_a_ledger(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="there is no ledger yet"):
        Ledger(tmp_path / "l")
    with Ledger(tmp_path / "l", "a") as ledger:
        ledger.add(T[0])
        with Ledger(tmp_path / "l") as reader:
            assert reader.counts() == {"due": 1}
            with pytest.raises((AlreadyRunning, OutputError)):
                reader.add(T[1])


@pytest.mark.parametrize("damage", [b"rubbish " * 600, b""])
def test_a_ledger_that_is_none(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "l").write_bytes(damage)
    with pytest.raises((InputError, OutputError)):
        Ledger(tmp_path / "l")
    if damage:
        with pytest.raises(InputError, match="the ledger is damaged.*move the file away"):
            Ledger(tmp_path / "l", "a")


def test_a_newer_ledger_is_left_alone(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l", "a") as ledger:
        ledger.put("version", "2")
    with pytest.raises(InputError, match="version 2.*newer stormda"):
        Ledger(tmp_path / "l", "b")


def test_a_disk_that_is_full_leaves_the_ledger_as_it_was(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l", "a") as ledger:
        ledger.add(T[0])
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "l").stat().st_size, hard))
        try:
            with pytest.raises(OutputError, match="the ledger cannot be used"):
                ledger.remember({f"file {k}": ("x" * 500, "") for k in range(500)})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert ledger.inputs() == {} and ledger.counts() == {"due": 1}
        ledger.add(T[1])
        assert ledger.counts() == {"due": 2}


def test_killed_within_a_transaction(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\nimport numpy as np\nfrom pathlib import Path\n"
        "from stormda.store.ledger import Ledger\n"
        "ledger = Ledger(Path(sys.argv[1]), 'a')\n"
        "ledger.add(np.datetime64('2019-02-10T00', 's'))\n"
        "ledger._event = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
        "ledger.add(np.datetime64('2019-02-10T06', 's'))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path / "l")], check=False)
    assert ended.returncode == -signal.SIGKILL
    with Ledger(tmp_path / "l", "b") as ledger:
        assert ledger.counts() == {"due": 1}
    with sqlite3.connect(tmp_path / "l") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_pruning_forgets_what_is_over_and_the_file_shrinks(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l", "a") as ledger:
        for k in range(100):
            ledger.add(T[0] + k * np.timedelta64(6, "h"), state="done", note="x" * 200)
        ledger.add(T[0] - np.timedelta64(6, "h"))  # old, and not over
        before = os.path.getsize(tmp_path / "l")
        assert ledger.prune(T[0] + 90 * np.timedelta64(6, "h")) == 90
        assert ledger.counts() == {"done": 10, "due": 1} and len(ledger.events(1000)) == 11
        assert os.path.getsize(tmp_path / "l") < 0.75 * before  # ten empty tables and indices have a page each
