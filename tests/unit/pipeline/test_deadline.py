"""Work that takes too long is interrupted; what hears no alarm ends the process."""

import signal
import subprocess
import sys
import threading
from time import monotonic, sleep

import pytest

from stormda.pipeline.deadline import OutOfTime, deadline


def test_work_in_time_is_left_alone() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with deadline(5.0):
        pass
    with deadline(None):
        pass
    assert signal.getsignal(signal.SIGALRM) == before and signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    for timer in (t for t in threading.enumerate() if isinstance(t, threading.Timer)):
        timer.join(5.0)  # It was called off: it ends without having done anything.
        assert not timer.is_alive()


def test_an_alarm_interrupts() -> None:
    begun = monotonic()
    with pytest.raises(OutOfTime, match="longer than 0.2 s"), deadline(0.2):
        sleep(30)
    assert monotonic() - begun < 5.0


def test_no_except_exception_hides_it() -> None:
    assert not issubclass(OutOfTime, Exception)


def test_a_process_that_hears_nothing_ends() -> None:
    code = (
        "import signal, time\nimport stormda.pipeline.deadline as d\nd._GRACE = 0.2\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})\n"
        "with d.deadline(0.2):\n    time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1 and "hears no alarm" in done.stderr
