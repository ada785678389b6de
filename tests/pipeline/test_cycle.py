"""Cycles by the clock: what happens when everything comes in time, and when it does not.

The clock is the argument `now`; observations come as files when the test delivers them. Cycles are six hours apart, the
window is the six hours before the cycle, so that a cycle is due at its own time where the cutoff is 0 h.
"""

import ast
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import sleep
from typing import Any

import netCDF4
import numpy as np
import psutil
import pytest
import torch
from cycle_world import HOUR, METHOD, Project
from tiny_world import FIRST, TIMES, World, command, stamp

from stormda.assimilation import methods
from stormda.config import load
from stormda.errors import (
    AlreadyRunning,
    AnalysisRejected,
    ConfigError,
    InputError,
    InputMissing,
    OutputError,
    StormdaError,
)
from stormda.observations import QC
from stormda.pipeline import build, cycle_inputs, ingest
from stormda.pipeline import cycle_session as stage
from stormda.pipeline.cycle import catch_up, clean_up, run_cycle
from stormda.pipeline.cycle_status import status, unlock
from stormda.pipeline.history import find_past
from stormda.store.feedback import read_feedback
from stormda.store.ledger import Ledger, ledger_path
from stormda.time import Window

REQUIRED = {"policy": "required", "wait": "2h"}
Make = Callable[..., Project]


@pytest.fixture
def project(world: World, tmp_path: Path) -> Make:
    """`project(late="12h")` is a folder of its own."""

    def make(sections: dict[str, Any] | None = None, **cycle: Any) -> Project:
        return Project(world, tmp_path / "project", cycle, **(sections or {}))

    return make


# --- in time ---------------------------------------------------------------------------------------------------------


def test_a_cycle_from_files_to_an_analysis(project: Make) -> None:
    p = project(metrics="metrics.prom", lead="12h", verify=True)
    p.deliver(FIRST)
    config = p.config("verify.report=false")
    report = run_cycle(config, now=TIMES[FIRST])
    (line,) = report.cycles
    assert (line.state, line.product, line.run) == ("done", "analysis", 1) and line.used and line.used > 100
    assert p.half_written() == [] and len(list((p.run / "forecasts" / METHOD).glob("*/forecast_*.nc"))) == 2
    assert [s for (s,) in p.rows("SELECT stage FROM stages ORDER BY started, rowid")] == [
        "assimilate",
        "forecast",
        "verify",
    ]
    metrics = (p.run / "metrics.prom").read_text()
    assert f'stormda_cycle_latest_time_seconds{{run="tiny",product="analysis"}} {TIMES[FIRST].astype(int)}' in metrics
    assert 'stormda_cycle_runs{run="tiny",state="done"} 1' in metrics
    again = run_cycle(config, now=TIMES[FIRST])
    assert again.cycles == () and again.next.startswith("nothing to do")
    assert status(config, now=TIMES[FIRST] + HOUR).verdict == "OK"


def test_the_command_says_it_in_json_and_ends_with_the_right_code(project: Make) -> None:
    p = project({"source": REQUIRED})
    words = ("-c", p.folder / "config.yaml", "--now", stamp(FIRST), "--log-format", "json")
    waiting = command("cycle", "run", *words, "--json")
    assert waiting.code == 3 and '"state": "waiting"' in waiting.out and "FATAL" not in waiting.err
    p.deliver(FIRST)
    done = command("cycle", "run", *words, "--json")
    assert done.code == 0 and '"state": "done"' in done.out
    lines = [line for line in done.err.splitlines() if line]
    assert all(line.startswith("{") and line.endswith("}") for line in lines)
    assert any('"stage": "assimilate"' in line for line in lines)
    shown = command("cycle", "status", *words)
    assert shown.code == 0 and shown.out.startswith("OK: 2019-02-10T00:00Z is done")


def test_prometheus_can_read_the_metrics(project: Make) -> None:
    """The text format 0.0.4: HELP and TYPE once and before the values of a name; each name is in the documentation."""
    p = project(metrics="metrics.prom")
    p.deliver(FIRST)
    run_cycle(p.config(), now=TIMES[FIRST] + HOUR)
    lines = (p.run / "metrics.prom").read_text().splitlines()
    value = re.compile(r'(stormda_[a-z_]+)\{run="tiny"(,[a-z]+="[a-z]+")*\} -?\d+(\.\d+)?(e[+-]\d+)?')
    names: list[str] = []
    for line in lines:
        if found := re.fullmatch(r"# HELP (stormda_[a-z_]+) [^\\]+", line):
            assert found[1] not in names
            names.append(found[1])
        elif line.startswith("# TYPE"):
            assert line == f"# TYPE {names[-1]} gauge"
        else:
            assert (found := value.fullmatch(line)) is not None and found[1] == names[-1], line
    documented = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    assert len(names) >= 8 and [n for n in names if n not in documented] == []


def test_status_is_read_in_five_seconds(project: Make) -> None:
    """One word, one sentence, a screen at most, and nothing heavy that has to be waited for."""
    p = project()
    p.deliver(*range(FIRST, FIRST + 10))
    catch_up(p.config(), now=TIMES[FIRST + 9])
    words = [
        sys.executable,
        "-X",
        "importtime",
        "-m",
        "stormda",
        "cycle",
        "status",
        "-c",
        str(p.folder / "config.yaml"),
    ]
    done = subprocess.run([*words, "--now", stamp(FIRST + 20)], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("BEHIND: ") and len(lines) <= 24
    assert any("due for" in line for line in lines) and "last analysis  2019-02-12T06:00Z, 66.0 h ago" in done.stdout
    assert not re.search(r"\| +(torch|xarray|matplotlib)\n", done.stderr)


def test_a_dry_run_writes_nothing(project: Make) -> None:
    p = project({"source": REQUIRED})
    report = run_cycle(p.config(), now=TIMES[FIRST + 1], dry_run=True)
    assert [line.state for line in report.cycles] == ["missing", "waiting"]
    assert not (p.run / "cycle").exists()


def test_catch_up_works_in_order_and_each_cycle_finds_the_one_before(project: Make) -> None:
    p = project()
    p.deliver(*range(FIRST, FIRST + 4))
    report = catch_up(p.config(), now=TIMES[FIRST + 3])
    assert [line.cycle[:13] for line in report.cycles] == [stamp(FIRST + k)[:13] for k in range(4)]
    assert [p.provenance(FIRST + k)["history"] for k in range(4)] == ["cold start", "analysis", "analysis", "analysis"]


def test_only_cycles_that_can_be_are_asked_for(project: Make) -> None:
    p = project()
    for time, words in ((TIMES[FIRST] + HOUR, "there is no cycle at"), (TIMES[FIRST + 1], "is not due before")):
        with pytest.raises(ConfigError, match=words):
            run_cycle(p.config(), time, now=TIMES[FIRST])
    assert p.states() == ["due"]


def test_a_first_call_that_finds_many_files_is_not_begun_from_the_first_again(
    project: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    p = project()
    p.deliver(*range(FIRST, FIRST + 6))
    monkeypatch.setattr(cycle_inputs, "_TOGETHER", 2)
    whole, calls = ingest.ingest_files, []

    def cut(config: Any, files: Any, **options: Any) -> Any:
        calls.append([path.name for path in next(iter(files.values()))])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(config, files, **options)

    monkeypatch.setattr(ingest, "ingest_files", cut)
    with pytest.raises(KeyboardInterrupt):
        run_cycle(p.config(), now=TIMES[FIRST])
    run_cycle(p.config(), now=TIMES[FIRST])
    assert [names[0] for names in calls] == [f"{FIRST + k}.csv" for k in (0, 2, 4, 4)]


# --- data that come late, or never -----------------------------------------------------------------------------------


def test_it_waits_for_a_source_until_its_time_is_over(project: Make) -> None:
    p = project({"source": REQUIRED})
    config = p.config()
    assert run_cycle(config, now=TIMES[FIRST]).waiting
    assert status(config, now=TIMES[FIRST]).verdict == "WAITING"
    assert run_cycle(config, now=TIMES[FIRST] + HOUR).waiting
    failed = run_cycle(config, now=TIMES[FIRST] + 2 * HOUR)
    with pytest.raises(InputMissing, match="stations has 0 of 1 values, required"):
        failed.stop_if_failed()
    assert p.states() == ["failed"] and not p.product(FIRST).exists()
    assert status(config, now=TIMES[FIRST] + 3 * HOUR).verdict == "FAILED"
    p.deliver(FIRST + 1)  # A missing cycle does not break the next.
    (line,) = run_cycle(config, now=TIMES[FIRST + 1]).cycles
    assert line.state == "done" and p.provenance(FIRST + 1)["history"] == "cold start"


def test_a_source_that_only_warns_is_gone_on_without(project: Make) -> None:
    p = project({"source": {"policy": "warn", "wait": "1h"}})
    config = p.config()
    assert run_cycle(config, now=TIMES[FIRST]).waiting
    (line,) = run_cycle(config, now=TIMES[FIRST] + HOUR).cycles
    assert (line.state, line.used) == ("done", 0)


def test_too_late_for_an_analysis_the_background_is_published(project: Make) -> None:
    p = project({"source": REQUIRED}, on_missing="background")
    config = p.config()
    p.deliver(FIRST)
    run_cycle(config, now=TIMES[FIRST])
    (line,) = run_cycle(config, now=TIMES[FIRST + 1] + 2 * HOUR).cycles
    assert (line.state, line.product) == ("done", "background") and "stations has 0 of 1" in line.note
    assert p.provenance(FIRST + 1)["history"] == "analysis"
    assert status(config, now=TIMES[FIRST + 1] + 2 * HOUR).verdict == "DEGRADED"


def test_late_observations_run_their_cycle_and_all_after_it_again(project: Make) -> None:
    p = project(late="18h")
    config = p.config()
    p.deliver(FIRST, stations=20)
    p.deliver(FIRST + 1)
    catch_up(config, now=TIMES[FIRST + 1])
    before = p.analysis(FIRST), p.analysis(FIRST + 1)
    assert catch_up(config, now=TIMES[FIRST + 1]).cycles == ()
    p.deliver(FIRST)  # the other 40 stations
    report = catch_up(config, now=TIMES[FIRST + 1])
    assert [(line.cycle[:13], line.run) for line in report.cycles] == [
        (stamp(FIRST)[:13], 2),
        (stamp(FIRST + 1)[:13], 2),
    ]
    assert np.abs(p.analysis(FIRST) - before[0]).max() > 0 and np.abs(p.analysis(FIRST + 1) - before[1]).max() > 0
    assert p.rows("SELECT count(*) FROM cycles WHERE state = 'superseded'") == [(2,)]
    p.deliver(FIRST, name="more", stations=10)  # New rows again, 19 h after their cycle: too late.
    late = catch_up(config, now=TIMES[FIRST + 1] + 13 * HOUR)
    assert [line.run for line in late.cycles if line.cycle[:13] == stamp(FIRST)[:13]] == []


def test_what_was_given_up_for_missing_data_is_done_when_they_come(project: Make) -> None:
    p = project({"source": REQUIRED}, late="12h")
    config = p.config()
    run_cycle(config, now=TIMES[FIRST] + 2 * HOUR)
    assert p.states() == ["failed"]
    p.deliver(FIRST)
    (line,) = run_cycle(config, now=TIMES[FIRST] + 3 * HOUR).cycles
    assert (line.run, line.state, line.product) == (2, "done", "analysis")


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:40], lambda data: os.urandom(2000)])
def test_a_file_that_is_damaged_is_told_once_and_read_when_it_is_repaired(
    project: Make, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    p = project({"source": REQUIRED})
    config = p.config()
    p.deliver(FIRST, FIRST + 1)
    file = p.folder / "obs" / f"{FIRST}.csv"
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert run_cycle(config, now=TIMES[FIRST]).waiting
    told = caplog.text.count("is left out")
    assert run_cycle(config, now=TIMES[FIRST]).waiting and caplog.text.count("is left out") == told <= 1
    assert told == 0 or "bad files" in status(config, now=TIMES[FIRST]).facts
    file.write_bytes(whole)
    (line,) = run_cycle(config, now=TIMES[FIRST]).cycles
    assert line.state == "done" and status(config, now=TIMES[FIRST]).verdict == "OK"


@pytest.mark.parametrize("on_missing", ["fail", "background"])
def test_observations_of_which_none_can_be_used_are_as_good_as_missing(project: Make, on_missing: str) -> None:
    blacklist = [{"check": "blacklist", "stations": [f"ST{n:03d}" for n in range(60)]}]
    p = project({"quality": {"static": blacklist}}, on_missing=on_missing)
    p.deliver(FIRST)
    report = run_cycle(p.config("observations.on_none=fail"), now=TIMES[FIRST])
    assert p.states() == ["failed" if on_missing == "fail" else "done"]
    if on_missing == "fail":
        with pytest.raises(InputMissing, match="no usable observation"):
            report.stop_if_failed()
    else:
        assert report.cycles[0].product == "background" and "no usable observation" in report.cycles[0].note


METAR = "KJFK 100000Z 31010KT 10SM CLR 02/M08 A3012 RMK AO2 SLP200 T00221078="


def test_reports_that_tell_no_month_are_of_the_time_in_which_they_come(project: Make) -> None:
    """The name of the file does not tell either; one that was last changed at another time is left out."""
    p = project()
    config = p.config("observations.sources={airports: {kind: metar, files: ['obs/*.txt'], errors: {t2m: 1.0}}}")
    fresh, old = p.folder / "obs" / "fresh.txt", p.folder / "obs" / "old.txt"
    for file, age in ((fresh, 10 * 60), (old, 15 * 86400)):
        file.write_text(f"{METAR}\n")
        seconds = int(TIMES[FIRST].astype(np.int64)) - age
        os.utime(file, (seconds, seconds))
    run_cycle(config, now=TIMES[FIRST] + HOUR)
    rows = build.store(config).read(Window(TIMES[FIRST] - 40 * 24 * HOUR, TIMES[FIRST] + HOUR))
    assert set(rows["time"].astype("datetime64[s]")) == {TIMES[FIRST]}
    assert p.rows("SELECT count(*) FROM inputs WHERE note LIKE '%nothing tells month and year%'") == [(1,)]


# --- sampling that fails ---------------------------------------------------------------------------------------------


def _broken(monkeypatch: pytest.MonkeyPatch, how: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """The sampler gives what `how` makes of the analysis."""
    whole = methods.analysis

    def analysis(*arguments: Any) -> Any:
        ensemble, carry = whole(*arguments)
        return how(ensemble), carry

    monkeypatch.setattr(methods, "analysis", analysis)


def _slow(ensemble: torch.Tensor) -> torch.Tensor:
    sleep(30)
    return ensemble


def _faulty(ensemble: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("an unforeseen fault")


FAILURES: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], str]] = {
    "not finite": (lambda z: z * float("nan"), "is not finite"),
    "far off": (lambda z: z + 50.0, "climatological standard deviations from normal"),
    "too slow": (_slow, "it took longer than 1 s"),
    "fault": (_faulty, "RuntimeError: an unforeseen fault"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_the_background_takes_the_place_of_an_analysis_that_failed(
    project: Make, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    how, words = FAILURES[name]
    p = project(timeout="1s" if name == "too slow" else "60s")
    p.deliver(FIRST)
    _broken(monkeypatch, how)
    (line,) = run_cycle(p.config(), now=TIMES[FIRST]).cycles
    assert (line.state, line.product) == ("done", "background") and words in line.note
    facts, folder = p.provenance(FIRST), p.product(FIRST)
    assert facts["product"] == "background" and words in facts["product_reason"] and facts["used"] == 0
    with netCDF4.Dataset(folder / "analysis.nc") as file, netCDF4.Dataset(folder / "background.nc") as other:
        assert file.product == "background" and words in file.comment
        np.testing.assert_array_equal(file["msl"][:], other["msl"][:])
    codes = read_feedback(folder / "feedback.nc").observations["qc"]
    assert (codes == QC.NOT_ASSIMILATED).any() and not (codes == QC.USED).any()
    assert list((p.run / "logs").glob("cycle-fault-*")) != [] if name == "fault" else not (p.run / "logs").exists()


def test_or_the_cycle_fails_and_the_next_is_a_cold_start(project: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    p = project(on_reject="fail")
    p.deliver(FIRST, FIRST + 1)
    with monkeypatch.context() as patch:
        _broken(patch, lambda z: z + 50.0)
        ended = command("cycle", "run", "-c", p.folder / "config.yaml", "--now", stamp(FIRST))
    assert ended.code == 5 and "standard deviations from normal" in ended.err and not p.product(FIRST).exists()
    (line,) = run_cycle(p.config(), now=TIMES[FIRST + 1]).cycles
    assert line.state == "done" and p.provenance(FIRST + 1)["history"] == "cold start"
    assert p.states() == ["failed", "done"]
    (again,) = run_cycle(p.config(), TIMES[FIRST], now=TIMES[FIRST + 1]).cycles
    assert (again.run, again.state, again.product) == (2, "done", "analysis")


def test_a_gap_is_no_cold_start_for_what_is_interpolated_in_time(project: Make) -> None:
    p = project({"source": REQUIRED, "history": {"source": "analyses", "frames": 2}})
    p.deliver(FIRST, FIRST + 2)
    config = p.config()
    catch_up(config, now=TIMES[FIRST + 2] + 2 * HOUR)
    assert p.states() == ["done", "failed", "done"] and p.provenance(FIRST + 2)["history"] == "analysis"
    past = find_past(config, build.prior(config, METHOD), METHOD, TIMES[FIRST + 2], 0)
    np.testing.assert_array_equal(past.history.mask, [True, False])
    assert past.time == TIMES[FIRST] and past.mean is not None and past.error is not None
    np.testing.assert_allclose(past.mean, p.analysis(FIRST).mean(axis=0), rtol=1e-5)  # Of members in float32.


def test_history_that_is_too_old_is_a_cold_start(project: Make) -> None:
    p = project({"history": {"source": "analyses", "max_age": "5h"}})
    p.deliver(FIRST, FIRST + 1)
    catch_up(p.config(), now=TIMES[FIRST + 1])
    assert p.provenance(FIRST + 1)["history"] == "cold start"


def test_scores_and_forecasts_that_fail_do_not_keep_the_next_cycle_out(
    project: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    p = project(lead="6h", attempts=2)
    p.deliver(FIRST, FIRST + 1)
    from stormda.pipeline import forecast as module

    def broken(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("no forecast today")

    monkeypatch.setattr(module, "forecast", broken)
    config = p.config()
    first = run_cycle(config, now=TIMES[FIRST])
    with pytest.raises(StormdaError, match="no forecast today"):
        first.stop_if_failed()
    assert run_cycle(config, now=TIMES[FIRST]).cycles[0].state == "done"
    notes = [n for (n,) in p.rows("SELECT note FROM stages WHERE stage = 'forecast'")]
    assert notes == ["given up: RuntimeError: no forecast today"]


# --- the machine fails -----------------------------------------------------------------------------------------------


def test_a_file_that_may_not_grow_loses_no_cycle(project: Make) -> None:
    """RLIMIT_FSIZE: every write beyond 2 kB fails with EFBIG, as ENOSPC does on a full disk."""
    p = project()
    p.deliver(FIRST)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
    try:
        with pytest.raises(OutputError):
            run_cycle(p.config(), now=TIMES[FIRST])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert p.half_written() == [] and p.left() == set()
    (line,) = run_cycle(p.config(), now=TIMES[FIRST]).cycles
    assert (line.state, line.product) == ("done", "analysis")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_disk_that_cannot_be_written_loses_no_cycle(project: Make, disk: Path, how: str) -> None:
    p = project(attempts=1)
    p.deliver(FIRST, FIRST + 1)
    shutil.copytree(p.run, disk / "run")
    shutil.rmtree(p.run)
    p.run = disk / "run"
    config = p.config(f"run_dir={p.run}")
    run_cycle(config, now=TIMES[FIRST])
    ballast = disk / "ballast"
    if how == "full":
        ballast.write_bytes(bytes(shutil.disk_usage(disk).free - 8192))
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for _ in range(3):
        with pytest.raises(OutputError):
            run_cycle(config, now=TIMES[FIRST + 1])
    assert status(config, now=TIMES[FIRST + 1]).verdict == "BEHIND"
    if how == "full":
        ballast.unlink()
    else:
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    (line,) = run_cycle(config, now=TIMES[FIRST + 1]).cycles
    assert (line.state, line.product, line.run) == ("done", "analysis", 1)
    assert p.half_written() == [] and p.double_runs() == 0


def test_a_store_that_hangs_ends_the_call_in_time(project: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    p = project(timeout="1s")
    p.deliver(FIRST)

    def hangs(*arguments: Any) -> Any:
        sleep(30)

    with monkeypatch.context() as patch:
        patch.setattr(stage, "ready", hangs)
        with pytest.raises(StormdaError, match="the observations could not be read: it took longer than 1 s"):
            run_cycle(p.config(), now=TIMES[FIRST])
    assert run_cycle(p.config(), now=TIMES[FIRST]).cycles[0].product == "analysis"


# --- the clock -------------------------------------------------------------------------------------------------------


def test_a_clock_that_jumps_far_ahead_is_asked_about(project: Make) -> None:
    p = project()
    p.deliver(FIRST, FIRST + 1)
    run_cycle(p.config(), now=TIMES[FIRST])
    with pytest.raises(StormdaError, match="cycles were missed, .*2019-02-10T06:00Z to 2034"):
        run_cycle(p.config(), now=np.datetime64("2034-01-01T00", "s"))
    assert p.states() == ["done"]
    assert run_cycle(p.config(), now=TIMES[FIRST + 1]).cycles[0].product == "analysis"


def test_what_was_made_while_the_clock_was_ahead_is_made_again(project: Make) -> None:
    """A clock that is a day ahead makes cycles of times without observations; they come when these times come."""
    p = project()
    p.deliver(FIRST)
    config = p.config()
    catch_up(config, now=TIMES[FIRST + 3])
    assert [n for (n,) in p.rows("SELECT used FROM cycles ORDER BY cycle")][1:] == [0, 0, 0]
    assert run_cycle(config, now=TIMES[FIRST]).cycles == ()  # right again
    for k in range(FIRST + 1, FIRST + 4):
        p.deliver(k)
        assert run_cycle(config, now=TIMES[k] - HOUR).cycles == ()  # not before its time
        (line,) = run_cycle(config, now=TIMES[k]).cycles
        assert (line.run, line.cycle[:13]) == (2, stamp(k)[:13]) and line.used and line.used > 100
    assert p.states() == ["done"] * 4


def test_a_clock_that_is_behind_makes_nothing_again(project: Make) -> None:
    p = project()
    p.deliver(FIRST, FIRST + 1)
    config = p.config()
    catch_up(config, now=TIMES[FIRST + 1])
    assert run_cycle(config, now=TIMES[FIRST] - 100 * HOUR).cycles == ()
    p.deliver(FIRST + 2)
    (line,) = catch_up(config, now=TIMES[FIRST + 2]).cycles
    assert (line.run, line.cycle[:13]) == (1, stamp(FIRST + 2)[:13])
    assert p.rows("SELECT count(*) FROM cycles WHERE state = 'superseded'") == [(0,)]


# --- locks -----------------------------------------------------------------------------------------------------------


def test_a_second_instance_ends_at_once(project: Make) -> None:
    p = project()
    p.deliver(FIRST)
    config = p.config()
    from stormda.store.lease import hold

    with hold(p.run / "cycle" / "lock", 1.0):
        with pytest.raises(AlreadyRunning, match=f"process {os.getpid()} on .* holds the lock"):
            run_cycle(config, now=TIMES[FIRST])
        with pytest.raises(AlreadyRunning, match="is alive"):
            unlock(config)
    assert unlock(config).removed is False
    assert run_cycle(config, now=TIMES[FIRST]).cycles[0].state == "done"


# --- ledger ----------------------------------------------------------------------------------------------------------


def test_a_ledger_that_is_lost_is_made_again_from_the_analyses(project: Make) -> None:
    p = project()
    p.deliver(FIRST, FIRST + 1)
    config = p.config()
    catch_up(config, now=TIMES[FIRST])
    made = (p.product(FIRST) / "provenance.json").stat().st_mtime_ns
    ledger_path(p.run).write_bytes(b"not a database, but long enough to look like one" * 100)
    with pytest.raises(InputError, match="the ledger is damaged"):
        run_cycle(config, now=TIMES[FIRST + 1])
    ledger_path(p.run).unlink()
    (line,) = catch_up(config, now=TIMES[FIRST + 1]).cycles
    assert line.cycle[:13] == stamp(FIRST + 1)[:13] and p.states() == ["done", "done"]
    assert (p.product(FIRST) / "provenance.json").stat().st_mtime_ns == made
    assert p.provenance(FIRST + 1)["history"] == "analysis"


def test_a_damaged_analysis_is_set_aside_and_the_next_cycle_is_a_cold_start(project: Make) -> None:
    p = project()
    p.deliver(FIRST, FIRST + 1)
    run_cycle(p.config(), now=TIMES[FIRST])
    file = p.product(FIRST) / "analysis.nc"
    file.write_bytes(file.read_bytes()[:3000])
    (line,) = run_cycle(p.config(), now=TIMES[FIRST + 1]).cycles
    assert (line.state, line.product) == ("done", "analysis") and p.provenance(FIRST + 1)["history"] == "cold start"
    assert not p.product(FIRST).exists() and len(list(p.product(FIRST).parent.glob(".*.damaged-*"))) == 1


def test_analyses_that_do_not_fit_the_configuration_any_more_stay(project: Make) -> None:
    p = project(attempts=1)
    p.deliver(FIRST, FIRST + 1)
    run_cycle(p.config(), now=TIMES[FIRST])
    letkf = p.product(FIRST).parent.with_name("letkf")
    shutil.copytree(p.product(FIRST).parent, letkf)  # four members; a filter goes on with them, not with six
    more = ("assimilate.method=letkf", "assimilate.ensemble=6")
    report = run_cycle(p.config(*more), now=TIMES[FIRST + 1])
    with pytest.raises(InputError, match="the previous analysis has 4 members"):
        report.stop_if_failed()
    assert (letkf / p.product(FIRST).name / "analysis.nc").exists()


LAUNCH = """
import sys
words = sys.argv[1:]
open({seen!r}, "a").write(repr(words) + chr(10))
if "--instead" not in words:
    sys.stderr.write({fatal!r} + chr(10))
    sys.exit({code})
from stormda.cli.main import main
main(words[words.index("stormda") + 1:])
"""


def test_the_analysis_may_be_started_by_another_command(project: Make, tmp_path: Path) -> None:
    """As srun and mpiexec do; here it rejects the analysis, and is called again for the background."""
    launcher, seen = tmp_path / "launch.py", tmp_path / "seen"
    fatal = "FATAL ERROR: it is 9.9 climatological standard deviations off - key=assimilate.limit"
    launcher.write_text(LAUNCH.format(seen=str(seen), fatal=fatal, code=5))
    p = project(launch=[sys.executable, str(launcher)])
    p.deliver(FIRST)
    (line,) = run_cycle(p.config(), now=TIMES[FIRST]).cycles
    assert (line.state, line.product) == ("done", "background") and "9.9 climatological" in line.note
    first, second = [ast.literal_eval(text) for text in seen.read_text().splitlines()]
    assert first[1:4] == ["-m", "stormda", "assimilate"] and second[: len(first)] == first
    assert second[len(first)] == "--instead"
    with pytest.raises(ConfigError, match="no-such-launcher cannot be run"):
        run_cycle(p.config("cycle.launch=[no-such-launcher]"), TIMES[FIRST], now=TIMES[FIRST])


def test_a_full_disk_in_a_launched_command_is_not_a_failed_analysis(project: Make, tmp_path: Path) -> None:
    """Both end with exit code 1, which torchrun makes of every code: the line of talk tells them apart."""
    launcher = tmp_path / "launch.py"
    entry = {
        "level": "fatal",
        "message": "there is no room left",
        "error": "OutputError",
        "file": "/run/x",
        "hint": "free",
    }
    launcher.write_text(LAUNCH.format(seen=str(tmp_path / "seen"), fatal=json.dumps(entry), code=1))
    p = project(launch=[sys.executable, str(launcher)], attempts=1)
    p.deliver(FIRST)
    with pytest.raises(OutputError, match="ended with exit code 1: there is no room left - file=/run/x"):
        run_cycle(p.config(), now=TIMES[FIRST])
    assert not p.product(FIRST).exists()
    entry |= {"message": "memory ran out", "error": "StormdaError"}
    launcher.write_text(LAUNCH.format(seen=str(tmp_path / "seen"), fatal=json.dumps(entry), code=1))
    (line,) = run_cycle(p.config(), now=TIMES[FIRST]).cycles
    assert (line.state, line.product) == ("done", "background") and "memory ran out" in line.note


def test_a_launched_command_does_not_outlive_its_time(project: Make, tmp_path: Path) -> None:
    p = project(launch=[sys.executable, "-c", "import time; time.sleep(60)"], timeout="1s", on_reject="fail")
    p.deliver(FIRST)
    report = run_cycle(p.config(), now=TIMES[FIRST])
    with pytest.raises(StormdaError, match="it took longer than 1 s"):
        report.stop_if_failed()
    me = psutil.Process()
    assert [c for c in me.children(recursive=True) if "time.sleep(60)" in " ".join(c.cmdline())] == []


# --- retention -------------------------------------------------------------------------------------------------------


def test_retention_keeps_what_the_next_cycle_needs(project: Make) -> None:
    keep = {"analyses": "12h", "forecasts": "6h", "observations": "12h", "ledger": "12h"}
    p = project(keep=keep, lead="6h")
    p.deliver(*range(FIRST, FIRST + 6))
    config = p.config()
    catch_up(config, now=TIMES[FIRST + 5])
    there = [k for k in range(FIRST, FIRST + 6) if p.product(k).exists()]
    assert there == [FIRST + 3, FIRST + 4, FIRST + 5]
    assert len(list((p.run / "forecasts" / METHOD).iterdir())) == 2
    assert len(p.states()) == 3 and len(list((p.run / "observations" / "batches").iterdir())) < 6
    clean_up(config, now=TIMES[FIRST + 5] + 2000 * HOUR)  # A clock that is weeks ahead removes nothing more.
    assert [k for k in range(FIRST, FIRST + 6) if p.product(k).exists()] == there
    clean_up(p.config("cycle.keep.analyses=1h"), now=TIMES[FIRST + 5])
    assert [k for k in range(FIRST, FIRST + 6) if p.product(k).exists()] == [FIRST + 5]
    (line,) = run_cycle(config, TIMES[FIRST + 6], now=TIMES[FIRST + 6]).cycles
    assert line.state == "done" and p.provenance(FIRST + 6)["history"] == "analysis"


def test_the_last_good_analysis_stays_whatever_came_after_it(project: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    p = project(keep={"analyses": "6h"})
    p.deliver(*range(FIRST, FIRST + 5))
    run_cycle(p.config(), now=TIMES[FIRST])
    _broken(monkeypatch, _faulty)
    catch_up(p.config(), now=TIMES[FIRST + 4])
    there = [k for k in range(FIRST, FIRST + 5) if p.product(k).exists()]
    assert there == [FIRST, FIRST + 3, FIRST + 4]


def test_half_made_products_of_other_machines_go_after_a_day(project: Make) -> None:
    p = project()
    p.deliver(FIRST)
    run_cycle(p.config(), now=TIMES[FIRST])
    left = p.product(FIRST).parent / ".x.elsewhere-1-00000000.partial"
    left.mkdir()
    clean_up(p.config(), now=TIMES[FIRST])
    assert left.exists()
    os.utime(left, (0, 0))
    assert clean_up(p.config(), now=TIMES[FIRST]).folders == (str(left),) and not left.exists()


# --- what a stage was cut at -----------------------------------------------------------------------------------------


def test_a_stage_that_is_cut_again_and_again_gives_way_to_the_background(project: Make) -> None:
    """As where memory is short each time: the kernel leaves no other trace."""
    p = project(attempts=2)
    p.deliver(FIRST)
    config = p.config()
    for _ in range(2):
        with Ledger(ledger_path(p.run), "a killed process") as ledger:
            cycle = ledger.cycle(TIMES[FIRST]) or (ledger.add(TIMES[FIRST]), ledger.cycle(TIMES[FIRST]))[1]
            assert cycle is not None
            ledger.begin(cycle, "assimilate", "-")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stage.Session, "_next", lambda session: None)
            run_cycle(config, now=TIMES[FIRST])
    (line,) = run_cycle(config, now=TIMES[FIRST]).cycles
    assert (line.state, line.product) == ("done", "background") and "assimilate was cut, 2 times" in line.note


def test_an_analysis_that_is_rejected_is_no_fault_of_ours() -> None:
    assert not issubclass(AnalysisRejected, stage._NOT_OURS)


def test_another_start_is_read_from_the_configuration(project: Make) -> None:
    p = project(start=None)
    p.deliver(FIRST + 2)
    (line,) = run_cycle(load(p.folder / "config.yaml"), now=TIMES[FIRST + 2] + 5 * HOUR).cycles
    assert line.cycle[:13] == stamp(FIRST + 2)[:13]
