"""What becomes of one process is known to all of them at once.

Every process holds a connection to that of rank 0. One that fails says why; one that ends without a word (killed, or
out of memory) is known by the end of its connection; rank 0 tells all others. Whoever hears of it is interrupted at
whatever it does, by a signal to its main thread, so that what it has half made is tidied up; where that does not help,
because it waits for others in a collective that does not end, the process ends after `GRACE` seconds.

A message is one line of JSON, which nobody runs. The first line of a connection is the rank and a token that only the
processes of this job know; who says anything else first is not listened to any further.
"""

__all__ = ["GRACE", "Lost", "News", "Watch"]

import hmac
import json
import os
import selectors
import signal
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from time import sleep

from stormda import errors
from stormda.errors import StormdaError

GRACE = 10.0  # s between the signal and the end
_SIGNAL = signal.SIGUSR2
_DONE = b"done\n"
_SIZE = 65536
_WELCOME = 512  # bytes that a first line may have


class Lost(BaseException):
    """Another process has failed; not an `Exception`, so that only `finally` and context managers see it."""


@dataclass(frozen=True)
class News:
    """Why a process ended; `kind` is the name of the error's class, and the rest are its parts."""

    rank: int
    kind: str
    what: str
    file: str | None = None
    key: str | None = None
    hint: str | None = None

    @classmethod
    def of(cls, rank: int, error: BaseException) -> "News":
        """That of an error."""
        if isinstance(error, StormdaError):
            return cls(rank, type(error).__name__, error.what, error.file, error.key, error.hint)
        what = "it was interrupted" if not isinstance(error, Exception) else f"{type(error).__name__}: {error}"
        return cls(rank, "StormdaError", what)

    def error(self) -> StormdaError:
        """For the other processes: of the same class, so that all end with one exit code."""
        kind = getattr(errors, self.kind, StormdaError)
        return kind(f"rank {self.rank} ended: {self.what}", file=self.file, key=self.key, hint=self.hint)


class Watch:
    """The connections of one process; the one of rank 0 is made first.

    Args:
        rank, size: of this process; rank 0 sets `complete` when all others are connected. Who fails already sets
            `deaf`, and is not interrupted any more.
        host: where rank 0 is; its loopback address where all are on one host.
        port: where it listens; 0: any, for rank 0 itself.
        token: of this job, a word that no other process knows.
    """

    def __init__(self, rank: int, size: int, host: str, port: int = 0, *, token: str) -> None:
        self.rank, self.size, self._token = rank, size, token
        self.news: News | None = None
        self.heard, self.complete = threading.Event(), threading.Event()
        self.deaf = False
        self._ended, self._orphan, self._lock = False, False, threading.Lock()
        self._known: dict[socket.socket, int] = {}
        self._main = threading.current_thread() is threading.main_thread()
        self._before = signal.signal(_SIGNAL, self._interrupt) if self._main else None
        if rank == 0:
            self._listener = socket.create_server((host if host.startswith("127.") else "", port), backlog=size)
            self.port, work = int(self._listener.getsockname()[1]), self._serve
        else:
            self._root, self.port, work = socket.create_connection((host, port), timeout=60.0), port, self._listen
            self._root.settimeout(None)
            _keep_alive(self._root)
            self._root.sendall(f"{rank} {token}\n".encode())
        self._thread = threading.Thread(target=work, name="stormda-watch", daemon=True)
        self._thread.start()

    @property
    def count(self) -> int:
        """Processes that rank 0 knows of, itself included."""
        return 1 + len(self._known)

    @property
    def speaks(self) -> bool:
        """Whether this process is to say why the job ends: rank 0 for all, and everybody where it is gone."""
        return self.rank == 0 or self._orphan

    def tell(self, error: BaseException) -> None:
        """Say why this process ends; nothing where another one was first."""
        if not self.heard.is_set():
            self._pass_on(News.of(self.rank, error))

    def close(self) -> None:
        """End in good order, or after `tell`."""
        with self._lock:
            self._ended = True
            for connection in [*self._known] if self.rank == 0 else [self._root]:
                with suppress(OSError):
                    if self.news is None:
                        connection.sendall(_DONE)
                    connection.shutdown(socket.SHUT_WR)
        if self._main:
            signal.signal(_SIGNAL, self._before)

    def _pass_on(self, news: News) -> None:
        """To rank 0, or from it to everybody else."""
        line = (json.dumps(asdict(news)) + "\n").encode()
        with self._lock:
            if self.news is not None or self._ended:
                return
            self.news = news
            for connection in [*self._known] if self.rank == 0 else [self._root]:
                with suppress(OSError):
                    connection.sendall(line)
        self.heard.set()

    def _serve(self) -> None:
        """Rank 0: hear of all others."""
        waiting = selectors.DefaultSelector()
        waiting.register(self._listener, selectors.EVENT_READ)
        rest: dict[socket.socket, bytes] = {}
        done: set[int] = set()
        while len(done) < self.size - 1:
            for key, _ in waiting.select():
                if key.fileobj is self._listener:
                    connection = self._listener.accept()[0]
                    _keep_alive(connection)
                    waiting.register(connection, selectors.EVENT_READ)
                    rest[connection] = b""
                    continue
                assert isinstance(key.fileobj, socket.socket)
                connection = key.fileobj
                data = _receive(connection)
                *lines, rest[connection] = (rest[connection] + data).split(b"\n")
                if connection not in self._known and len(rest[connection]) > _WELCOME:
                    lines = [b""]
                for line in lines:
                    if connection not in self._known:
                        if not self._welcome(connection, line):
                            data = b""  # It is not one of us.
                            break
                    elif line + b"\n" == _DONE:
                        done.add(self._known[connection])
                    else:
                        self._react(_read(line))
                        done.add(self._known[connection])
                if not data:
                    waiting.unregister(connection)
                    rank = self._known.get(connection)
                    if rank is None:
                        connection.close()
                    elif rank not in done:
                        done.add(rank)
                        self._react(_vanished(rank))

    def _welcome(self, connection: socket.socket, line: bytes) -> bool:
        """The first line of a connection is the rank and the token; who comes late hears what the others know."""
        rank, _, token = line.partition(b" ")
        own = hmac.compare_digest(token, self._token.encode()) and rank.isdigit() and 0 < int(rank) < self.size
        with self._lock:
            if not own or int(rank) in self._known.values():
                return False
            self._known[connection] = int(rank)
            if self.count == self.size:
                self.complete.set()
            if self.news is not None:
                with suppress(OSError):
                    connection.sendall((json.dumps(asdict(self.news)) + "\n").encode())
        return True

    def _listen(self) -> None:
        """Another rank: hear of rank 0."""
        rest = b""
        while data := _receive(self._root):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if line + b"\n" == _DONE:
                    return
                self._react(_read(line))
        self._orphan = self.news is None
        self._react(_vanished(0))

    def _react(self, news: News) -> None:
        """Another process has failed."""
        self._pass_on(news)
        with self._lock:  # Where this process has ended its part, nobody is there to take the signal.
            if self._ended or self.news is not news or not self._main:
                return
            signal.pthread_kill(threading.main_thread().ident or 0, _SIGNAL)
        threading.Thread(target=self._insist, name="stormda-end", daemon=True).start()

    def _insist(self) -> None:
        sleep(GRACE)
        if not self._ended and self.news is not None:
            if self.speaks:
                sys.stderr.write(f"FATAL ERROR: {self.news.error()}\n")
                sys.stderr.flush()
            os._exit(1)

    def _interrupt(self, number: int, frame: object) -> None:
        if sys.exc_info()[0] is not None:  # On its way out already, and tidying up: of a collective that broke off.
            return
        if not (self.deaf or self._ended) and self.news is not None and self.news.rank != self.rank:
            raise Lost


def _vanished(rank: int) -> News:
    what, hint = "it vanished without a word", "was it killed, or out of memory? look at the log of its host"
    return News(rank, "StormdaError", what, hint=hint)


def _read(line: bytes) -> News:
    """A message; raises nothing: what cannot be read is news as well."""
    names = {f.name for f in fields(News)}
    with suppress(ValueError, TypeError):
        return News(**{k: v for k, v in json.loads(line).items() if k in names})
    return News(-1, "StormdaError", "a process said what nobody understands")


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(_SIZE)
    except OSError:
        return b""


def _keep_alive(connection: socket.socket) -> None:
    """A host that is gone without closing anything is missed after about half a minute."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, option):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
