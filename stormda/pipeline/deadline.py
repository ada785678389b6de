"""A limit on the time of some work in this process.

An alarm interrupts Python code, and a system call that signals interrupt. What hears no signal (a file system that
hangs, a library that computes for hours) is ended by a watchdog: it ends the process, as a kill would.
"""

__all__ = ["OutOfTime", "deadline"]

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_GRACE = 15.0  # s between the alarm and the end of the process


class OutOfTime(BaseException):
    """The work took too long; not an `Exception`, so that only `finally` and context managers see it."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"it took longer than {seconds:g} s")


@contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """Raise OutOfTime within the body after some seconds; end the process where that is not heard.

    None: no limit. Only the main thread hears an alarm; in another one there is the watchdog alone.
    """
    if seconds is None:
        yield
        return
    watchdog = threading.Timer(seconds + _GRACE, _end, (seconds,))
    watchdog.daemon = True
    watchdog.start()
    try:
        with _alarm(seconds):
            yield
    finally:
        watchdog.cancel()


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise OutOfTime(seconds)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def _end(seconds: float) -> None:
    sys.stderr.write(f"FATAL ERROR: a stage did not end after {seconds:g} s and hears no alarm; the process ends\n")
    sys.stderr.flush()
    os._exit(1)
