"""Data on stdout, talk on stderr.

A result is printed as a table, or with `--json` as one JSON document. Progress is a bar where stderr is a terminal, and
now and then a line where it is a file; with `--log-format json` every line of talk is a JSON object.
"""

__all__ = ["Console", "jsonable"]

import json
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

from rich import box
from rich.console import Console as Rich
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from . import options

if TYPE_CHECKING:
    from stormda.types import Progress

LINE_EVERY = 30.0  # s between lines of progress in a log
WIDE = 10_000  # columns where nothing wraps


def jsonable(value: Any) -> Any:
    """`value` from dictionaries, lists, texts and numbers only; what is not a number becomes null."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: jsonable(getattr(value, f.name)) for f in fields(value) if not f.name.startswith("_")}
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(v) for v in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return _array(value)


def _array(value: Any) -> Any:
    import numpy as np

    from stormda.time import format_time

    if isinstance(value, np.datetime64):
        return format_time(value)
    if isinstance(value, np.timedelta64):
        return float(value / np.timedelta64(1, "s"))
    return jsonable(value.tolist()) if isinstance(value, (np.ndarray, np.generic)) else str(value)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class _Text(logging.Formatter):
    """`WARNING: what`; with the time where nobody watches."""

    def __init__(self, stamped: bool) -> None:
        super().__init__()
        self.stamped = stamped

    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno < logging.WARNING else f"{record.levelname}: "
        text = " ".join(record.getMessage().split())
        return f"{_now()} {level}{text}" if self.stamped else f"{level}{text}"


class _Json(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {"time": _now(), "level": record.levelname.lower(), "message": record.getMessage()}
        return json.dumps(entry | getattr(record, "facts", {}), ensure_ascii=False)


class Console:
    """How this process talks.

    Args:
        as_json: the result as one JSON document on stdout.
        verbose: debugging lines, and tracebacks of faults.
        quiet: warnings and errors only.
        log_format: `text` or `json`, for stderr.
    """

    _current: ClassVar["Console | None"] = None

    def __init__(
        self,
        as_json: options.AsJson = False,
        verbose: options.Verbose = False,
        quiet: options.Quiet = False,
        log_format: options.LogFormat = "text",
    ) -> None:
        self.as_json, self.verbose, self.quiet, self.log_format = as_json, verbose, quiet, log_format
        self.run: Path | None = (
            None  # The run folder, once the configuration is known: failures leave their traceback there.
        )
        self.err = Rich(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self.bar: Bar | None = None
        self.silent = False
        self._listen()
        Console._current = self

    @classmethod
    def current(cls) -> "Console":
        """The console of the command that runs, or a plain one before its options are known."""
        return cls._current or cls()

    def _listen(self) -> None:
        """Send the records of the library to stderr; those of other packages only if they warn and `verbose` is set."""
        handler = _Handler(self)
        handler.setFormatter(_Json() if self.log_format == "json" else _Text(stamped=not self.err.is_terminal))
        level = logging.DEBUG if self.verbose else logging.WARNING if self.quiet else logging.INFO
        root, ours = logging.getLogger(), logging.getLogger("stormda")
        root.handlers, ours.handlers = [handler], []
        root.setLevel(logging.WARNING if self.verbose else logging.CRITICAL)
        ours.setLevel(level)
        logging.captureWarnings(True)

    def follow(self) -> None:
        """Talk as one of several processes that is not the first: warnings and errors, and no result."""
        self.quiet = self.silent = True
        self._listen()

    def say(self, text: str, **facts: Any) -> None:
        """A line of talk; `facts` are added where talk is JSON."""
        logging.getLogger("stormda").info(text, extra={"facts": jsonable(facts)})

    def fatal(self, text: str, **facts: Any) -> None:
        """The last line of a job that failed."""
        if self.log_format == "json":
            entry = {"time": _now(), "level": "fatal", "message": text} | {
                k: v for k, v in facts.items() if v is not None
            }
            text = json.dumps(entry, ensure_ascii=False)
        else:
            text = f"FATAL ERROR: {' '.join(text.split())}"
        self.err.print(text, style="bold red" if self.log_format == "text" else None)

    @contextmanager
    def progress(self) -> Iterator["Progress"]:
        """Something to tell about long work."""
        if self.quiet:
            yield lambda what, done, total: None
        elif self.err.is_terminal and self.log_format == "text":
            with self._bar() as tell:
                yield tell
        else:
            yield _Lines(self)

    @contextmanager
    def _bar(self) -> Iterator["Progress"]:
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with Bar(*columns, console=self.err, transient=True) as bar:
            task = bar.add_task("", total=None)

            def tell(what: str, done: int, total: int) -> None:
                if done == 0 or bar.tasks[0].total != total:
                    bar.reset(task, total=total, description=what)
                bar.update(task, description=what, completed=done)

            yield tell

    def result(self, result: Any) -> None:
        """Print what a stage returned: a dataclass or a dictionary, with `table()` if people want it in another way."""
        if self.silent:
            return
        if self.as_json:
            print(json.dumps(jsonable(result), indent=2, ensure_ascii=False, allow_nan=False))
            return
        if hasattr(result, "table"):
            title, columns, rows = result.table()
        else:
            title, columns = "", ["", ""]
            rows = [[key, _words(value)] for key, value in jsonable(result).items()]
        self._print(title, columns, rows)

    @staticmethod
    def _print(title: str, columns: list[str], rows: list[list[str]]) -> None:
        out = Rich(highlight=False, markup=False)
        table = Table(*columns, box=box.SIMPLE, show_header=any(columns), pad_edge=False, show_edge=False)
        for row in rows:
            table.add_row(*row)
        if title:
            out.print(title, soft_wrap=True)
        if out.is_terminal:
            out.print(table)
            return
        with (file := Rich(highlight=False, markup=False, width=WIDE)).capture() as text:
            file.print(table)
        print("\n".join(line.rstrip() for line in text.get().splitlines()))


class _Handler(logging.Handler):
    """Through the console, so that a bar and a line do not write over each other."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING and self.console.log_format == "text" else None
        self.console.err.print(self.format(record), style=style)


class _Lines:
    """Progress for a log: when the work changes, when it is done, and at most every `LINE_EVERY` seconds."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.kind, self.last = "", -math.inf

    def __call__(self, what: str, done: int, total: int) -> None:
        now, kind = monotonic(), what.partition(",")[0]  # "training, loss 0.51": a new loss is no new work
        if kind == self.kind and done < total and now - self.last < LINE_EVERY:
            return
        self.kind, self.last = kind, now
        self.console.say(f"{what} {done}/{total}", done=done, total=total)


def _words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
