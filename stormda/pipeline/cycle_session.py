"""One call of `stormda cycle`: what is found, what is read, and the stages of cycle after cycle.

It holds the lock. Whatever ends it, the ledger says how far it came:

    an error of ours (disk, configuration, lock)   the cycle is due again, nothing is counted
    a signal                                       the same
    a stage that fails by itself, or is killed     an attempt is counted; for an analysis see `cycle.on_reject`
"""

__all__ = ["Session", "clock", "first_cycle"]

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import numpy as np

from stormda.config import Config
from stormda.errors import (
    AlreadyRunning,
    AnalysisRejected,
    ConfigError,
    InputError,
    InputMissing,
    OutputError,
    StormdaError,
)
from stormda.pipeline.cycle_clean import clean
from stormda.pipeline.cycle_due import due_time, due_until, newest_due, ready
from stormda.pipeline.cycle_inputs import read_new
from stormda.pipeline.cycle_line import CycleLine, CycleReport
from stormda.pipeline.cycle_stages import Work, names
from stormda.pipeline.deadline import OutOfTime, deadline
from stormda.store.lease import Lease
from stormda.store.ledger import Cycle, Ledger
from stormda.store.observations import ObservationStore
from stormda.store.publish import write_text
from stormda.time import Window, format_time, hours
from stormda.types import Progress, silent

log = logging.getLogger(__name__)

_MISSING = "missing"  # in the place of the observations' fingerprint: required ones did not come
_NONE = "observations.on_none"  # the key of an error: there are observations, and not one that can be used
_SLACK = np.timedelta64(60, "s")  # that a clock may go back without a word
_NOT_OURS = (OutputError, InputMissing, ConfigError, AlreadyRunning)  # nothing that another attempt would not cure


def clock(now: np.datetime64 | None) -> np.datetime64:
    """The present time: `now`, or else what the clock of this machine says."""
    return np.datetime64(datetime.now(UTC).replace(tzinfo=None), "s") if now is None else now


def first_cycle(config: Config, now: np.datetime64) -> np.datetime64:
    """The first cycle of a run that has none yet."""
    return newest_due(config, now) if config.cycle.start is None else config.cycle.start


@dataclass(eq=False)
class Session:
    """One call.

    Args:
        config: the run.
        ledger: ours.
        lease: the lock, which we hold.
        now: the present time; None: the clock of this machine.
        progress: told about the work.
    """

    config: Config
    ledger: Ledger
    lease: Lease
    now: np.datetime64 | None
    progress: Progress = silent
    work: Work = field(init=False)

    def __post_init__(self) -> None:
        self.work = Work(self.config, self.progress)

    def some(self, count: int | None, asked: np.datetime64 | None) -> CycleReport:
        """Work on that many cycles, None: on all; or on one that is asked for."""
        self._recover()
        self._watch_the_clock()
        self._extend(limited=count is not None)
        lines: list[CycleLine] = []
        first: StormdaError | None = None
        while count is None or len(lines) < count:
            cycle = self._next() if asked is None else self._asked(asked)
            if cycle is None:
                break
            try:
                cycle = self._advance(cycle)
            except _Failed as failed:
                cycle, first = failed.cycle, first or failed.error
            lines.append(CycleLine.of(cycle))
            if cycle.state in ("due", "waiting"):
                break
            clean(self.config, self.ledger, self._clock())
            self._extend(limited=False)
        return CycleReport(tuple(lines), self._words(bool(lines)), first)

    # --- before the work ---

    def _clock(self) -> np.datetime64:
        return clock(self.now)

    def _recover(self) -> None:
        """What a process that was killed left running: done, where it had published, else to be done again."""
        for cycle in self.ledger.running():
            for stage in self.ledger.stages(cycle).values():
                if stage.state != "running":
                    continue
                name, time = stage.name, format_time(cycle.time)
                if name in names(self.config) and self.work.there(name, cycle.time, stage.before):
                    log.info("%s: %s was published before it was cut", time, name)
                    cycle = self._published(cycle, name, 0.0, "published before it was cut")
                else:
                    log.warning("%s: %s was cut and is begun again", time, name)
                    cycle = self.ledger.fail(cycle, name, f"{name} was cut", count=True)
            if cycle.state == "running":
                self.ledger.set(cycle, "due")

    def _watch_the_clock(self) -> None:
        """A clock that went back: cycles are over whose time has not come yet.

        Nobody knows whether it was wrong then or is wrong now. So these cycles stay, and are remembered: observations
        that come for them make them run again, whatever `cycle.late` says.
        """
        now, seen = self._clock(), self.ledger.fact("clock")
        self.ledger.put("called", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        if self.now is None:
            before = None if seen is None else np.datetime64(seen, "s")
            if before is not None and now < before - _SLACK:
                log.warning("the clock went back by %.1f h", hours(before - now))
            self.ledger.put("clock", str(now))
        window_end = self.config.observations.after + self.config.cycle.cutoff
        early = [c.time for c in self.ledger.since(now - window_end) if c.state in ("done", "failed")]
        if early := [time for time in early if due_time(self.config, time) > now]:
            first, last = self._early() or (early[0], early[-1])
            self.ledger.put("early", f"{min(first, early[0])} {max(last, early[-1])}")

    def _early(self) -> tuple[np.datetime64, np.datetime64] | None:
        """The first and the last cycle that were over before their time; None a step after the last one was due."""
        text = self.ledger.fact("early")
        if text is None:
            return None
        first, last = (np.datetime64(word, "s") for word in text.split())
        over = self._clock() > due_time(self.config, last) + self.config.assimilate.step
        return None if over else (first, last)

    def _extend(self, limited: bool) -> None:
        """Note the cycles that became due; `limited`: not more than `cycle.max_gap` in one go."""
        now, newest = self._clock(), self.ledger.newest()
        first = newest[0].time + self.config.assimilate.step if newest else first_cycle(self.config, now)
        new = due_until(self.config, first, now)
        if limited and new and new[-1] - new[0] > self.config.cycle.max_gap:
            raise StormdaError(
                f"{len(new)} cycles were missed, {format_time(new[0])} to {format_time(new[-1])}",
                key="cycle.max_gap",
                hint="if the clock is right (date -u): stormda cycle catch-up, or a later cycle.start in a new run_dir",
            )
        for time in new:
            if self.work.there("assimilate", time):
                product = str(self.work.facts(time).get("product", "analysis"))
                self.ledger.add(time, state="done", product=product, note="found on the disk")
            else:
                self.ledger.add(time)

    def _next(self) -> Cycle | None:
        self._read()
        cycle = self.ledger.next_open()
        return None if cycle is None or due_time(self.config, cycle.time) > self._clock() else cycle

    def _asked(self, time: np.datetime64) -> Cycle:
        """The cycle of a time, in a new run where it is over; raises ConfigError where there can be none."""
        step, due = self.config.assimilate.step, due_time(self.config, time)
        if (time - newest_due(self.config, self._clock())) % step:
            raise ConfigError(
                f"there is no cycle at {format_time(time)}", key="--cycle", hint="they are assimilate.step apart"
            )
        if due > self._clock():
            raise ConfigError(f"{format_time(time)} is not due before {format_time(due)}", key="--cycle")
        cycle = self.ledger.cycle(time)
        if cycle is None:
            self.ledger.add(time)
        elif cycle.state in ("done", "failed"):
            self.ledger.supersede([cycle], "asked for")
        self._read()
        found = self.ledger.cycle(time)
        assert found is not None
        return found

    # --- observations ---

    def _read(self) -> None:
        """New files into the store; where they belong to cycles that are over, these are run again."""
        with self._in_time():
            new = read_new(self.config, self.ledger, self._clock(), progress=self.progress)
            if new:
                self._late()

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        """Reading observations, which are on a file system that may hang."""
        try:
            with deadline(self._limit()):
                yield
        except OutOfTime as error:
            what = f"the observations could not be read: {error}"
            raise StormdaError(what, key="cycle.timeout", hint="is the file system there?") from None

    def _late(self) -> None:
        """Cycles that are over and have other observations now are run again, with all that are over after them."""
        now, late = self._clock(), self.config.cycle.late
        oldest = now - self.config.observations.after - self.config.cycle.cutoff - late
        early = self._early()
        over = self.ledger.since(oldest if early is None else min(oldest, early[0]))
        over = [c for c in over if c.state in ("done", "failed") and c.observations]
        for number, cycle in enumerate(over):
            in_time = late > np.timedelta64(0, "s") and cycle.time >= oldest
            if not in_time and not (early and early[0] <= cycle.time <= early[1]):
                continue
            if cycle.observations == _MISSING:
                again = ready(self.config, cycle.time, now).state == "go"
            else:
                again = self._fingerprint(cycle.time) != cycle.observations
            if again:
                chain = over[number:] if self.config.history.source == "analyses" else [cycle]
                log.info("late observations for %s: %d cycles run again", format_time(cycle.time), len(chain))
                self.ledger.supersede(chain, f"late observations at {format_time(cycle.time)}")
                if len(chain) > 1:
                    return

    def _fingerprint(self, time: np.datetime64) -> str:
        from stormda.store.provenance import fingerprint

        config = self.config
        window = Window.around(time, config.observations.before, config.observations.after)
        rows = ObservationStore(config.below_run(config.observations.path)).read(window)
        wanted = list(config.observations.sources)
        return fingerprint(rows.where(np.isin(rows["source"].astype(str), wanted)) if wanted else rows)

    # --- one cycle ---

    def _advance(self, cycle: Cycle) -> Cycle:
        """All stages of a cycle that are not done yet; raises _Failed."""
        done = {s.name for s in self.ledger.stages(cycle).values() if s.state == "done"}
        instead = None
        if "assimilate" not in done:
            with self._in_time():
                found = ready(self.config, cycle.time, self._clock())
            if found.state == "waiting":
                return self.ledger.set(cycle, "waiting", note=found.note)
            if found.state == "missing":
                instead = self._without(cycle, found.note)
        for stage in names(self.config):
            if stage not in done:
                self.lease.check()
                cycle = self._stage(cycle, stage, instead)
        cycle = self.ledger.set(cycle, "done")
        log.info("%s: done", format_time(cycle.time), extra={"facts": asdict(CycleLine.of(cycle))})
        return cycle

    def _without(self, cycle: Cycle, note: str) -> str:
        """Required observations did not come in time: why the background is published, or _Failed."""
        if self.config.cycle.on_missing == "background":
            return f"observations are missing: {note}"
        hint = "stormda cycle run --cycle TIME when they are there, or cycle.on_missing=background"
        error = InputMissing(f"{format_time(cycle.time)}: {note}", key="observations.sources", hint=hint)
        raise _Failed(self.ledger.set(cycle, "failed", note=note, observations=_MISSING), error)

    def _stage(self, cycle: Cycle, stage: str, instead: str | None) -> Cycle:
        """One stage, with what takes its place where it fails."""
        limit = self.config.cycle.attempts
        if cycle.attempts >= limit:
            if stage != "assimilate":  # The analysis is there: scores and forecasts do not keep the next cycle out.
                log.warning("%s: %s is given up: %s", format_time(cycle.time), stage, cycle.note)
                return self.ledger.finish(cycle, stage, stage_note=f"given up: {cycle.note}")
            if cycle.attempts >= 2 * limit:
                raise _Failed(self.ledger.set(cycle, "failed"), StormdaError(f"{stage} is given up: {cycle.note}"))
            instead = instead or self._instead(cycle, StormdaError(f"{cycle.note}, {cycle.attempts} times"))
        begun = perf_counter()
        self.ledger.begin(cycle, stage, self.work.mark(stage, cycle.time))
        try:
            with deadline(self._limit()):
                note = self.work.run(stage, cycle.time, instead)
        except _NOT_OURS as error:
            cycle = self.ledger.fail(cycle, stage, str(error), count=False)
            if error.key != _NONE:
                raise
            return self._stage(cycle, stage, self._without(cycle, error.what))
        except (Exception, OutOfTime) as error:
            return self._failed(cycle, stage, instead, error)
        except BaseException:
            self.ledger.fail(cycle, stage, "interrupted", count=False)
            raise
        return self._published(cycle, stage, perf_counter() - begun, note)

    def _limit(self) -> float | None:
        span = self.config.cycle.timeout
        return None if span is None else float(span / np.timedelta64(1, "s"))

    def _published(self, cycle: Cycle, stage: str, seconds: float, note: str) -> Cycle:
        """A stage is done; of an analysis, what its provenance says goes into the ledger."""
        values: dict[str, object] = {}
        if stage == "assimilate":
            made = self.work.facts(cycle.time)
            values = {
                "product": made.get("product", "analysis"),
                "note": made.get("product_reason") or "",
                "used": made.get("used"),
                "observations": made.get("inputs", {}).get("observations", ""),
            }
        facts = {"cycle": format_time(cycle.time), "run": cycle.run, "stage": stage, "seconds": round(seconds, 3)}
        log.info("%s: %s took %.1f s", facts["cycle"], stage, seconds, extra={"facts": facts | {"note": note}})
        return self.ledger.finish(cycle, stage, seconds=seconds, stage_note=note, **values)

    def _failed(self, cycle: Cycle, stage: str, instead: str | None, error: BaseException) -> Cycle:
        """A stage failed by itself."""
        what = error.what if isinstance(error, StormdaError) else f"{type(error).__name__}: {error}"
        if not isinstance(error, (StormdaError, OutOfTime)):
            _keep(self.config.run, error)
        ours = error if isinstance(error, StormdaError) else StormdaError(f"{stage}: {what}")
        if isinstance(error, InputError) and self.work.set_aside(error):
            return self._stage(self.ledger.fail(cycle, stage, what, count=True), stage, instead)
        if stage == "assimilate" and instead is None and not isinstance(error, InputError):
            again = self.ledger.fail(cycle, stage, what, count=False)
            return self._stage(again, stage, self._instead(again, ours))
        if stage == "window":  # The analysis is there; the next window draws most of these times.
            log.warning("the window of %s is not drawn: %s", format_time(cycle.time), what)
            return self.ledger.finish(cycle, stage, stage_note=f"not drawn: {what}")
        cycle = self.ledger.fail(cycle, stage, what, count=True)
        if cycle.attempts < self.config.cycle.attempts and not isinstance(error, AnalysisRejected):
            raise _Failed(cycle, ours)
        if stage == "assimilate":
            raise _Failed(self.ledger.set(cycle, "failed"), ours)
        return self._stage(cycle, stage, None)

    def _instead(self, cycle: Cycle, error: StormdaError) -> str:
        """Why the background is published in the place of the analysis; raises _Failed where it is not to be."""
        if self.config.cycle.on_reject == "fail":
            raise _Failed(self.ledger.set(cycle, "failed", note=error.what), error)
        log.warning("%s: %s; the background is published in its place", format_time(cycle.time), error.what)
        return error.what

    def _words(self, some: bool) -> str:
        cycle = self.ledger.next_open()
        if cycle is not None and due_time(self.config, cycle.time) <= self._clock():
            return f"to be gone on with: {format_time(cycle.time)} ({cycle.state})"
        newest = self.ledger.newest()
        following = newest[0].time + self.config.assimilate.step if newest else first_cycle(self.config, self._clock())
        if self.config.cycle.end is not None and following > self.config.cycle.end:
            return "the last cycle is done"
        begin = "" if some else "nothing to do; "
        when = format_time(due_time(self.config, following))
        return f"{begin}the next cycle, {format_time(following)}, is due at {when}"


class _Failed(Exception):
    """A cycle is over, or stays where it is, with this error."""

    def __init__(self, cycle: Cycle, error: StormdaError) -> None:
        super().__init__(str(error))
        self.cycle, self.error = cycle, error


def _keep(run: Path, error: BaseException) -> None:
    """The traceback of a fault that nobody foresaw, for who looks in the morning."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    with suppress(OutputError):
        write_text(run / "logs" / f"cycle-fault-{stamp}.log", "".join(traceback.format_exception(error)))
