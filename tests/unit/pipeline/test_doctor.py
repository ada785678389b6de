"""`doctor` tells a broken installation from a good one."""

import pytest

from stormda.pipeline import doctor as module
from stormda.pipeline.doctor import doctor
from stormda.pipeline.findings import Status


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One trial, that costs nothing."""
    monkeypatch.setattr(module, "_TRIALS", {"trial": "pass"})
    monkeypatch.setattr(module, "_MPI", "raise ImportError")


def test_this_installation_works() -> None:
    found = doctor()
    assert not found.of(Status.BROKEN) and not found.of(Status.MISSING)
    names = [f.what for f in found.findings]
    assert {"stormda", "python", "torch", "zarr", "processors", "memory", "trial", "MPI"} <= set(names)
    assert [f.status for f in found.findings if f.what == "MPI"] == [Status.NOTE]


def test_a_package_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_IMPORTS", {"no-such-package": "no_such_package"})
    (broken,) = doctor().of(Status.BROKEN)
    assert broken.what == "no-such-package" and "pip install" in broken.hint


@pytest.mark.parametrize(
    ("code", "detail"),
    [("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended by signal 11"), ("1/0", "ZeroDivisionError")],
)
def test_a_trial_that_brings_the_interpreter_down(code: str, detail: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TRIALS", {"trial": code})
    (broken,) = doctor().of(Status.BROKEN)
    assert broken.what == "trial" and broken.detail.startswith(detail)


def test_a_trial_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS", 0.2)
    monkeypatch.setattr(module, "_TRIALS", {"trial": "import time; time.sleep(60)"})
    (broken,) = doctor().of(Status.BROKEN)
    assert broken.detail == "no answer within 0.2 s"


@pytest.mark.parametrize("what", ["GRIB after PROJ", "PROJ after GRIB", "BUFR"])
def test_the_real_trials(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two copies of libproj in one process crash it: both import orders must work."""
    monkeypatch.undo()
    ended, words = module._try(module._TRIALS[what])
    assert ended == 0, words
