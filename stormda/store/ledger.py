"""The ledger: what became of every cycle and every stage, in one SQLite file.

    cycles   (cycle, run): due | waiting | running | done | failed | superseded, and what was published
    stages   (cycle, run, stage): running | done | failed, and what was there before it began
    events   what happened when, only ever added to
    inputs   the observation files that were read, told apart by size and time of change
    facts    single values: the token of the lease, the latest clock, the job that was submitted

A `run` of a cycle is one go at it; late data supersede it by the next. Each change is one transaction: after a kill the
file is as before or as after it. The rollback journal (not WAL, which needs memory that hosts share) makes it
fit for a network file system. Only the owner of the lease writes: its token is in the file, and every transaction
compares, so that an owner who was stopped, lost the lease and woke up cannot write.
"""

__all__ = ["CLOSED", "OPEN", "Cycle", "Event", "Ledger", "Stage", "ledger_path"]

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np

from stormda.errors import AlreadyRunning, InputError, InputMissing, OutputError
from stormda.time import format_time, parse_time

OPEN, CLOSED = ("due", "waiting", "running"), ("done", "failed", "superseded")
_VERSION = "1"
_PATIENCE = 30.0  # s, that a reader waits for a writer
_SCHEMA = """
PRAGMA auto_vacuum = INCREMENTAL;
CREATE TABLE IF NOT EXISTS cycles (
    cycle TEXT NOT NULL, run INTEGER NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    product TEXT NOT NULL DEFAULT '', note TEXT NOT NULL DEFAULT '', observations TEXT NOT NULL DEFAULT '',
    used INTEGER, seconds REAL NOT NULL DEFAULT 0, updated TEXT NOT NULL, PRIMARY KEY (cycle, run));
CREATE TABLE IF NOT EXISTS stages (
    cycle TEXT NOT NULL, run INTEGER NOT NULL, stage TEXT NOT NULL, state TEXT NOT NULL,
    before TEXT NOT NULL DEFAULT '', note TEXT NOT NULL DEFAULT '', started TEXT NOT NULL, ended TEXT,
    PRIMARY KEY (cycle, run, stage));
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY, time TEXT NOT NULL, cycle TEXT, run INTEGER, stage TEXT, event TEXT NOT NULL,
    note TEXT NOT NULL DEFAULT '', token TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS inputs (path TEXT PRIMARY KEY, signature TEXT NOT NULL, note TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS by_state ON cycles (state, cycle);
"""
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Cycle:
    """A run of a cycle.

    Args:
        time: the analysis time.
        run: 1, and one more each time that late data superseded it.
        state: see the module.
        attempts: times that its present stage failed or was cut.
        product: `analysis`, `background` (published in its place), or empty: nothing yet.
        note: why it is so, for people.
        observations: fingerprint of those that it was made of.
        used: how many of them the analysis used.
        seconds: that its stages took.
        updated: when the line was written, UTC.
    """

    time: np.datetime64
    run: int
    state: str
    attempts: int
    product: str
    note: str
    observations: str
    used: int | None
    seconds: float
    updated: str


@dataclass(frozen=True)
class Stage:
    """A stage of a run; `before` identifies the product that was there when it began."""

    name: str
    state: str
    before: str
    note: str
    started: str
    ended: str | None


@dataclass(frozen=True)
class Event:
    """Something that happened."""

    time: str
    cycle: str | None
    run: int | None
    stage: str | None
    event: str
    note: str


def ledger_path(run: Path) -> Path:
    """Where the ledger of a run folder is."""
    return run / "cycle" / "ledger.sqlite"


class Ledger:
    """The ledger of a run folder; a context manager.

    Args:
        path: the file.
        token: of the lease, which allows to write; None: to read only.

    Raises:
        InputMissing: it is to be read and is not there.
        InputError: it is damaged, or of a newer stormda.
        OutputError: it cannot be written.
    """

    def __init__(self, path: Path, token: str | None = None) -> None:
        self.path, self.token = path, token or ""
        self._db = self._translated(lambda: self._open(writable=token is not None))
        if token is not None:
            self._translated(self._claim)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    # --- reading ---

    def cycle(self, time: np.datetime64) -> Cycle | None:
        """The newest run of a cycle."""
        return next(iter(self._cycles("WHERE cycle = ? ORDER BY run DESC LIMIT 1", format_time(time))), None)

    def next_open(self) -> Cycle | None:
        """The oldest cycle that is not over."""
        marks = ", ".join("?" * len(OPEN))
        return next(iter(self._cycles(f"WHERE state IN ({marks}) ORDER BY cycle, run LIMIT 1", *OPEN)), None)

    def opened(self) -> list[Cycle]:
        """Cycles that are not over, oldest first."""
        marks = ", ".join("?" * len(OPEN))
        return self._cycles(f"WHERE state IN ({marks}) ORDER BY cycle", *OPEN)

    def running(self) -> list[Cycle]:
        """Cycles that are being worked on; by nobody, where the lock is ours and we have not begun."""
        return self._cycles("WHERE state = 'running' ORDER BY cycle")

    def newest(self, count: int = 1, *, product: str | None = None) -> list[Cycle]:
        """The last cycles, newest first, each in its newest run; with a product: only those that are done and have it.

        The newest run of a cycle is the one that is not superseded.
        """
        if product is None:
            return self._cycles("WHERE state != 'superseded' ORDER BY cycle DESC LIMIT ?", count)
        where = "WHERE state = 'done' AND product = ? ORDER BY cycle DESC LIMIT ?"
        return self._cycles(where, product, count)

    def newest_over(self) -> list[Cycle]:
        """The last cycle that is done or failed; none where there is none."""
        return self._cycles("WHERE state IN ('done', 'failed') ORDER BY cycle DESC LIMIT 1")

    def since(self, time: np.datetime64) -> list[Cycle]:
        """Cycles from a time on, oldest first, without superseded runs."""
        return self._cycles("WHERE state != 'superseded' AND cycle >= ? ORDER BY cycle", format_time(time))

    def counts(self) -> dict[str, int]:
        """Runs of cycles by state."""
        return dict(self._rows("SELECT state, count(*) FROM cycles GROUP BY state"))

    def stages(self, cycle: Cycle) -> dict[str, Stage]:
        """The stages of a run by name."""
        query = "SELECT stage, state, before, note, started, ended FROM stages WHERE cycle = ? AND run = ?"
        return {row[0]: Stage(*row) for row in self._rows(query, format_time(cycle.time), cycle.run)}

    def events(self, count: int = 20) -> list[Event]:
        """The last events, oldest first."""
        query = "SELECT time, cycle, run, stage, event, note FROM events ORDER BY id DESC LIMIT ?"
        return [Event(*row) for row in self._rows(query, count)][::-1]

    def inputs(self) -> dict[str, str]:
        """Signatures of the files that were read, by path."""
        return dict(self._rows("SELECT path, signature FROM inputs"))

    def trouble(self) -> dict[str, str]:
        """What is wrong with files that could not be read, by path."""
        return dict(self._rows("SELECT path, note FROM inputs WHERE note != ''"))

    def fact(self, key: str) -> str | None:
        """A single value."""
        rows = self._rows("SELECT value FROM facts WHERE key = ?", key)
        return rows[0][0] if rows else None

    # --- writing ---

    def add(self, time: np.datetime64, *, state: str = "due", product: str = "", note: str = "") -> None:
        """Note a cycle for the first time."""
        with self._write() as db:
            columns = "INSERT INTO cycles (cycle, run, state, product, note, updated) VALUES (?, 1, ?, ?, ?, ?)"
            db.execute(columns, (format_time(time), state, product, note, _now()))
            self._event(db, state, (format_time(time), 1), note=note)

    def set(self, cycle: Cycle, state: str, **values: Any) -> Cycle:
        """Change the line of a run; `values` by column. An event is kept where the state or its note changes."""
        values = {"state": state, "updated": _now()} | values
        with self._write() as db:
            names = ", ".join(f"{name} = ?" for name in values)
            key = (format_time(cycle.time), cycle.run)
            db.execute(f"UPDATE cycles SET {names} WHERE cycle = ? AND run = ?", (*values.values(), *key))
            if state != cycle.state or values.get("note", cycle.note) != cycle.note:
                self._event(db, state, key, note=str(values.get("note", "")))
        return self._again(cycle)

    def begin(self, cycle: Cycle, stage: str, before: str = "") -> None:
        """A stage begins."""
        key = (format_time(cycle.time), cycle.run)
        with self._write() as db:
            db.execute(
                "INSERT OR REPLACE INTO stages (cycle, run, stage, state, before, started) VALUES (?, ?, ?, ?, ?, ?)",
                (*key, stage, "running", before, _now()),
            )
            update = "UPDATE cycles SET state = 'running', note = '', updated = ? WHERE cycle = ? AND run = ?"
            db.execute(update, (_now(), *key))
            self._event(db, "begin", key, stage)

    def finish(self, cycle: Cycle, stage: str, *, seconds: float = 0.0, stage_note: str = "", **values: Any) -> Cycle:
        """A stage is done; its cycle's line gets `values` by column, no attempts, and its seconds."""
        key = (format_time(cycle.time), cycle.run)
        with self._write() as db:
            update = "UPDATE stages SET state = 'done', ended = ?, note = ? WHERE cycle = ? AND run = ? AND stage = ?"
            db.execute(update, (_now(), stage_note, *key, stage))
            names = "".join(f", {name} = ?" for name in values)
            update = f"UPDATE cycles SET attempts = 0, seconds = seconds + ?, updated = ?{names}"
            db.execute(f"{update} WHERE cycle = ? AND run = ?", (seconds, _now(), *values.values(), *key))
            self._event(db, "end", key, stage, stage_note)
        return self._again(cycle)

    def fail(self, cycle: Cycle, stage: str, note: str, *, count: bool, state: str = "due") -> Cycle:
        """A stage failed, or was cut; its cycle is `state` again. `count` it as an attempt, or forget it."""
        key = (format_time(cycle.time), cycle.run)
        with self._write() as db:
            update = "UPDATE stages SET state = 'failed', ended = ?, note = ? WHERE cycle = ? AND run = ? AND stage = ?"
            db.execute(update, (_now(), note, *key, stage))
            update = "UPDATE cycles SET state = ?, attempts = attempts + ?, note = ?, updated = ?"
            db.execute(f"{update} WHERE cycle = ? AND run = ?", (state, int(count), note, _now(), *key))
            self._event(db, "failed", key, stage, note)
        return self._again(cycle)

    def supersede(self, cycles: list[Cycle], note: str) -> None:
        """Another run of these cycles is due, all or none."""
        with self._write() as db:
            for cycle in cycles:
                time = format_time(cycle.time)
                update = "UPDATE cycles SET state = 'superseded', note = ?, updated = ? WHERE cycle = ? AND run = ?"
                db.execute(update, (note, _now(), time, cycle.run))
                columns = "INSERT INTO cycles (cycle, run, state, note, updated) VALUES (?, ?, 'due', ?, ?)"
                db.execute(columns, (time, cycle.run + 1, note, _now()))
                self._event(db, "superseded", (time, cycle.run), note=note)

    def remember(self, inputs: Mapping[str, tuple[str, str]]) -> None:
        """Files that were read: path -> (signature, what is wrong with it or '')."""
        with self._write() as db:
            rows = [(path, *rest) for path, rest in inputs.items()]
            db.executemany("INSERT OR REPLACE INTO inputs (path, signature, note) VALUES (?, ?, ?)", rows)

    def forget(self, paths: list[str]) -> None:
        """Files that are not there any more."""
        with self._write() as db:
            db.executemany("DELETE FROM inputs WHERE path = ?", [(path,) for path in paths])

    def put(self, key: str, value: str) -> None:
        """Keep a single value."""
        with self._write() as db:
            db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (key, value))

    def prune(self, before: np.datetime64) -> int:
        """Forget cycles before a time that are over, and events as old; returns how many runs of cycles."""
        limit, marks = format_time(before), ", ".join("?" * len(CLOSED))
        with self._write() as db:
            over = f"cycle < ? AND state IN ({marks})"
            gone = db.execute(f"DELETE FROM cycles WHERE {over}", (limit, *CLOSED)).rowcount
            for table in ("stages", "events"):
                kept = f"SELECT 1 FROM cycles WHERE cycles.cycle = {table}.cycle AND cycles.run = {table}.run"
                db.execute(f"DELETE FROM {table} WHERE cycle < ? AND NOT EXISTS ({kept})", (limit,))
        self._translated(lambda: self._db.executescript("PRAGMA incremental_vacuum;"))
        return gone

    # --- inside ---

    def _open(self, writable: bool) -> sqlite3.Connection:
        if not writable:
            if not self.path.exists():
                raise InputMissing("there is no ledger yet", file=self.path, hint="stormda cycle run makes it")
            db = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True, timeout=_PATIENCE)
            db.execute("SELECT count(*) FROM cycles")
            return db
        self.path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("PRAGMA synchronous = FULL")
        db.executescript(_SCHEMA)
        return db

    def _claim(self) -> None:
        """Make the ledger ours: whoever held it before cannot write any more."""
        version = self.fact("version")
        if version not in (None, _VERSION):
            raise InputError(f"the ledger has version {version}", file=self.path, hint="install a newer stormda")
        self._db.execute("BEGIN IMMEDIATE")
        values = [("version", _VERSION), ("token", self.token)]
        self._db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", values)
        self._db.execute("COMMIT")

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """One transaction of the owner of the lease."""
        self._translated(lambda: self._db.execute("BEGIN IMMEDIATE"))
        try:
            if self.fact("token") != self.token:
                hint = "stormda cycle status"
                raise AlreadyRunning("another process took over the ledger", file=self.path, hint=hint)
            yield self._db
            self._translated(lambda: self._db.execute("COMMIT"))
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise self._error(error) from error
            raise

    def _event(
        self,
        db: sqlite3.Connection,
        event: str,
        key: tuple[str, int] | tuple[None, None],
        stage: str | None = None,
        note: str = "",
    ) -> None:
        columns = "INSERT INTO events (time, cycle, run, stage, event, note, token) VALUES (?, ?, ?, ?, ?, ?, ?)"
        db.execute(columns, (_now(), *key, stage, event, note, self.token))

    def _again(self, cycle: Cycle) -> Cycle:
        return self._cycles("WHERE cycle = ? AND run = ?", format_time(cycle.time), cycle.run)[0]

    def _cycles(self, where: str, *values: object) -> list[Cycle]:
        names = "cycle, run, state, attempts, product, note, observations, used, seconds, updated"
        rows = self._rows(f"SELECT {names} FROM cycles {where}", *values)
        return [Cycle(parse_time(row[0]), *row[1:]) for row in rows]

    def _rows(self, query: str, *values: object) -> list[Any]:
        return self._translated(lambda: self._db.execute(query, values).fetchall())

    def _translated(self, work: Callable[[], _Result]) -> _Result:
        try:
            return work()
        except sqlite3.Error as error:
            raise self._error(error) from error
        except OSError as error:
            hint = "check permissions and room on the disk"
            raise OutputError(f"the ledger cannot be written: {error.strerror}", file=self.path, hint=hint) from error

    def _error(self, error: sqlite3.Error) -> InputError | OutputError | AlreadyRunning:
        words = str(error)
        if "locked" in words:
            return AlreadyRunning("another process writes to the ledger", file=self.path, hint="try again")
        if isinstance(error, sqlite3.OperationalError) and "no such table" not in words:
            hint = "check permissions and room on the disk"
            return OutputError(f"the ledger cannot be used: {words}", file=self.path, hint=hint)
        hint = "move the file away: the next run makes a new one from the analyses that are there"
        return InputError(f"the ledger is damaged: {words}", file=self.path, hint=hint)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
