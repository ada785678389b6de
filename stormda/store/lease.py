"""One process at a time, on one machine or on many that share a file system.

The lock is a file that exists, made with O_EXCL, which POSIX and NFS make atomic; kernel locks (flock) are kept off
some shared file systems. It names its owner, who touches it again and again. It is taken over where its owner is known
to be dead (same host, the process is gone), or where it was watched for the whole lease and did not change: by
the watcher's own monotonic clock, so that neither clocks that differ between hosts nor one that jumps expire a
living owner. (Gray & Cheriton 1989, "Leases", https://doi.org/10.1145/74850.74870.)

A lease alone does not exclude: its owner may be stopped, lose it and wake up. So each lease has a token, which what it
protects must check at each write (`stormda.store.ledger`).
"""

__all__ = ["Holder", "Lease", "hold", "look", "remove"]

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import psutil
from filelock import LeaseSettingsMismatch as Mismatch
from filelock import SoftFileLease, Timeout

from stormda.errors import AlreadyRunning, OutputError

_POLL = 0.25  # s between two looks at a lock that may be stale


@dataclass(frozen=True)
class Lease:
    """A lock that is held.

    Args:
        token: names this holding of the lock; no other has the same.
    """

    token: str
    _lock: SoftFileLease

    def check(self) -> None:
        """Raise AlreadyRunning where another process took the lock in the meantime."""
        if (lost := self._lock.compromise) is not None:
            raise AlreadyRunning(f"the lock was lost ({lost.reason})", file=lost.lock_file, hint="stormda cycle status")


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, as its file tells.

    Args:
        host, pid: of the process.
        alive: it is running; None where that cannot be known from here.
    """

    host: str
    pid: int
    alive: bool | None


@contextmanager
def hold(path: Path, seconds: float) -> Iterator[Lease]:
    """Hold the lock at `path`.

    Args:
        path: the lock file; its folder is made.
        seconds: without a sign of life of an owner on another host after which the lock is stale.

    Raises:
        AlreadyRunning: a living process holds it.
        OutputError: the folder cannot be written.
    """
    lock = _lock(path, seconds)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _acquire(lock, path, seconds)
    except OSError as error:
        hint = "check permissions and room on the disk"
        raise OutputError(f"the lock cannot be written: {error}", file=path, hint=hint) from error
    try:
        yield Lease(lock.token or "", lock)
    finally:
        with suppress(OSError):  # The work is done; a lock that cannot be removed is stale as soon as we are gone.
            lock.release()


def _lock(path: Path, seconds: float) -> SoftFileLease:
    return SoftFileLease(path, lease_duration=seconds, timeout=0, thread_local=False)


def _acquire(lock: SoftFileLease, path: Path, seconds: float) -> None:
    """At once, or after the lease of an owner on another host who shows no sign of life."""
    first, limit = _changed(path), monotonic() + seconds + 4 * _POLL
    while True:
        try:
            lock.acquire()
            return
        except (Timeout, Mismatch):
            holder = look(path)
            if (holder and holder.alive) or _changed(path) != first or monotonic() > limit:
                who = f"process {holder.pid} on {holder.host}" if holder else "another process"
                hint = "stormda cycle status shows what it does, stormda cycle unlock removes a stale lock"
                raise AlreadyRunning(f"{who} holds the lock", file=path, hint=hint) from None
            sleep(min(_POLL, seconds / 8))


def _changed(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def look(path: Path) -> Holder | None:
    """Who holds the lock; None where nobody does, or where its file does not tell."""
    owner = _lock(path, 1.0).owner
    if owner is None:
        return None
    alive = psutil.pid_exists(owner.pid) if owner.hostname == socket.gethostname() else None
    return Holder(owner.hostname.partition("?")[0], owner.pid, alive)


def remove(path: Path) -> bool:
    """Remove the lock, whoever holds it: its owner notices and ends. False where there was none.

    Raises:
        OutputError: it cannot be removed.
    """
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise OutputError(f"the lock cannot be removed: {error}", file=path) from error
    return True
