"""The observation store: Parquet, one file a batch, and a manifest that says which files count.

A batch is what one source gave from one input. The manifest is the only truth: a file that it does not name (left by a
process that was killed) is never read, and is removed by the next writer. A batch is written first, then the manifest
is replaced, so that a reader sees all of a batch or nothing. Writers wait for each other at a lock; readers never wait.

    <path>/manifest.json           [{id, source, name, sha256, file, rows, first, last, written}, ...]
    <path>/batches/<id>-<n>.parquet    rows ordered by time; n grows with each replacement
    <path>/.lock

An input is known by its name and by its content, never by where it lies. The same name replaces its batch (the file has
changed), and so does the same content (it was renamed): whoever starts again after a failure, or after the data have
moved, gets the same store. Older stores name an input by its whole path; such a batch is replaced where the
path ends in the name.

A window is half-open, (start, end]: adjoining windows share no row and miss none.
"""

__all__ = ["Input", "ObservationStore"]

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from stormda.errors import AlreadyRunning, InputError, OutputError
from stormda.observations import SCHEMA, Observations
from stormda.store.publish import atomic, scratch, write_text
from stormda.time import Window, parse_time
from stormda.types import Array

_PATIENCE = 60.0  # s, that a writer waits for another
_GROUP = 65536  # rows that are read or skipped together
_AGAIN = 3  # times a reader starts again when a batch was replaced under its hands
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Input:
    """What a batch is read from.

    Args:
        name: of the file, below the folder that all files of its source share: `2019/synop.csv`.
        sha256: of its content, hexadecimal; empty where it is not known.
    """

    name: str
    sha256: str = ""


@dataclass(frozen=True)
class _Batch:
    """A line of the manifest; `first` and `last` are None where no row has a time."""

    id: str
    source: str
    name: str
    sha256: str
    file: str
    rows: int
    first: str | None
    last: str | None
    written: str

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> "_Batch":
        """A line as it is, or one of an older store, which named the whole path of its input."""
        if "inputs" in line:
            rest = {key: value for key, value in line.items() if key != "inputs"}
            batch = cls(name=line["inputs"][0], sha256="", **rest)
        else:
            batch = cls(**line)
        if PurePosixPath(batch.file).name != batch.file:
            raise ValueError(f"'{batch.file}' is no file of the store")
        return batch

    def names(self) -> Iterator[tuple[str, str]]:
        """The name of its input, with the source; of a whole path, everything that it ends in."""
        yield self.source, self.name
        if self.name.startswith("/"):
            parts = PurePosixPath(self.name).parts
            yield from ((self.source, "/".join(parts[k:])) for k in range(1, len(parts)))


class ObservationStore:
    """The observations of a run.

    Args:
        path: its folder, made by the first `add`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, observations: Observations, source: str, origin: Input) -> str:
        """Store what a source gave from an input, in place of what it gave before.

        Args:
            observations: rows; an empty table is remembered too.
            source: the key of the source in the configuration.
            origin: what they were read from.

        Returns:
            The id of the batch.

        Raises:
            OutputError: the folder cannot be written.
            AlreadyRunning: another writer holds the lock for more than a minute.
        """
        return self.add_parts([observations], source, origin)

    def add_parts(self, parts: Iterable[Observations], source: str, origin: Input) -> str:
        """As `add`, of rows that come in parts, each later than the one before: one of them at a time is in memory.

        The parts are written before the lock is taken, so that nobody waits for whoever makes them.
        """
        id_, rows, spans = _id(source, origin.name), 0, []
        with self._writing(), scratch(self.path / "batch") as folder:
            with pq.ParquetWriter(folder / "rows.parquet", SCHEMA, compression="zstd") as writer:
                for part in parts:
                    table = part.table.sort_by("time")
                    writer.write_table(table, row_group_size=_GROUP)
                    rows += table.num_rows
                    spans.append(_span(table))
            self._take(folder / "rows.parquet", id_, source, origin, rows, *_joined(spans))
        return id_

    def _take(
        self, rows: Path, id_: str, source: str, origin: Input, number: int, first: str | None, last: str | None
    ) -> None:
        """Give a file of rows its place and its line of the manifest."""
        with self._locked():
            before = self._batches()
            replaced = set(_given(before, [(source, origin)]))
            turn = max((1 + int(b.file.rsplit("-", 1)[-1].split(".")[0]) for b in before if b.id == id_), default=0)
            file = f"{id_}-{turn}.parquet"
            with atomic(self.path / "batches" / file) as temporary:
                rows.replace(temporary)
            written = datetime.now(UTC).isoformat(timespec="seconds")
            batch = _Batch(id_, source, origin.name, origin.sha256, file, number, first, last, written)
            batches = sorted([batch, *(b for b in before if b.id not in replaced)], key=lambda b: (b.source, b.name))
            write_text(self._manifest, json.dumps([asdict(b) for b in batches], indent=1))
            self._sweep({b.file for b in batches})

    def given(self, origins: Iterable[tuple[str, Input]]) -> list[str]:
        """The ids of the batches that these inputs, each with its source, would replace."""
        return _given(self._batches(), origins)

    def read(
        self,
        window: Window,
        sources: Sequence[str] | None = None,
        bbox: tuple[float, float, float, float] | None = None,
        *,
        without: Sequence[str] = (),
    ) -> Observations:
        """The rows of a window, in an order that does not depend on who wrote first.

        Args:
            window: (start, end].
            sources: keys of sources; None: all.
            bbox: west, south, east, north in degrees; west > east goes across the date line.
            without: ids of batches to leave out.

        Returns:
            Rows, none where the store does not exist yet.

        Raises:
            InputError: a batch or the manifest is damaged.
        """

        def attempt() -> Observations:
            parts = [self._read(b, window, bbox) for b in self._select(window, sources) if b.id not in set(without)]
            return Observations.concat([p for p in parts if len(p)])

        return self._patiently(attempt)

    def prune(self, before: np.datetime64, *, dry_run: bool = False) -> int:
        """Remove the batches whose last row is before a time; returns how many.

        Raises:
            OutputError: the folder cannot be written.
            AlreadyRunning: another writer holds the lock for more than a minute.
        """
        if dry_run or not any(_is_over(b, before) for b in self._batches()):
            return sum(_is_over(b, before) for b in self._batches())
        with self._locked():
            batches = self._batches()
            kept = [b for b in batches if not _is_over(b, before)]
            write_text(self._manifest, json.dumps([asdict(b) for b in kept], indent=1))
            self._sweep({b.file for b in kept})
        return len(batches) - len(kept)

    def summary(self) -> list[dict[str, object]]:
        """Per source: batches, rows, first and last time."""
        out: dict[str, dict[str, object]] = {}
        for b in self._batches():
            row = out.setdefault(b.source, {"source": b.source, "batches": 0, "rows": 0, "first": None, "last": None})
            row["batches"] = int(str(row["batches"])) + 1
            row["rows"] = int(str(row["rows"])) + b.rows
            row["first"] = min((t for t in (row["first"], b.first) if t is not None), default=None, key=str)
            row["last"] = max((t for t in (row["last"], b.last) if t is not None), default=None, key=str)
        return list(out.values())

    # --- inside ---

    @property
    def _manifest(self) -> Path:
        return self.path / "manifest.json"

    def _batches(self) -> list[_Batch]:
        try:
            return [_Batch.of(line) for line in json.loads(self._manifest.read_text(encoding="utf-8"))]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError, LookupError, OSError) as error:
            hint = "remove the folder and run stormda ingest"
            raise InputError(f"the manifest is damaged: {error}", file=self._manifest, hint=hint) from error

    def _select(self, window: Window, sources: Sequence[str] | None) -> list[_Batch]:
        """The batches that may have rows of the window."""
        return [
            b
            for b in self._batches()
            if (sources is None or b.source in sources)
            and b.first is not None
            and b.last is not None
            and parse_time(b.first) <= window.end
            and parse_time(b.last) >= window.start
        ]

    def _read(self, batch: _Batch, window: Window, bbox: tuple[float, float, float, float] | None) -> Observations:
        path = self.path / "batches" / batch.file
        try:
            table = ds.dataset(path, schema=SCHEMA, format="parquet").to_table(filter=_filter(window, bbox))
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError) as error:
            hint = f"stormda ingest reads source '{batch.source}' again"
            raise InputError(f"a batch of observations is damaged: {error}", file=path, hint=hint) from error
        for name, value in (("count", 1), ("spread", float("nan"))):  # batches of older versions have none
            i = SCHEMA.get_field_index(name)
            table = table.set_column(i, SCHEMA.field(i), table.column(name).fill_null(value))
        return Observations(table.cast(SCHEMA))

    def _patiently(self, attempt: Callable[[], _Result]) -> _Result:
        """Start again where a batch was replaced between reading the manifest and reading the batch."""
        for _ in range(_AGAIN):
            try:
                return attempt()
            except FileNotFoundError as error:
                missing = error
        hint = "run stormda ingest"
        raise InputError("a batch of the manifest is not there", file=self._manifest, hint=hint) from missing

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._writing():
            try:
                with FileLock(self.path / ".lock", timeout=_PATIENCE):
                    yield
            except Timeout as error:
                raise AlreadyRunning("another process writes to the observation store", file=self.path) from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            (self.path / "batches").mkdir(parents=True, exist_ok=True)
            yield
        except OSError as error:
            hint = "check permissions and room on the disk"
            raise OutputError(f"the observation store cannot be written: {error}", file=self.path, hint=hint) from error

    def _sweep(self, keep: set[str]) -> None:
        """Remove what the manifest does not name: replaced batches and what killed writers left."""
        for file in (self.path / "batches").iterdir():
            if file.name not in keep:
                file.unlink(missing_ok=True)


def _is_over(batch: _Batch, before: np.datetime64) -> bool:
    return batch.last is not None and bool(parse_time(batch.last) < before)


def _given(batches: Iterable[_Batch], origins: Iterable[tuple[str, Input]]) -> list[str]:
    known = list(origins)
    names = {(source, origin.name) for source, origin in known}
    contents = {(source, origin.sha256) for source, origin in known if origin.sha256}
    return [b.id for b in batches if (b.source, b.sha256) in contents or not names.isdisjoint(b.names())]


def _id(source: str, name: str) -> str:
    digest = hashlib.sha256(json.dumps([source, name]).encode()).hexdigest()[:16]
    return f"{''.join(c if c.isalnum() else '_' for c in source)}-{digest}"


def _span(table: pa.Table) -> tuple[str | None, str | None]:
    span = pc.min_max(table.column("time")).as_py()
    return tuple(None if span[k] is None else span[k].isoformat() for k in ("min", "max"))  # type: ignore[return-value]


def _joined(spans: Sequence[tuple[str | None, str | None]]) -> tuple[str | None, str | None]:
    """The span of several; ISO 8601 sorts like the times."""
    times = [time for span in spans for time in span if time is not None]
    return min(times, default=None), max(times, default=None)


def _filter(window: Window, bbox: tuple[float, float, float, float] | None) -> pc.Expression:
    start, end = (pa.scalar(_us(t), type=pa.timestamp("us")) for t in (window.start, window.end))
    chosen = (ds.field("time") > start) & (ds.field("time") <= end)
    if bbox is None:
        return chosen
    west, south, east, north = bbox
    chosen &= (ds.field("latitude") >= south) & (ds.field("latitude") <= north)
    if east - west >= 360.0:
        return chosen
    west, east = ((x + 180.0) % 360.0 - 180.0 if abs(x) > 180.0 else x for x in (west, east))
    after, before = ds.field("longitude") >= west, ds.field("longitude") <= east
    return chosen & ((after & before) if west <= east else (after | before))


def _us(time: np.datetime64) -> Array:
    return time.astype("datetime64[us]").astype(object)  # type: ignore[no-any-return]
