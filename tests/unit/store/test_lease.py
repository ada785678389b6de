"""One at a time, on one machine or many; a lock whose owner is dead is taken over, one that shows life is not."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic, sleep

import pytest

from stormda.errors import AlreadyRunning, OutputError
from stormda.store.lease import hold, look, remove

ELSEWHERE = "filelock/2\npid=4711\nhost=another.example\nmode=lease\ntoken={0}\nduration={1!r}\n".format


def test_it_is_there_while_it_is_held(tmp_path: Path) -> None:
    path = tmp_path / "cycle" / "lock"
    assert look(path) is None
    with hold(path, 5.0) as lease:
        lease.check()
        holder = look(path)
        assert holder is not None and (holder.pid, holder.alive) == (os.getpid(), True)
        with pytest.raises(AlreadyRunning, match=f"process {os.getpid()} "), hold(path, 5.0):
            pass
    assert not path.exists()


def test_every_holding_has_a_token_of_its_own(tmp_path: Path) -> None:
    tokens = set()
    for _ in range(3):
        with hold(tmp_path / "lock", 5.0) as lease:
            tokens.add(lease.token)
    assert len(tokens) == 3 and "" not in tokens


def test_a_killed_owner_on_this_host_is_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = (
        "import os, sys, signal\nfrom pathlib import Path\nfrom stormda.store.lease import hold\n"
        "with hold(Path(sys.argv[1]), 60.0):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    holder = look(path)
    assert holder is not None and holder.alive is False
    begun = monotonic()
    with hold(path, 60.0):
        assert monotonic() - begun < 5.0  # far less than the lease


def test_an_owner_elsewhere_without_a_sign_of_life_is_replaced_after_the_lease(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text(ELSEWHERE("ab" * 16, 0.6))
    path.chmod(0o600)
    os.utime(path, (2e9, 2e9))  # Its clock is years ahead: only whether it changes counts.
    begun = monotonic()
    with hold(path, 0.6):
        assert 0.6 <= monotonic() - begun < 3.0
        assert look(path) != "another.example"


def test_an_owner_elsewhere_that_shows_life_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text(ELSEWHERE("cd" * 16, 1.0))
    path.chmod(0o600)
    stop = threading.Event()

    def live() -> None:
        while not stop.wait(0.1):
            os.utime(path)

    thread = threading.Thread(target=live)
    thread.start()
    try:
        with pytest.raises(AlreadyRunning, match="process 4711 on another.example"), hold(path, 1.0):
            pass
    finally:
        stop.set()
        thread.join()


def test_a_lease_that_another_asks_for_otherwise_is_held_all_the_same(tmp_path: Path) -> None:
    """The configuration changed while a call is at work."""
    path = tmp_path / "lock"
    with hold(path, 5.0), pytest.raises(AlreadyRunning), hold(path, 7.0):
        pass


def test_who_lost_the_lock_notices(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with hold(path, 0.3) as lease:
        assert remove(path) and not remove(path)
        limit = monotonic() + 5.0
        with pytest.raises(AlreadyRunning, match="the lock was lost"):
            while monotonic() < limit:
                lease.check()
                sleep(0.02)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="the lock cannot be written"), hold(tmp_path / "file" / "lock", 1.0):
        pass
