"""Station tables: CSV or Parquet, one row a report, read through the column mapping of the configuration.

    time: valid                                 one column, or [year, month, day, hour]
    variables: {t2m: {column: temp, unit: degF}}
    wind: {10m: {direction: drct, speed: sknt, unit: knot}}
    level: {column: pressure, unit: Pa}         soundings and aircraft
    stations: {file: stations.csv, ...}         where the places are in a table of their own
    altimeter: {column: alti, unit: inHg}       QNH, which with the elevation gives the station's pressure
    t2m: {column: temp, flag: temp_qc}          with `reject: [X, Q]`, flags that make a value unused

Nothing is guessed: a column that is not there is an InputError that names the nearest one, and a number without a unit
has that of the vocabulary. Numbers of `missing` (-99, -999, -9999) mean that there is no value; a longitude of -99 is a
place.
"""

__all__ = ["PART", "column_names", "read_columns", "read_table", "station_places", "table_parts"]

import difflib
from collections.abc import Callable, Iterator, Sequence
from csv import reader
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq

from stormda.config import Column, StationTable, TableSource
from stormda.errors import ConfigError, InputError
from stormda.observations import QC, Observations
from stormda.sources.files import MOST, expand
from stormda.sources.reports import Reports, Values, observations, wind
from stormda.sources.standard_atmosphere import station_pressure
from stormda.sources.times import read_times
from stormda.sources.units import convert
from stormda.store.identity import canonical
from stormda.types import Array
from stormda.variables import VOCABULARY, LevelType

PART = 1_000_000
"""Values of a part of a large table."""

_PARQUET = (".parquet", ".pq")
_HEADER = 65536  # bytes that hold the names of the columns
_CHUNK = 1 << 24  # bytes of a packed table at once, to count them
_NOTHING = ["", "NA", "N/A", "#N/A", "NaN", "nan", "NULL", "null", "None"]
_WIND = {"10m": ("u10", "v10"), "level": ("u", "v")}


def read_table(config: TableSource, name: str, resolve: Callable[[str], Path]) -> Observations:
    """All observations of a source's files.

    Args:
        config: files and column mapping.
        name: the key of the source in the configuration.
        resolve: turns a path of the configuration into a path.

    Raises:
        InputMissing: a file that is not there.
        InputError: an empty, truncated or unreadable file, a column that lacks or holds no numbers, a wrong unit.
        ConfigError: a mapping without the level that its variables need.
    """
    _complete(config, name)
    files = expand(config.files, resolve, key=f"observations.sources.{name}.files")
    return Observations.concat([_read(config, name, path, resolve) for path in files])


def table_parts(config: TableSource, name: str, resolve: Callable[[str], Path]) -> Iterator[Observations]:
    """As `read_table`, of one file, in parts of about a million values in its order: it is never in memory whole.

    What `read_table` says of a whole file (its unit is wrong, no row has a time) is asked of each part. That no station
    is known is no error where there are several parts: a file may be ordered by station.
    """
    _complete(config, name)
    (path,) = expand(config.files, resolve, key=f"observations.sources.{name}.files")
    key = f"observations.sources.{name}"
    columns = _columns(config)
    size = max(1, PART // max(1, len(config.variables) + 2 * len(config.wind) + (config.altimeter is not None)))
    for number, frame in enumerate(_frames(path, columns, key, size)):
        yield _observe(config, name, path, frame, resolve, anywhere=number == 0)


def _complete(config: TableSource, name: str) -> None:
    key = f"observations.sources.{name}"
    if not isinstance(config.time, str) and len(config.time) not in (4, 5):
        raise ConfigError("time is one column, or year, month, day, hour and perhaps minute", key=f"{key}.time")
    wanted = [*config.variables, *(v for part in config.wind for v in _WIND[part])]
    levelled = [v for v in wanted if VOCABULARY[v].level_type is not LevelType.SURFACE]
    if levelled and config.level is None:
        raise ConfigError(
            f"{', '.join(levelled)} need a level", key=f"{key}.level", hint="{column: pressure, unit: hPa}"
        )


def _read(config: TableSource, name: str, path: Path, resolve: Callable[[str], Path]) -> Observations:
    frame = read_columns(path, _columns(config), f"observations.sources.{name}")
    return _observe(config, name, path, frame, resolve)


def _observe(
    config: TableSource,
    name: str,
    path: Path,
    frame: pd.DataFrame,
    resolve: Callable[[str], Path],
    anywhere: bool = True,
) -> Observations:
    """The observations of the rows of a table; `anywhere`: whether it is an error that no station is known."""
    key = f"observations.sources.{name}"
    numbers = _Numbers(frame, config.missing, path, key)
    latitude, longitude, elevation = _places(config, frame, numbers, resolve, key, anywhere)
    level = None if config.level is None else _level(config.level, numbers)
    times = read_times(frame, config.time)
    reports = Reports(frame[config.station_id].to_numpy(dtype=object), times, latitude, longitude, elevation, level)
    values = []
    for v, c in config.variables.items():
        flag, qc = _flags(frame, [c.flag] if c.flag else [], config)
        seconds = 0.0 if c.interval is None else float(c.interval / np.timedelta64(1, "s"))
        values.append(Values(v, numbers.of(c, VOCABULARY[v].unit), seconds, flag=flag, qc=qc))
    for part, columns in config.wind.items():
        direction = numbers.raw(columns.direction)
        speed = numbers.of(Column(column=columns.speed, unit=columns.unit), "m s-1")
        flag, qc = _flags(frame, columns.flags, config)
        values += wind(*_WIND[part], direction, speed, flag=flag, qc=qc)
    if config.altimeter is not None:
        flag, qc = _flags(frame, [config.altimeter.flag] if config.altimeter.flag else [], config)
        setting = numbers.of(config.altimeter, "Pa") / 100.0
        values.append(Values("sp", 100.0 * station_pressure(setting, elevation), flag=flag, qc=qc))
    return observations(reports, values, config, name, file=path, platform=config.platform)


def _flags(frame: pd.DataFrame, columns: Sequence[str], config: TableSource) -> tuple[Array | None, Array | None]:
    """The provider's flag as a number, of a letter its character code, and the QC code that follows from it.

    Of several columns, that which rejects counts, else the last.
    """
    if not columns:
        return None, None
    rejected = [str(word) for word in config.reject]
    worst = _flag(frame[columns[-1]])
    for column in reversed(columns[:-1]):
        words = _flag(frame[column])
        worst = worst.where(worst.isin(rejected) | ~words.isin(rejected), words)
    digits = pd.to_numeric(worst, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    numbers = [int(d) if np.abs(d) < 1e9 else ord((w or "\0")[0]) for w, d in zip(worst, digits, strict=True)]
    return np.array(numbers, dtype=np.int32), np.where(worst.isin(rejected), int(QC.PROVIDER), int(QC.USED))


def _flag(column: pd.Series) -> pd.Series:
    """Flags as words; a number that was read as a float is a whole one again."""
    return column.astype("string").str.strip().str.replace(r"^(-?\d+)\.0$", r"\1", regex=True).fillna("").astype(object)


def _columns(config: TableSource) -> list[str]:
    """Every column that the mapping names, once."""
    names = [config.station_id, *((config.time,) if isinstance(config.time, str) else config.time)]
    if config.stations is None:
        names += [c for c in (config.latitude, config.longitude, config.elevation) if c is not None]
    values = [*config.variables.values(), *([config.altimeter] if config.altimeter else [])]
    names += [c for value in values for c in (value.column, value.flag) if c is not None]
    names += [c for w in config.wind.values() for c in (w.direction, w.speed, *w.flags)]
    names += [config.level.column] if config.level else []
    return list(dict.fromkeys(names))


def _level(level: Column, numbers: "_Numbers") -> Array:
    """Pressure in hPa, or an index, which has no unit; a hundredth of a hPa is as exact as reports are."""
    values = numbers.raw(level.column)
    return np.round(numbers.convert(values, level.unit, "hPa"), 2)


# --- places --------------------------------------------------------------------------------------------------------


def _places(
    config: TableSource,
    frame: pd.DataFrame,
    numbers: "_Numbers",
    resolve: Callable[[str], Path],
    key: str,
    anywhere: bool,
) -> tuple[Array, Array, Array]:
    """Latitude, longitude and elevation of every row."""
    if config.stations is not None:
        return _from_stations(config, frame, resolve, key, anywhere)
    assert config.latitude is not None and config.longitude is not None
    nowhere = np.full(len(frame), np.nan)
    elevation = nowhere
    if config.elevation is not None:
        elevation = numbers.convert(numbers.raw(config.elevation), config.elevation_unit, "m")
    longitude = numbers.raw(config.longitude, fill=False)  # -99 E is Mexico; without a latitude it is nowhere.
    return numbers.raw(config.latitude), longitude, elevation


def _from_stations(
    config: TableSource, frame: pd.DataFrame, resolve: Callable[[str], Path], key: str, anywhere: bool
) -> tuple[Array, Array, Array]:
    assert config.stations is not None
    places = station_places(config.stations, config.missing, resolve, key)
    ids = canonical(frame[config.station_id])
    if anywhere and not np.isin(ids, places.index.to_numpy()).any():
        hint = f"the reports have ids like '{ids[0]}'" if len(ids) else None
        what = "no station of the reports is in this table"
        raise InputError(what, file=resolve(config.stations.file), key=f"{key}.stations", hint=hint)
    found = places.reindex(ids)
    return (found["latitude"].to_numpy(), found["longitude"].to_numpy(), found["elevation"].to_numpy())


def station_places(
    table: StationTable, missing: tuple[float, ...], resolve: Callable[[str], Path], key: str
) -> pd.DataFrame:
    """`latitude`, `longitude`, `elevation` by canonical station name.

    Raises:
        InputMissing: the table is not there.
        InputError: it cannot be read, or a station is in two places.
    """
    path = expand((table.file,), resolve, key=f"{key}.stations.file")[0]
    names = [c for c in (table.station_id, table.latitude, table.longitude, table.elevation) if c is not None]
    stations = read_columns(path, list(dict.fromkeys(names)), f"{key}.stations")
    numbers = _Numbers(stations, missing, path, f"{key}.stations")
    elevation = np.full(len(stations), np.nan)
    if table.elevation is not None:
        elevation = numbers.convert(numbers.raw(table.elevation), table.elevation_unit, "m")
    places = pd.DataFrame(
        {
            "latitude": numbers.raw(table.latitude),
            "longitude": numbers.raw(table.longitude, fill=False),
            "elevation": elevation,
        },
        index=canonical(stations[table.station_id]),
    )
    places = places[~places.reset_index().duplicated().to_numpy()]
    if places.index.has_duplicates:
        twice = str(places.index[places.index.duplicated()][0])
        raise InputError(f"station '{twice}' is in two places", file=path, key=f"{key}.stations")
    return places


# --- files ---------------------------------------------------------------------------------------------------------


def read_columns(path: Path, columns: list[str], key: str) -> pd.DataFrame:
    """The named columns of a CSV or Parquet file; those of a CSV file are words.

    Raises:
        InputError: it is no table, has no rows, or lacks a column.
    """
    return next(_frames(path, columns, key, None))


def _frames(path: Path, columns: list[str], key: str, size: int | None) -> Iterator[pd.DataFrame]:
    """As `read_columns`, in frames of about `size` rows, one at least; None: a single one."""
    rows = 0
    try:
        for table in _tables(path, columns, key, size):
            frame: pd.DataFrame = table.replace_schema_metadata(None).to_pandas(ignore_metadata=True)
            rows += len(frame)
            if len(frame):
                yield frame
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        what = f"the file cannot be read, it is truncated or no table: {str(error).strip()}"
        raise InputError(what, file=path, key=key) from error
    if not rows:
        raise InputError("the table has no rows", file=path, key=key)


def _tables(path: Path, columns: list[str], key: str, size: int | None) -> Iterator[pa.Table]:
    if path.suffix not in _PARQUET:
        yield from _csv(path, columns, key, size)
        return
    _has(columns, pq.read_schema(path).names, path, key)
    if size is None:
        yield pq.read_table(path, columns=columns)
        return
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=size, columns=columns):
            yield pa.Table.from_batches([batch])


def column_names(path: Path, key: str) -> list[str]:
    """The names of the columns of a CSV or Parquet file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        names = pq.read_schema(path).names if path.suffix in _PARQUET else _header(path, key)[0]
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise InputError(f"the file cannot be read: {str(error).strip()}", file=path, key=key) from error
    return [name.strip() for name in names]


def _csv(path: Path, columns: list[str], key: str, size: int | None) -> Iterator[pa.Table]:
    """Every row must have as many columns as the header: a shifted or cut one is an error, not another number."""
    _bounded(path, key)
    header, separator = _header(path, key)
    names = {name.strip(): name for name in header}
    _has(columns, list(names), path, key)
    wanted = [names[c] for c in columns]
    options = csv.ConvertOptions(include_columns=wanted, column_types={name: pa.string() for name in wanted})
    parse = csv.ParseOptions(delimiter=separator, quote_char=False if separator == "|" else '"')
    if size is None:
        yield _named(csv.read_csv(path, parse_options=parse, convert_options=options), names, columns)
        return
    with csv.open_csv(path, parse_options=parse, convert_options=options) as stream:
        waiting: list[pa.RecordBatch] = []
        for batch in stream:
            waiting.append(batch)
            if sum(map(len, waiting)) >= size:
                yield _named(pa.Table.from_batches(waiting), names, columns)
                waiting = []
        if waiting:
            yield _named(pa.Table.from_batches(waiting), names, columns)


def _named(table: pa.Table, names: dict[str, str], columns: list[str]) -> pa.Table:
    return pa.table({c: _words(table.column(names[c])) for c in columns})


def _bounded(path: Path, key: str) -> None:
    """A table is read as a whole, so it must fit into memory: also a packed one, whose size nothing tells before."""
    size = path.stat().st_size
    with pa.input_stream(str(path), compression="detect") as stream:
        if isinstance(stream, pa.CompressedInputStream):
            size = 0
            while size <= MOST and (part := stream.read(_CHUNK)):
                size += len(part)
    if size > MOST:
        raise InputError(
            f"the table holds more than {MOST / 2**30:g} GiB", file=path, key=key, hint="cut it into several"
        )


def _header(path: Path, key: str) -> tuple[list[str], str]:
    """The names of the columns and what separates them: comma, semicolon, tab, or bar (then no quotes)."""
    with pa.input_stream(str(path), compression="detect") as stream:
        lines = stream.read(_HEADER).decode("utf-8-sig", errors="replace").splitlines()
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        raise InputError("the file is empty", file=path, key=key)
    separator = max(",;\t|", key=first.count)
    return next(reader([first], delimiter=separator)), separator


def _words(column: pa.ChunkedArray) -> pa.ChunkedArray:
    trimmed = pc.utf8_trim_whitespace(column)
    return pc.if_else(pc.is_in(trimmed, value_set=pa.array(_NOTHING)), pa.scalar(None, pa.string()), trimmed)


def _has(columns: list[str], present: list[str], path: Path, key: str) -> None:
    for column in columns:
        if column not in present:
            near = difflib.get_close_matches(column, present, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"columns: {', '.join(present[:30])}"
            raise InputError(f"the table has no column '{column}'", file=path, key=key, hint=hint)


class _Numbers:
    """The numeric columns of a table, with the numbers that mean no value turned into NaN."""

    def __init__(self, frame: pd.DataFrame, missing: tuple[float, ...], path: Path, key: str) -> None:
        self.frame, self.missing, self.path, self.key = frame, missing, path, key

    def raw(self, column: str, *, fill: bool = True) -> Array:
        """A column as float64, NaN where there is no number; InputError where there is text and never a number."""
        words = self.frame[column]
        series = pd.to_numeric(words, errors="coerce")
        if series.isna().all() and words.notna().any():
            first = words.dropna().iloc[0]
            what = f"the column '{column}' holds no numbers (it begins with '{first}')"
            raise InputError(what, file=self.path, key=self.key, hint="decimal points, no thousands separators")
        values = series.to_numpy(dtype=np.float64, na_value=np.nan)
        return np.where(np.isin(values, self.missing), np.nan, values) if fill else values

    def of(self, column: Column, unit: str) -> Array:
        """A column in the vocabulary's unit."""
        return self.convert(self.raw(column.column), column.unit, unit)

    def convert(self, values: Array, unit: str | None, to: str) -> Array:
        """`values` in the unit `to`; an error of units says where it was configured."""
        try:
            return convert(values, unit, to) if unit else values
        except ConfigError as error:
            raise ConfigError(error.what, key=self.key, hint=error.hint) from error
