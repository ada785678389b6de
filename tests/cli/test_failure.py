"""Every way to fail ends in one line on stderr and the code that a scheduler expects."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import stormda.errors
from stormda.cli import failure
from stormda.cli.failure import EXIT_CODES, Interrupted, exit_code, guard, translate
from stormda.errors import AlreadyRunning, AnalysisRejected, CheckpointError, InputMissing, OutputError, StormdaError


def test_every_class_of_the_error_tree_has_a_code() -> None:
    assert {kind.__name__ for kind in EXIT_CODES} == set(stormda.errors.__all__)


def test_the_codes_are_those_of_the_docstring() -> None:
    tree = re.findall(r"(?m)(\w+)  .*exit (\d)$", stormda.errors.__doc__ or "")
    assert {name: int(code) for name, code in tree} == {kind.__name__: code for kind, code in EXIT_CODES.items()}


def test_a_new_class_takes_the_code_of_its_parent() -> None:
    class TooLate(InputMissing):
        pass

    assert exit_code(TooLate("no report yet")) == 3


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputMissing("no file", file="a.nc", key="b.c", hint="wait"), 3, "no file - file=a.nc key=b.c; hint: wait"),
        (AlreadyRunning("locked", file="x"), 4, "locked - file=x"),
        (AnalysisRejected("nonsense"), 5, "nonsense"),
        (CheckpointError("other grid"), 1, "other grid"),
        (OSError(errno.ENOSPC, "No space left on device", "run/a"), 1, "there is no room left - file=run/a"),
        (PermissionError(errno.EACCES, "Permission denied", "run/a"), 1, "permission is denied - file=run/a"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/x"), 1, "the system says: No such file - file=/x"),
        (MemoryError(), 1, "there is not enough memory; hint: assimilate.batch="),
        (OutputError("two\nlines"), 1, "two lines"),
    ],
)
def test_one_line_and_a_code(
    error: Exception, code: int, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as end, guard():
        raise error
    said = capsys.readouterr()
    assert end.value.code == code
    assert said.out == ""
    assert said.err.startswith(f"FATAL ERROR: {line}")
    assert said.err.count("\n") == 1 and "Traceback" not in said.err


def test_a_full_disk_is_an_output_error_and_an_unknown_error_stays_unknown() -> None:
    assert isinstance(translate(OSError(errno.ENOSPC, "full")), OutputError)
    assert translate(ZeroDivisionError()) is None


def test_a_fault_leaves_its_traceback_in_the_run_folder(
    stormda: Callable[..., Any], write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(config: object) -> str:
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr("stormda.config.dump", broken)
    write(run_dir="out")
    ended = stormda("config", "show")
    (log,) = (tmp_path / "out" / "logs").iterdir()
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith(f"FATAL ERROR: unexpected ZeroDivisionError: by nought - file={log}; hint: ")
    assert "Traceback" not in ended.err
    assert "stormda config show" in log.read_text() and "in broken" in log.read_text()
    assert "in broken" in stormda("config", "show", "-v").err


def test_a_fault_without_a_run_leaves_its_traceback_among_temporary_files(
    stormda: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("stormda.config.schema", broken)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = stormda("config", "schema")
    (log,) = tmp_path.iterdir()
    assert ended.code == 1 and f"file={log}" in ended.err


def test_failures_for_machines(stormda: Callable[..., Any], write: Callable[..., Path]) -> None:
    write()
    ended = stormda("config", "show", "--log-format", "json", "assimilate.ensembel=3")
    entry = json.loads(ended.err)
    del entry["time"]
    assert entry == {
        "level": "fatal",
        "error": "ConfigError",
        "message": "unknown key 'ensembel', on the command line",
        "key": "assimilate.ensembel",
        "hint": "did you mean 'ensemble'?",
        "exit_code": 2,
    }


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_cleans_up_and_says_so(number: signal.Signals, code: int, tmp_path: Path) -> None:
    """In a process of its own: the work inside is undone by its context managers before the process ends."""
    script = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from stormda.cli.failure import guard\n"
        "from stormda.store.publish import atomic\n"
        "with guard(), atomic(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "product")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert err.startswith(f"FATAL ERROR: interrupted by {number.name}") and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_says_no_more_than_one_line(tmp_path: Path) -> None:
    """What the signal leaves half-made in a library complains when it is torn down: nobody wants to read that."""
    script = (
        "import os, signal\n"
        "from stormda.cli.failure import guard\n"
        "class Half:\n"
        "    def __init__(self):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        self.whole = True\n"
        "    def __del__(self):\n"
        "        self.whole\n"
        "with guard():\n"
        "    Half()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 143 and done.stderr.count("\n") == 1 and "AttributeError" not in done.stderr


def test_patient_work_ends_by_itself_at_the_first_signal() -> None:
    done = []
    with pytest.raises(Interrupted) as stopped, failure.patient() as stop:
        for step in range(10):
            if stop():
                break
            done.append(step)
            if step == 3:
                os.kill(os.getpid(), signal.SIGTERM)
    assert done == [0, 1, 2, 3] and stopped.value.number == signal.SIGTERM


def test_a_signal_in_the_middle_of_a_write_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A buffered stderr refuses a write inside a write: the handler must not talk."""
    inside: list[Any] = []

    class Err:
        def print(self, text: str, style: str | None = None) -> None:
            assert not inside, "reentrant call"
            inside.append(text)
            if len(said) == 0:
                os.kill(os.getpid(), signal.SIGTERM)
            said.append(inside.pop())

    said: list[str] = []
    console = failure.Console()
    monkeypatch.setattr(console, "err", Err())
    with pytest.raises(Interrupted), failure.patient() as stop:
        console.say("training")
        assert stop() and stop()
    assert len(said) == 2 and "interrupted" in said[1]


def test_a_second_signal_ends_patient_work_at_once() -> None:
    with pytest.raises(Interrupted), failure.patient():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("went on")


def test_a_reader_that_goes_away_is_no_fault(tmp_path: Path) -> None:
    command = f"{sys.executable} -m stormda config schema | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=tmp_path)
    assert done.stderr == "" and list(tmp_path.iterdir()) == []


def test_str_of_an_error_is_what_people_read() -> None:
    assert str(StormdaError("what", key="a.b")) == "what - key=a.b"
