"""From an error to one line on stderr and an exit code; the only place that does it.

A user's mistake never shows a traceback. A fault of ours leaves one in a file (`<run_dir>/logs`, or the folder for
temporary files while there is no run) and names it; `-v` shows it as well.

Of several processes the first one says it, also for the others; with `-v` each does.
"""

__all__ = ["EXIT_CODES", "Interrupted", "exit_code", "guard", "patient", "stop_if_wrong", "translate"]

import errno
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from typer.exceptions import TyperException

from stormda.errors import (
    AlreadyRunning,
    AnalysisRejected,
    CheckpointError,
    ConfigError,
    InputError,
    InputMissing,
    OutputError,
    StormdaError,
)

from .console import Console

if TYPE_CHECKING:
    from stormda.pipeline.findings import Findings

EXIT_CODES: dict[type[StormdaError], int] = {
    StormdaError: 1,
    ConfigError: 2,
    InputError: 1,
    CheckpointError: 1,
    InputMissing: 3,
    OutputError: 1,
    AlreadyRunning: 4,
    AnalysisRejected: 5,
}

_UNWRITABLE = {
    errno.ENOSPC: ("there is no room left", "free some space, or choose another run_dir"),
    errno.EDQUOT: ("the quota is used up", "free some space, or choose another run_dir"),
    errno.EROFS: ("the file system is read-only", "choose another run_dir"),
}
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal asked this process to end; not an `Exception`, so that only `finally` and context managers see it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def exit_code(error: StormdaError) -> int:
    """The exit code of the nearest class of the error tree."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)


def translate(error: BaseException) -> StormdaError | None:
    """The error as one of ours, where its meaning is known."""
    if isinstance(error, StormdaError):
        return error
    if isinstance(error, OSError) and error.errno in _UNWRITABLE:
        what, hint = _UNWRITABLE[error.errno]
        return OutputError(what, file=error.filename, hint=hint)
    if isinstance(error, PermissionError):
        return OutputError(
            "permission is denied", file=error.filename, hint="look at the owner and the mode of the file"
        )
    if isinstance(error, OSError) and error.filename is not None:
        return StormdaError(f"the system says: {error.strerror}", file=error.filename)
    if isinstance(error, MemoryError):
        return StormdaError("there is not enough memory", hint="assimilate.batch=4 draws fewer members at once")
    return None


def stop_if_wrong(findings: "Findings") -> None:
    """Raise InputError if something is broken, InputMissing if something required is missing."""
    from stormda.pipeline.findings import Status

    for status, error in ((Status.BROKEN, InputError), (Status.MISSING, InputMissing)):
        if wrong := findings.of(status):
            hint = next((f.hint for f in wrong if f.hint), None)
            raise error(f"{status.value}: {'; '.join(f'{f.what}: {f.detail}' for f in wrong)}", hint=hint)


@contextmanager
def guard() -> Iterator[None]:
    """End the process with one line and the right code, whatever happens inside."""
    before = {number: signal.signal(number, _interrupt) for number in _SIGNALS}
    try:
        yield
    except Interrupted as stop:
        name = signal.Signals(stop.number).name
        Console.current().fatal(f"interrupted by {name}; what was published before it is complete")
        sys.exit(128 + stop.number)
    except TyperException as error:
        wrong = ConfigError(error.format_message().rstrip("."), hint=_usage())
        wrong.told = _follows()  # They all have the same words.
        _end(wrong)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # So that the flush at exit does not fail again.
        sys.exit(1)
    except Exception as error:
        if Console.current().verbose and not isinstance(error, StormdaError):
            Console.current().err.print(traceback.format_exc())
        _end(translate(error) or _fault(error))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def patient() -> Iterator[Callable[[], bool]]:
    """For work that can end by itself: the first signal makes `stop()` true, the second one ends it.

    The handler only takes note: it may run in the middle of a write to stderr, where a second write is an error.
    """
    heard: list[int] = []
    told = False

    def note(number: int, frame: FrameType | None) -> None:
        if heard:
            raise Interrupted(number)
        heard.append(number)

    def stop() -> bool:
        nonlocal told
        if heard and not told:
            told = True
            Console.current().say("interrupted: ending in good order; once more to end at once")
        return bool(heard)

    before = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if heard:
        raise Interrupted(heard[0])


def _interrupt(number: int, frame: FrameType | None) -> None:
    sys.unraisablehook = lambda _: None  # What was half-made in this moment may not be torn down without complaint.
    raise Interrupted(number)


def _follows() -> bool:
    """Whether this is one of several processes, and not the first."""
    from stormda.pipeline.ranks import number

    try:
        return number() > 0
    except StormdaError:
        return False


def _end(error: StormdaError) -> None:
    console, code = Console.current(), exit_code(error)
    if error.told and not console.verbose:
        sys.exit(code)
    if console.log_format == "json":
        facts = {"error": type(error).__name__, "file": error.file, "key": error.key, "hint": error.hint}
        console.fatal(error.what, **facts, exit_code=code)
    else:
        console.fatal(str(error))
    sys.exit(code)


def _usage() -> str:
    verbs = [word for word in sys.argv[1:2] if word.isalpha()]
    return " ".join(["stormda", *verbs, "--help"])


def _fault(error: Exception) -> StormdaError:
    """A fault of ours: keep the traceback and say where."""
    file = _keep(Console.current().run, traceback.format_exc())
    hint = (
        "a fault of stormda: please report it with that file" if file else "a fault of stormda: -v shows the traceback"
    )
    return StormdaError(f"unexpected {type(error).__name__}: {error}", file=file, hint=hint)


def _keep(run: Path | None, text: str) -> Path | None:
    """Write the traceback where it can be found; None where nothing can be written."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    for folder in ([run / "logs"] if run else []) + [Path(tempfile.gettempdir())]:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # A new file with a name that nobody can foresee: others may write to the folder for temporary files.
            handle, name = tempfile.mkstemp(".log", f"stormda-fault-{stamp}-", folder)
            with open(handle, "w", encoding="utf-8") as file:
                file.write(f"{' '.join(sys.argv)}\n\n{text}")
        except OSError:
            continue
        return Path(name)
    return None
