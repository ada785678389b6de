"""Rows of one input that are too many for memory: written as they come, given back in the order of time, part by part.

    <store>/.spool.<host>-<pid>-<n>.partial/     one Parquet file, removed when the input is stored

The parts cut the time axis where samples of the times say that about as many rows lie between. Each comes with its
neighbourhood: the rows up to `reach` before and after it, from which checks in time conclude. A row is in one part. The
parts can be gone through more than once.
"""

__all__ = ["Span", "Spool"]

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from stormda.observations import SCHEMA, Observations
from stormda.store.publish import scratch
from stormda.types import Array

_GROUP = 65536  # rows that are read or skipped together
_SAMPLED = 1000  # of so many rows one tells where the parts are cut


@dataclass(frozen=True)
class Span:
    """The times of a part: (after, until], open where there is None.

    Args:
        after, until: times, datetime64[us].
        dated: False: the rows without a time.
    """

    after: np.datetime64 | None = None
    until: np.datetime64 | None = None
    dated: bool = True

    def has(self, time: Array) -> Array:
        """Which of the times [n] are of the part, bool [n]."""
        inside: Array = np.isnat(time) != self.dated
        if self.after is not None:
            inside &= time > self.after
        if self.until is not None:
            inside &= time <= self.until
        return inside


class Spool:
    """A file of rows, for the time of a `with`.

    Args:
        path: of the store; the file lies there.
        size: rows of a part, about.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path, self._size = path, size
        self._stack = ExitStack()
        self._samples: list[Array] = []
        self.first = self.last = np.datetime64("NaT", "us")  # time of all rows

    def __enter__(self) -> "Spool":
        self._file = self._stack.enter_context(scratch(self._path / "spool")) / "rows.parquet"
        self._writer = self._stack.enter_context(pq.ParquetWriter(self._file, SCHEMA, compression="zstd"))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def append(self, observations: Observations) -> None:
        """Write rows after those that are there."""
        self._writer.write_table(observations.table, row_group_size=_GROUP)
        time = np.sort(observations["time"])  # NaT comes last
        self._samples.append(time[:: min(_SAMPLED, max(1, self._size // 10))])
        if len(time):
            self.first = np.fmin(self.first, time[0])
            self.last = np.fmax(self.last, np.fmax.reduce(time))

    def parts(self, reach: np.timedelta64) -> Iterator[tuple[Observations, Span]]:
        """Every row once, in the order of time; rows without a time come last.

        Args:
            reach: how far the neighbourhood of a part goes.

        Yields:
            Rows of a part and its neighbourhood, in the order in which they were written, and the times of the part.
        """
        self._writer.close()
        samples = np.sort(np.concatenate(self._samples))
        samples = samples[~np.isnat(samples)]
        step = max(1, round(self._size / min(_SAMPLED, max(1, self._size // 10))))
        first = samples[:1] - np.timedelta64(1, "us")
        edges = np.unique(np.concatenate([first, samples[step:-1:step], samples[-1:]]))
        far = reach.astype("timedelta64[us]")
        # A sample is no maximum: the last part is open.
        for number, (start, end) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
            low = None if number == 0 else start
            high = None if number == len(edges) - 2 else end
            yield (
                self._read(None if low is None else low - far, None if high is None else high + far),
                Span(low, high),
            )
        nowhen = self._read_where(ds.field("time").is_null())
        if len(nowhen):
            yield nowhen, Span(dated=False)

    def _read(self, after: np.datetime64 | None, until: np.datetime64 | None) -> Observations:
        chosen = ds.field("time").is_valid()
        if after is not None:
            chosen &= ds.field("time") > pa.scalar(after.astype(object), type=pa.timestamp("us"))
        if until is not None:
            chosen &= ds.field("time") <= pa.scalar(until.astype(object), type=pa.timestamp("us"))
        return self._read_where(chosen)

    def _read_where(self, chosen: ds.Expression) -> Observations:
        rows = ds.dataset(self._file, schema=SCHEMA, format="parquet")
        return Observations(
            rows.to_table(filter=chosen, batch_size=_GROUP, batch_readahead=2, fragment_readahead=1).combine_chunks()
        )
