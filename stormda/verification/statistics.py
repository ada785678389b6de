"""The statistics file: all that one analysis time adds to the scores of a period; no ensemble is read twice.

    <run_dir>/verification/<method>/statistics/<cycle>[_splitNN].parquet

One row is one group (a station, or the whole field) of one part:

    target, variable, unit, side, lead [s], region, source, members     what was compared with what
    station                                                             empty against fields
    count, weight                                                       how many values, sum of their weights
    <statistic>                                                         list of doubles: sum of weight x statistic

and the file's metadata say the cycle and split, what could not be scored, and what it was made of (`fingerprint`).
Rows of many files add up: the mean of a statistic is sum(<statistic>) / sum(weight) over the rows of one kind. Which
statistics there are: docs/verification.md.
Numbers are written to the last digit, so scores from files are scores from ensembles.
"""

__all__ = ["LAYOUT", "Record", "read_facts", "read_record", "richer", "write_record"]

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stormda.errors import InputError
from stormda.metrics.base import Sums
from stormda.store.publish import atomic
from stormda.time import format_time, parse_time
from stormda.types import Array
from stormda.verification.compare import Part
from stormda.verification.tally import Key

LAYOUT = "statistics-3"
_HINT = "remove it: stormda verify writes it again where the analysis is there"
_WORDS = ("target", "variable", "unit", "side", "region", "source")
_OWN = (*_WORDS, "lead", "members", "station", "count", "weight", "part")


@dataclass(frozen=True, eq=False)
class Record:
    """What a statistics file holds.

    Args:
        cycle, split: which analysis time.
        parts: its sums.
        missing: what could not be scored, one sentence each.
        fingerprint: of what it was made of: equal where nothing has changed.
    """

    cycle: np.datetime64
    split: int
    parts: tuple[Part, ...]
    missing: tuple[str, ...]
    fingerprint: str


def write_record(path: Path, record: Record) -> None:
    """Write a statistics file, at once; raises OutputError."""
    parts = record.parts
    sizes = np.array([len(p.sums.count) for p in parts], dtype=np.int64)

    def repeated(values: Sequence[object]) -> Array:
        return np.repeat(np.array(values, dtype=object), sizes)

    columns: dict[str, pa.Array] = {word: pa.array(repeated([getattr(p, word) for p in parts])) for word in _WORDS}
    columns = {name: column.cast(pa.string()) for name, column in columns.items()}
    columns["lead"] = pa.array(repeated([int(p.lead / np.timedelta64(1, "s")) for p in parts]), pa.int64())
    columns["members"] = pa.array(repeated([p.members for p in parts]), pa.int32())
    columns["part"] = pa.array(repeated(list(range(len(parts)))), pa.int32())
    columns["station"] = pa.array([str(s) for p in parts for s in p.stations], pa.string())
    columns["count"] = pa.array([int(n) for p in parts for n in p.sums.count], pa.int64())
    columns["weight"] = pa.array([float(w) for p in parts for w in p.sums.weight], pa.float64())
    for name in dict.fromkeys(n for p in parts for n in p.sums.totals):
        columns[name] = _lists([p.sums.totals.get(name) for p in parts], sizes)
    metadata = {
        "stormda_layout": LAYOUT,
        "cycle": format_time(record.cycle),
        "split": str(record.split),
        "missing": json.dumps(record.missing),
        "fingerprint": record.fingerprint,
    }
    table = pa.table(columns).replace_schema_metadata(metadata)
    with atomic(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_record(path: Path) -> Record:
    """Read what `write_record` wrote.

    Raises:
        InputError: truncated, or another kind of file.
    """
    cycle, split, missing, fingerprint = read_facts(path)
    try:
        parts = tuple(_parts(pq.read_table(path), cycle, split))
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise _damaged(path, error) from error
    return Record(cycle, split, parts, missing, fingerprint)


def read_facts(path: Path) -> tuple[np.datetime64, int, tuple[str, ...], str]:
    """Cycle, split, what is missing, and fingerprint: a `Record` without its parts; raises InputError."""
    try:
        facts = {k.decode(): v.decode() for k, v in (pq.read_schema(path).metadata or {}).items()}
        if facts.get("stormda_layout") != LAYOUT:
            raise InputError("not a statistics file of this version", file=path, hint=_HINT)
        missing = tuple(str(line) for line in json.loads(facts["missing"]))
        return parse_time(facts["cycle"]), int(facts["split"]), missing, facts["fingerprint"]
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise _damaged(path, error) from error


def richer(old: Record, new: Record) -> bool:
    """Whether an earlier record has every part of a new one, with the same sums, and others besides."""
    before = {Key.of(p): p for p in old.parts}
    return len(before) > len(new.parts) and all(
        (known := before.get(Key.of(p))) is not None and _alike(known, p) for p in new.parts
    )


def _alike(one: Part, other: Part) -> bool:
    a, b = one.sums.totals, other.sums.totals
    return (
        list(one.stations) == list(other.stations)
        and np.array_equal(one.sums.weight, other.sums.weight)
        and a.keys() == b.keys()
        and all(np.array_equal(np.ravel(a[n]), np.ravel(b[n])) for n in a)
    )


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"the statistics file cannot be read: {error}", file=path, hint=_HINT)


def _lists(totals: Sequence[Array | None], sizes: Array) -> pa.Array:
    """One list a row; null where a part lacks the statistic."""
    rows = [t.reshape(n, -1) if t is not None else None for t, n in zip(totals, sizes, strict=True)]
    lengths = np.concatenate([np.full(n, 0 if r is None else r.shape[1]) for r, n in zip(rows, sizes, strict=True)])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    absent = np.concatenate([np.full(n, r is None) for r, n in zip(rows, sizes, strict=True)])
    values = np.concatenate([r.ravel() for r in rows if r is not None])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values), mask=pa.array(absent))


def _parts(table: pa.Table, cycle: np.datetime64, split: int) -> list[Part]:
    if table.num_rows == 0:
        return []
    table = table.combine_chunks()
    words = {name: table.column(name).to_pylist() for name in (*_WORDS, "lead", "members", "station")}
    count, weight = (table.column(n).to_numpy().astype(np.float64) for n in ("count", "weight"))
    part = table.column("part").to_numpy()
    starts = np.flatnonzero(np.r_[True, np.diff(part) != 0])
    ends = np.r_[starts[1:], len(part)]
    lists = {n: _flat(table.column(n).chunk(0)) for n in table.column_names if n not in _OWN}
    parts = []
    for first, last in zip(starts, ends, strict=True):
        totals = {}
        for name, (values, offsets) in lists.items():
            if offsets[last] > offsets[first]:
                own = values[offsets[first] : offsets[last]].reshape(last - first, -1)
                totals[name] = own if name in _VECTORS or ":" in name or own.shape[1] > 1 else own[:, 0]
        parts.append(
            Part(
                **{word: words[word][first] for word in _WORDS},
                cycle=cycle,
                split=split,
                members=words["members"][first],
                sums=Sums(count[first:last], weight[first:last], totals),
                stations=np.array(words["station"][first:last]),
                lead=np.timedelta64(words["lead"][first], "s"),
            )
        )
    return parts


_VECTORS = ("power_truth", "power_members", "power_error", "power_spread", "wavelength")
"""Statistics of several columns that may happen to have one."""


def _flat(column: pa.ListArray) -> tuple[Array, Array]:
    return column.values.to_numpy(), column.offsets.to_numpy()
