"""The worker: crashes, hangs and hunger of a reader are errors that say so, and the next file is read."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stormda.config import ReaderLimits
from stormda.errors import InputError, InputMissing
from stormda.sources import worker
from stormda.sources.files import expand
from stormda.sources.worker import isolated

FILE = Path("some.bufr")


def call(function: object, *arguments: object, seconds: float = 60.0, gib: float = 4.0) -> object:
    limits = ReaderLimits(seconds=seconds, gib=gib)
    return isolated(function, *arguments, file=FILE, key="observations.sources.x", limits=limits)  # type: ignore[arg-type]


def test_one_worker_serves_many_calls() -> None:
    first = call(os.getpid)
    assert first == call(os.getpid) != os.getpid()


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (os.abort, (), "crashed .SIGABRT."),
        (os._exit, (3,), "crashed .exit code 3."),
        (signal.raise_signal, (signal.SIGSEGV,), "crashed .SIGSEGV."),
        (os.close, (0x7FFF,), "cannot be read .OSError"),
        (int, ("x",), "cannot be read .ValueError"),
    ],
)
def test_a_crash_is_an_error_of_the_file(function: object, arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        call(function, *arguments)
    assert (error.value.file, error.value.key) == ("some.bufr", "observations.sources.x")
    assert call(int, "7") == 7  # the next file has a worker


def test_time_and_memory_are_limited() -> None:
    start = time.monotonic()
    with pytest.raises(InputError, match="longer than 0.2 s"):
        call(time.sleep, 60.0, seconds=0.2)
    assert time.monotonic() - start < 30.0
    with pytest.raises(InputError, match="more than 0.5 GiB of memory"):
        call(bytearray, 2**30, gib=0.5)
    assert call(len, b"after", gib=0.5) == 5


def test_errors_of_ours_come_back_whole() -> None:
    with pytest.raises(InputMissing, match="does not exist") as error:
        call(expand, ["/nowhere/x"], Path)
    assert error.value.file == "/nowhere/x"


def test_what_is_logged_there_is_logged_here(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        call(logging.warning, "one report of %d", 12)
    assert "one report of 12" in caplog.text


def test_what_a_library_prints_is_in_the_message_only(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="exit code 1.: .*assertion failed"):
        call(exec, "import os, sys\nprint('assertion failed', file=sys.stderr, flush=True)\nos._exit(1)")
    assert capfd.readouterr() == ("", "")


def test_the_worker_ends_with_its_process() -> None:
    """Also where the script has no `if __name__ == "__main__"`, and where it is killed."""
    script = (
        "import os, signal; from pathlib import Path; from stormda.config import ReaderLimits\n"
        "from stormda.sources.worker import isolated\n"
        "print(isolated(os.getpid, file=Path('x'), key='k', limits=ReaderLimits()), flush=True)\n"
    )
    for end in ("", "os.kill(os.getpid(), signal.SIGKILL)"):
        out = subprocess.run([sys.executable, "-c", script + end], capture_output=True, text=True, timeout=60)
        for _ in range(100):
            if not Path(f"/proc/{int(out.stdout)}").exists():
                break
            time.sleep(0.05)
        assert not Path(f"/proc/{int(out.stdout)}").exists()


def test_an_interrupt_leaves_no_answer_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    call(int, "1")

    def interrupted(*_: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(worker._Worker, "call", interrupted)
    with pytest.raises(KeyboardInterrupt):
        call(int, "2")
    monkeypatch.undo()
    assert call(int, "3") == 3
