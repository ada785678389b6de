"""How it stands, for somebody who was woken up: one sentence, what is wrong, the last cycles.

    OK         the newest cycle that is due is done, with an analysis
    WORKING    a process works on a cycle
    WAITING    for observations that may still come
    DEGRADED   the newest cycle has the background in the place of its analysis
    BEHIND     a cycle is due and nobody works on it
    FAILED     the newest cycle failed
    NEW        nothing was run yet

It reads only, takes no lock, and needs nothing heavy.
"""

__all__ = ["StatusResult", "UnlockResult", "status", "unlock"]

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from stormda.config import Config
from stormda.errors import AlreadyRunning
from stormda.pipeline.cycle_due import due_time, due_until
from stormda.pipeline.cycle_line import COLUMNS, CycleLine
from stormda.store.lease import Holder, hold, look, remove
from stormda.store.ledger import Cycle, Ledger, ledger_path
from stormda.time import format_time, hours

_SHOWN = 8  # cycles
_GB = 1e9


@dataclass(frozen=True)
class StatusResult:
    """How it stands.

    Args:
        verdict: one word, see the module.
        sentence: what it means here.
        facts: name and value, in the order of what matters.
        cycles: the last ones, newest first.
    """

    verdict: str
    sentence: str
    facts: dict[str, str]
    cycles: tuple[CycleLine, ...]

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people."""
        width = max(map(len, self.facts), default=0)
        lines = [f"{self.verdict}: {self.sentence}", *(f"  {k:<{width}}  {v}" for k, v in self.facts.items())]
        return "\n".join(lines), COLUMNS if self.cycles else [], [line.cells() for line in self.cycles]


def status(config: Config, *, now: np.datetime64 | None = None) -> StatusResult:
    """Read ledger and lock.

    Args:
        config: the run.
        now: the present time; None: the clock of this machine.

    Raises:
        InputError: the ledger is damaged.
        OutputError: it cannot be read.
    """
    now = np.datetime64(datetime.now(UTC).replace(tzinfo=None), "s") if now is None else now
    path = ledger_path(config.run)
    holder = look(path.with_name("lock"))
    if not path.exists():
        return StatusResult("NEW", "nothing was run yet; stormda cycle run begins", _surroundings(config, holder), ())
    with Ledger(path) as ledger:
        cycles = ledger.newest(_SHOWN)
        analysis = next(iter(ledger.newest(1, product="analysis")), None)
        opened, running = ledger.next_open(), ledger.running()
        stage = next((s for c in running for s in ledger.stages(c).values() if s.state == "running"), None)
        trouble, submitted = ledger.trouble(), ledger.fact("called")
    missed = [t for t in due_until(config, cycles[0].time + config.assimilate.step, now)] if cycles else []
    facts = {"last analysis": _age(analysis, now)}
    if running and stage is not None:
        facts["at work"] = f"{format_time(running[0].time)} {stage.name} since {stage.started}"
    late = [c for c in [opened] if c is not None and due_time(config, c.time) <= now]
    oldest = late[0].time if late else missed[0] if missed else None
    if oldest is not None:
        facts["not done"] = f"{format_time(oldest)} and later, due for {_span(now - due_time(config, oldest))}"
    facts["last call"] = submitted or "-"
    if trouble:
        name, what = next(iter(trouble.items()))
        more = f" (and {len(trouble) - 1} more files)" if len(trouble) > 1 else ""
        facts["bad files"] = f"{name.partition(' ')[2]}: {what}{more}"
    facts |= _surroundings(config, holder)
    verdict, sentence = _verdict(cycles, late, missed, holder, bool(running))
    return StatusResult(verdict, sentence, facts, tuple(map(CycleLine.of, cycles)))


def _verdict(
    cycles: list[Cycle], late: list[Cycle], missed: list[np.datetime64], holder: Holder | None, running: bool
) -> tuple[str, str]:
    if not cycles:
        return "NEW", "no cycle was due yet"
    newest = cycles[0]
    time = format_time(newest.time)
    if holder is not None and holder.alive is not False:
        return "WORKING", f"process {holder.pid} on {holder.host} is at work"
    if late and late[0].state == "waiting":
        return "WAITING", f"{format_time(late[0].time)} waits: {late[0].note}"
    if late or missed:
        begun = " was cut and is gone on with by the next call" if running else " is not done and nobody is at work"
        note = f": {late[0].note}" if late and late[0].note else ""
        return "BEHIND", f"{format_time(late[0].time if late else missed[0])}{begun}{note}"
    if newest.state == "failed":
        return "FAILED", f"{time}: {newest.note}"
    if newest.product == "background":
        return "DEGRADED", f"{time} is the background: {newest.note}"
    return "OK", f"{time} is done"


def _age(cycle: Cycle | None, now: np.datetime64) -> str:
    return "none" if cycle is None else f"{format_time(cycle.time)}, {_span(now - cycle.time)} ago"


def _span(span: np.timedelta64) -> str:
    """In the unit that people think in: `40 min`, `7.5 h`, `12 d`."""
    length = hours(span)
    if abs(length) < 1:
        return f"{60 * length:.0f} min"
    return f"{length:.1f} h" if abs(length) < 72 else f"{length / 24:.0f} d"


def _surroundings(config: Config, holder: Holder | None) -> dict[str, str]:
    """The lock and the disk."""
    if holder is None:
        lock = "free"
    else:
        how = {True: "alive", False: "dead: the next call takes it over", None: "on another host"}[holder.alive]
        lock = f"process {holder.pid} on {holder.host}, {how}"
    there: Path = next(p for p in (config.run, *config.run.parents) if p.exists())
    return {"lock": lock, "disk": f"{shutil.disk_usage(there).free / _GB:.1f} GB free at {config.run}"}


@dataclass(frozen=True)
class UnlockResult:
    """What became of the lock."""

    lock: str
    removed: bool
    words: str

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people."""
        return self.words, [], []


def unlock(config: Config, *, force: bool = False) -> UnlockResult:
    """Remove a lock whose owner is dead.

    Args:
        config: the run.
        force: remove it whoever holds it; its owner notices and ends.

    Raises:
        AlreadyRunning: its owner is alive, or shows signs of life on another host.
        OutputError: it cannot be removed.
    """
    path = ledger_path(config.run).with_name("lock")
    holder = look(path)
    if holder is None and not path.exists():
        return UnlockResult(str(path), False, "there is no lock")
    who = "an unknown process" if holder is None else f"process {holder.pid} on {holder.host}"
    if force:
        return UnlockResult(str(path), remove(path), f"the lock of {who} is removed")
    try:
        with hold(path, float(config.cycle.lease / np.timedelta64(1, "s"))):
            return UnlockResult(str(path), True, f"the stale lock of {who} is removed")
    except AlreadyRunning as error:
        raise AlreadyRunning(f"{who} is alive", file=path, hint="end it, or stormda cycle unlock --force") from error
