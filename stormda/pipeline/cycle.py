"""Stage `cycle`: analyses by the clock, one after the other, whatever happens in between.

A call takes the lock, finds in the ledger what was cut, notes the cycles that became due, reads new observation files,
and works on the oldest cycle that is not over:

    due ──> waiting ──> running ──> done ──> superseded (late data: the next run is due)
                           └──────> failed

Every step of that is a transaction of the ledger, and every product is published at once: a call that is killed
at any moment is gone on with by the next one, at the stage that was cut. So cron may call every five minutes.

The background takes the place of an analysis, and says so, where sampling failed, took too long or was rejected by its
sanity check (`cycle.on_reject`), and where a stage was cut `cycle.attempts` times. Without a previous analysis young
enough (`history.max_age`) a cycle is a cold start.
"""

__all__ = ["CycleReport", "catch_up", "clean_up", "run_cycle"]

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np

from stormda.config import Config
from stormda.errors import StormdaError
from stormda.pipeline.cycle_clean import CleanResult, clean
from stormda.pipeline.cycle_due import due_time, due_until, ready
from stormda.pipeline.cycle_line import CycleLine, CycleReport
from stormda.pipeline.cycle_metrics import write_metrics
from stormda.pipeline.cycle_session import Session, clock, first_cycle
from stormda.store.lease import Lease, hold
from stormda.store.ledger import Ledger, ledger_path
from stormda.time import format_time
from stormda.types import Progress, silent


def run_cycle(
    config: Config,
    cycle: np.datetime64 | None = None,
    *,
    now: np.datetime64 | None = None,
    dry_run: bool = False,
    progress: Progress = silent,
) -> CycleReport:
    """Work on the oldest cycle that is due and not over; does nothing where there is none.

    Args:
        config: the run.
        cycle: work on this one instead, again where it is over.
        now: the present time; None: the clock of this machine.
        dry_run: say what would be done, write nothing.
        progress: told about the work.

    Raises:
        AlreadyRunning: another process holds the lock.
        StormdaError: more cycles were missed than `cycle.max_gap`: is the clock right?
        OutputError: the run folder cannot be written.
    """
    return _call(config, now, dry_run, progress, lambda session: session.some(1, cycle))


def catch_up(
    config: Config, *, now: np.datetime64 | None = None, dry_run: bool = False, progress: Progress = silent
) -> CycleReport:
    """Work on every cycle that is due and not over, in order, until none is left or one waits for data.

    A cycle that fails does not keep the next ones out. Arguments and errors: as `run_cycle`.
    """
    return _call(config, now, dry_run, progress, lambda session: session.some(None, None))


def clean_up(config: Config, *, now: np.datetime64 | None = None, dry_run: bool = False) -> CleanResult:
    """Remove what is older than `cycle.keep` says; what the next cycle needs stays.

    Raises:
        InputMissing: there is no ledger: without one nobody knows what is needed.
        AlreadyRunning: another process holds the lock.
        OutputError: something cannot be removed.
    """
    path = ledger_path(config.run)
    if dry_run or not path.exists():
        with Ledger(path) as ledger:
            return clean(config, ledger, clock(now), dry_run=True)
    with _locked(config) as (_, ledger):
        return clean(config, ledger, clock(now))


@contextmanager
def _locked(config: Config) -> Iterator[tuple[Lease, Ledger]]:
    path = ledger_path(config.run)
    seconds = float(config.cycle.lease / np.timedelta64(1, "s"))
    with hold(path.with_name("lock"), seconds) as lease, Ledger(path, lease.token) as ledger:
        yield lease, ledger


def _call(
    config: Config,
    now: np.datetime64 | None,
    dry_run: bool,
    progress: Progress,
    work: Callable[[Session], CycleReport],
) -> CycleReport:
    if dry_run:
        return _plan(config, clock(now))
    with _locked(config) as (lease, ledger):
        session = Session(config, ledger, lease, now, progress)
        try:
            return work(session)
        finally:
            with suppress(StormdaError):  # What the work ended with is worth more than what its metrics did.
                write_metrics(config, ledger, clock(now))


def _plan(config: Config, now: np.datetime64) -> CycleReport:
    """What a call would find, from what is on the disk."""
    path = ledger_path(config.run)
    if path.exists():
        with Ledger(path) as ledger:
            last, cycles = next(iter(ledger.newest()), None), ledger.opened()
    else:
        last, cycles = None, []
    lines = [CycleLine.of(c) for c in cycles if due_time(config, c.time) <= now]
    first = first_cycle(config, now) if last is None else last.time + config.assimilate.step
    for time in due_until(config, first, now):
        found = ready(config, time, now)
        state = "due" if found.state == "go" else found.state
        lines.append(CycleLine(format_time(time), 1, state, "", None, 0.0, found.note))
    return CycleReport(tuple(lines), f"{len(lines)} to do at {format_time(now)}")
