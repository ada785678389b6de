"""A worker process for readers of native code, which a broken file can crash, hang or make hungry for memory.

ecCodes, netCDF and HDF5 are written in C: a length that a damaged header invents can end the interpreter that called
them, and with it an analysis that was hours old. So they run in a process of their own. It reads one file at a time,
and serves many, for its start costs a second or two; if it dies, the file is an InputError that says how, and the next
file gets a new worker.

    main process                               worker
    function, arguments, limits    -->         setrlimit, setitimer; function(*arguments)
    value, or an error             <--         with what was logged
    large arrays                   <--         through a piece of memory that both have

The time is kept by the kernel (SIGALRM, not caught), so it also ends code that never comes back to Python, and a worker
whose main process was killed. The memory limit is RLIMIT_DATA: private writable memory, what an allocation adds to.
The worker is started as a new interpreter, not by fork: a fork of a process with threads, MPI or a GPU is not safe.
"""

__all__ = ["alive", "isolated", "serve"]

import atexit
import logging
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import numpy as np

from stormda.config import ReaderLimits
from stormda.errors import InputError, StormdaError
from stormda.types import Array

T = TypeVar("T")

log = logging.getLogger(__name__)

_START = "import sys; sys.path[:] = {path!r}; from stormda.sources.worker import serve; serve({channel}, {board})"
_AGAIN = "the file is probably damaged: fetch it again"


def isolated(function: Callable[..., T], *arguments: object, file: Path, key: str, limits: ReaderLimits) -> T:
    """`function(*arguments)`, computed in the worker.

    Args:
        function: of a module, so that its name is enough to find it.
        arguments: what can be pickled.
        file, key: the file that is read and its configuration key, for messages.
        limits: how long it may take and how much memory it may use.

    Returns:
        what the function returns.

    Raises:
        StormdaError: the one that the function raised.
        InputError: it raised another error, ran out of memory or time, or crashed.
    """
    with _lock:
        try:
            good, value, records = _current().call(function, arguments, file, key, limits)
        except (EOFError, ConnectionError) as error:
            raise InputError(_end(limits), file=file, key=key, hint=_AGAIN) from error
        except BaseException:  # an interrupt: the answer would come to the next who asks
            _forget()
            raise
    for name, level, message in records:
        logging.getLogger(name).log(level, "%s", message)
    if not good:
        raise cast(StormdaError, value)
    return cast(T, value)


def alive() -> bool:
    """Whether there is a worker: what earlier calls left open in it is open still."""
    return _worker is not None and _worker.owner == os.getpid()


# --- the side that asks ----------------------------------------------------------------------------------------------

_Answer = tuple[bool, object, list[tuple[str, int, str]]]


class _Worker:
    """A process and the channel to it."""

    def __init__(self) -> None:
        self.talk: IO[bytes] = tempfile.TemporaryFile()  # what libraries print: its last line goes into the message
        self.board = _memory()
        self.channel, theirs = Pipe()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _START.format(path=sys.path, channel=theirs.fileno(), board=self.board)],
                stdin=subprocess.DEVNULL,
                stdout=self.talk,
                stderr=self.talk,
                pass_fds=[theirs.fileno(), self.board],
                env=os.environ | {"ARROW_DEFAULT_MEMORY_POOL": "system"},  # others reserve what they do not use
                start_new_session=True,  # an interrupt from the terminal is for the main process
            )
        self.owner = os.getpid()

    def call(
        self, function: Callable[..., object], arguments: tuple[object, ...], file: Path, key: str, limits: ReaderLimits
    ) -> _Answer:
        self.channel.send((function, arguments, file, key, limits))
        good, value, records = self.channel.recv()
        return good, _taken(value, self.board) if isinstance(value, _Large) else value, records

    def close(self) -> int:
        """End the process; its exit code."""
        self.channel.close()
        if self.process.poll() is None:
            try:
                self.process.wait(0.2)
            except subprocess.TimeoutExpired:
                self.process.kill()
        code = self.process.wait()
        self.talk.close()
        os.close(self.board)
        return code

    def last_words(self) -> str:
        """The last line that the process printed."""
        self.talk.seek(max(0, self.talk.seek(0, os.SEEK_END) - 4096))
        lines = self.talk.read().decode(errors="replace").split("\n")
        return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")


_lock = threading.Lock()
_worker: _Worker | None = None


def _current() -> _Worker:
    """The worker of this process: one that a fork inherited belongs to another."""
    global _worker
    if _worker is None or _worker.owner != os.getpid():
        _worker = _Worker()
    return _worker


@atexit.register
def _forget() -> int:
    global _worker
    worker, _worker = _worker, None
    return worker.close() if worker is not None and worker.owner == os.getpid() else 0


def _end(limits: ReaderLimits) -> str:
    """How the worker died, in words; it is buried."""
    assert _worker is not None
    try:
        _worker.process.wait(5.0)
    except subprocess.TimeoutExpired:  # it closed its channel and lives on
        _worker.process.kill()
    words = _worker.last_words()
    code = _forget()
    if code == -signal.SIGALRM:
        return f"reading was stopped: it took longer than {limits.seconds:g} s"
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"the library that reads this format crashed ({how}){': ' + words if words else ''}"


# --- large arrays ----------------------------------------------------------------------------------------------------

_LARGE = 1 << 20  # bytes; of smaller values the pipe is as fast


@dataclass(frozen=True)
class _Large:
    """Stands for an array that lies in the memory of both processes."""

    dtype: str
    shape: tuple[int, ...]


def _memory() -> int:
    """The file descriptor of a file without a name, in memory where the system has such."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("stormda")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _given(x: Array, board: int) -> _Large:
    view, at = np.ascontiguousarray(x).data.cast("B"), 0
    while at < len(view):
        at += os.pwrite(board, view[at:], at)
    return _Large(x.dtype.str, x.shape)


def _taken(large: _Large, board: int) -> Array:
    x = np.empty(large.shape, large.dtype)
    view, at = x.data.cast("B"), 0
    while at < len(view):
        at += os.preadv(board, [view[at:]], at)
    os.ftruncate(board, 0)
    return x


# --- the worker ------------------------------------------------------------------------------------------------------


def serve(channel: int, board: int) -> None:
    """Answer calls that come through a file descriptor until it is closed, large arrays through another one."""
    connection = Connection(channel)
    records = _Records()
    logging.getLogger().addHandler(records)
    while True:
        try:
            function, arguments, file, key, limits = connection.recv()
        except EOFError:
            return
        _limit(limits)
        good, value = _answer(function, arguments, file, key, limits)
        if isinstance(value, np.ndarray) and value.nbytes >= _LARGE and value.dtype.kind in "fiub":
            value = _given(value, board)
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        connection.send((good, value, records.take()))


def _limit(limits: ReaderLimits) -> None:
    most = int(limits.gib * 2**30)
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, limits.seconds)


def _answer(
    function: Callable[..., object], arguments: tuple[Any, ...], file: Path, key: str, limits: ReaderLimits
) -> tuple[bool, object]:
    """Whether it went well, and the value or the error."""
    try:
        return True, function(*arguments)
    except StormdaError as error:
        return False, error
    except MemoryError:
        what = f"reading needs more than {limits.gib:g} GiB of memory"
        return False, InputError(what, file=file, key=key, hint=_AGAIN)
    except Exception as error:  # whatever a library makes of a broken file
        log.debug("%s", file, exc_info=True)
        what = f"the file cannot be read ({type(error).__name__}: {str(error)[:200]})"
        return False, InputError(what, file=file, key=key, hint=_AGAIN)


class _Records(logging.Handler):
    """What was logged since it was last asked."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[str, int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append((record.name, record.levelno, record.getMessage()))

    def take(self) -> list[tuple[str, int, str]]:
        kept, self.kept = self.kept, []
        return kept
