"""`doctor` tells a broken installation from a good one."""

import os
import tempfile
import time
from datetime import datetime, tzinfo
from pathlib import Path

import pytest

from stormda.pipeline import doctor as module
from stormda.pipeline import doctor_place
from stormda.pipeline.doctor import doctor
from stormda.pipeline.doctor_place import look_at
from stormda.pipeline.findings import Finding, Status


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One trial, that costs nothing."""
    monkeypatch.setattr(module, "_TRIALS", {"trial": "pass"})
    monkeypatch.setattr(module, "_MPI", "raise ImportError")


def test_this_installation_works() -> None:
    found = doctor()
    assert not found.of(Status.BROKEN) and not found.of(Status.MISSING)
    names = [f.what for f in found.findings]
    assert {
        "stormda",
        "python",
        "torch",
        "zarr",
        "processors",
        "memory",
        "trial",
        "MPI",
        "ranks",
        "disk",
        "clock",
    } <= set(names)
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


# --- ranks, disk, permissions, clock ---------------------------------------------------------------------------------


def _of(what: str, folder: Path) -> Finding:
    (found,) = [f for f in look_at(folder) if f.what == what]
    return found


def test_ranks_that_were_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMI_SIZE", "4")
    monkeypatch.setenv("PMI_RANK", "2")
    (found,) = module._ranks()
    assert found.status is Status.OK and found.detail.startswith("2 of 4 (PMI_SIZE)")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "8")
    (found,) = module._ranks()
    assert found.status is Status.BROKEN and "each would do all of the work" in found.detail


def test_a_disk_that_is_nearly_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _of("disk", tmp_path / "to" / "be" / "made").status is Status.OK
    monkeypatch.setattr(doctor_place, "_ROOM", 1e9)
    assert _of("disk", tmp_path).status is Status.NOTE


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert _of("permissions", tmp_path).status is Status.OK
    tmp_path.chmod(0o777)
    assert _of("permissions", tmp_path).detail.startswith("everybody may write")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "root" in _of("permissions", tmp_path).detail

    def refused(**options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    assert _of("permissions", tmp_path).status is Status.BROKEN
    assert _of("clock of the disk", tmp_path).status is Status.NOTE


@pytest.mark.parametrize(
    ("answer", "words"), [(True, "Z, synchronised"), (False, "not synchronised"), (None, "nobody")]
)
def test_whether_the_clock_is_kept_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bool | None, words: str
) -> None:
    monkeypatch.setattr(doctor_place, "_kept", lambda: answer)
    found = _of("clock", tmp_path)
    assert words in found.detail and (found.status is Status.NOTE) == (answer is False)


def test_clocks_that_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor_place._kept() in (True, False, None)  # The real kernel answers, or does not.
    assert _of("clock of the disk", tmp_path).status is Status.OK
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert "ahead of this machine's" in _of("clock of the disk", tmp_path).detail


def test_a_clock_from_before_the_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Long(datetime):
        """Ago."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Long":
            return cls(1970, 1, 2, tzinfo=tz)

    monkeypatch.setattr(doctor_place, "datetime", Long)
    assert _of("clock", tmp_path).status is Status.BROKEN
