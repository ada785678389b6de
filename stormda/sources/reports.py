"""From reports to observations: a report has a station, a time, a place and several values; a row has one value.

Every reader of point observations ends here, so that the rules are the same for all of them:

- A value that the source lacks makes no row. A value that is there makes a row, however wrong it looks.
- A row without time, place or level gets the QC code `MISSING`; a file without any of them is an InputError.
- What the provider flagged as wrong gets the code `PROVIDER`; its own flag stays in `pre_qc`.
- A wind that cannot be (speed out of range, direction beyond 360 degrees) marks both its components with `RANGE`:
  each of them alone may look harmless.
- When most values of a variable are out of its physical range, its unit is wrong, and that is an InputError.
- The error of a row is sqrt(instrument^2 + representativeness^2) of its variable; where none is configured that of the
  file, and NaN where it has none.
"""

__all__ = ["Reports", "Values", "observations", "wind"]

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stormda.config import SourceConfig
from stormda.errors import InputError
from stormda.observations import QC, Observations
from stormda.store.identity import canonical, named
from stormda.types import Array
from stormda.variables import VOCABULARY, LevelType

_ENOUGH = 20  # Fewer values than this say nothing about a unit.
_ROUNDING = 1e-6  # degrees: packed coordinates come back as -90.00000000000001
_HIGHEST_PRESSURE = 1100.0  # hPa


@dataclass(frozen=True, eq=False)
class Reports:
    """What n reports say about themselves.

    Args:
        station: names or numbers [n], made canonical here.
        time: datetime64 [n], NaT where unknown.
        latitude: degrees north [n].
        longitude: degrees east [n], in any convention; -180..180 afterwards.
        elevation: m [n], NaN where unknown.
        level: hPa (or an index) [n]; None where no value has a level.
        start: datetime64 [n], of the report that a row belongs to, where its own time is later; None: `time`.
    """

    station: Array
    time: Array
    latitude: Array
    longitude: Array
    elevation: Array
    level: Array | None = None
    start: Array | None = None

    def __post_init__(self) -> None:
        latitude, longitude = (np.asarray(x, dtype=np.float64) for x in (self.latitude, self.longitude))
        known = (np.abs(latitude) <= 90.0 + _ROUNDING) & (np.abs(longitude) <= 360.0)  # False for NaN
        latitude, longitude = np.where(known, latitude.clip(-90.0, 90.0), np.nan), np.where(known, longitude, np.nan)
        wrapped = np.where(np.abs(longitude) > 180.0, (longitude + 180.0) % 360.0 - 180.0, longitude)
        object.__setattr__(self, "latitude", latitude)
        object.__setattr__(self, "longitude", wrapped)
        object.__setattr__(self, "station", named(canonical(self.station), self.latitude, self.longitude))
        object.__setattr__(self, "time", np.asarray(self.time).astype("datetime64[us]"))
        start = self.time if self.start is None else np.asarray(self.start).astype("datetime64[us]")
        object.__setattr__(self, "start", start)


@dataclass(frozen=True, eq=False)
class Values:
    """One variable of n reports.

    Args:
        variable: a name of the vocabulary.
        values: in the vocabulary's unit [n]; NaN where the report has none.
        interval: s, accumulated or averaged over this time before the report's.
        impossible: where the reading cannot be [n].
        flag: the provider's quality flag, as a number [n].
        qc: why the reader says that the value must not be used, `QC` codes [n]; 0 where it may.
        error: the provider's standard deviation of the error, in the vocabulary's unit [n].
    """

    variable: str
    values: Array
    interval: float = 0.0
    impossible: Array | None = None
    flag: Array | None = None
    qc: Array | None = None
    error: Array | None = None


def wind(
    eastward: str,
    northward: str,
    direction: Array,
    speed: Array,
    *,
    flag: Array | None = None,
    qc: Array | None = None,
) -> list[Values]:
    """Components from the direction that the wind comes from [degrees] and its speed [m s-1].

    A calm needs no direction. Any other wind without one has no components.
    """
    limit = VOCABULARY["ws10" if eastward == "u10" else "ws"].maximum
    direction = np.where(speed == 0.0, 0.0, direction)
    impossible = (speed < 0.0) | (speed > limit) | (direction < 0.0) | (direction > 360.0)
    angle = np.deg2rad(direction)
    with np.errstate(invalid="ignore"):  # infinite ones come out as NaN
        u, v = -speed * np.sin(angle), -speed * np.cos(angle)
    return [Values(name, w, 0.0, impossible, flag, qc) for name, w in ((eastward, u), (northward, v))]


def observations(
    reports: Reports, values: Sequence[Values], config: SourceConfig, name: str, *, file: Path, platform: str
) -> Observations:
    """One row a value, in the order of the reports.

    Args:
        reports: n reports.
        values: their variables.
        config: which variables and levels to keep, and their errors.
        name: the key of the source in the configuration.
        file: for messages.
        platform: what reports; the configuration's own word goes before.

    Raises:
        InputError: no report, no time or no place at all, or values in another unit.
    """
    _whole(reports, name, file)
    platform = config.platform if "platform" in config.model_fields_set else platform
    kept = [v for v in values if not config.keep or v.variable in config.keep]
    _pressures(reports, kept, name, file)
    if not kept:
        return Observations.empty()
    present = [np.flatnonzero(np.isfinite(v.values) & _wanted(reports, v.variable, config)) for v in kept]
    for one, where in zip(kept, present, strict=True):
        _plausible(one, where, name, file)
    rows, number = np.concatenate(present), np.repeat(np.arange(len(kept)), [len(p) for p in present])
    order = np.argsort(rows, kind="stable")
    return _long(reports, kept, rows[order], number[order], config, name, platform)


def _whole(reports: Reports, name: str, file: Path) -> None:
    """Whether there is anything that can be placed in time and space."""
    key = f"observations.sources.{name}"
    if len(reports.time) == 0:
        raise InputError("the file holds no reports", file=file, key=key)
    if np.isnat(reports.time).all():
        hint = "times are ISO 8601 in UTC, or columns of year, month, day and hour"
        raise InputError("no row has a time that can be read", file=file, key=f"{key}.time", hint=hint)
    if np.isnan(reports.latitude).all():
        raise InputError("no row has a latitude and a longitude in degrees", file=file, key=f"{key}.latitude")


def _pressures(reports: Reports, values: Sequence[Values], name: str, file: Path) -> None:
    """Whether pressure levels are in hPa."""
    if reports.level is None or not any(VOCABULARY[v.variable].level_type is LevelType.PRESSURE for v in values):
        return
    known = reports.level[np.isfinite(reports.level)]
    if known.size >= _ENOUGH and 2 * (known > _HIGHEST_PRESSURE).sum() > known.size:
        raise InputError(
            f"pressure levels around {np.median(known):g} hPa cannot be: the unit is wrong",
            file=file,
            key=f"observations.sources.{name}.level",
            hint="name the unit of the column, such as {column: pressure, unit: Pa}",
        )


def _wanted(reports: Reports, variable: str, config: SourceConfig) -> Array:
    """Whether each report is on a level that is kept."""
    everything = np.ones(len(reports.time), dtype=bool)
    if not config.levels or reports.level is None or VOCABULARY[variable].level_type is not LevelType.PRESSURE:
        return everything
    return np.asarray((np.abs(reports.level[:, None] - np.asarray(config.levels)) < 0.005).any(axis=1))


def _plausible(one: Values, rows: Array, name: str, file: Path) -> None:
    info, values = VOCABULARY[one.variable], one.values[rows]
    outside = (values < info.minimum) | (values > info.maximum)
    if rows.size < _ENOUGH or 2 * outside.sum() <= rows.size:
        return
    raise InputError(
        f"{int(outside.sum())} of {rows.size} values of {one.variable} are outside {info.minimum:g}..{info.maximum:g} "
        f"{info.unit} (median {np.median(values):g}): the unit is wrong",
        file=file,
        key=f"observations.sources.{name}.variables.{one.variable}",
        hint="name the unit of the column, such as {column: temp, unit: degC}",
    )


def _long(
    reports: Reports, kept: list[Values], rows: Array, number: Array, config: SourceConfig, name: str, platform: str
) -> Observations:
    info = [VOCABULARY[v.variable] for v in kept]
    surface = np.array([i.level_type is LevelType.SURFACE for i in info])[number]
    pressure = np.array([i.level_type is LevelType.PRESSURE for i in info])[number]
    levels = np.full(len(reports.time), np.nan) if reports.level is None else reports.level
    level = np.where(surface, np.nan, levels[rows])
    value = np.stack([v.values for v in kept])[number, rows]
    nowhere = np.isnat(reports.time) | np.isnan(reports.latitude)
    missing = nowhere[rows] | (~surface & ~np.isfinite(level))
    missing |= pressure & ((level <= 0.0) | (level > _HIGHEST_PRESSURE))
    impossible = _picked([v.impossible for v in kept], rows, number, False)
    codes = _picked([v.qc for v in kept], rows, number, int(QC.USED))
    qc = np.select([missing, impossible], [QC.MISSING, QC.RANGE], codes).astype(np.int32)
    models = [config.errors.get(v.variable) for v in kept]
    error = np.array([np.nan if e is None else np.hypot(e.instrument, e.representativeness) for e in models])[number]
    error = np.where(np.isnan(error), _picked([v.error for v in kept], rows, number, np.nan), error)
    words = pa.array(reports.station, type=pa.string())
    assert reports.start is not None
    stamps = pc.fill_null(
        pc.strftime(pa.array(reports.start.astype("datetime64[s]")), format="%Y%m%dT%H%M%SZ"), "unknown"
    )
    ids = pc.binary_join_element_wise(words, stamps, "/")
    index = pa.array(rows)
    return Observations.of(
        {
            "report_id": ids.take(index).to_numpy(zero_copy_only=False),
            "station_id": reports.station[rows],
            "platform": platform,
            "source": name,
            "variable": np.array([v.variable for v in kept], dtype=object)[number],
            "level_type": np.array([str(i.level_type) for i in info], dtype=object)[number],
            "level": level,
            "time": reports.time[rows],
            "interval": np.array([v.interval for v in kept], dtype=np.float32)[number],
            "latitude": reports.latitude[rows],
            "longitude": reports.longitude[rows],
            "elevation": reports.elevation[rows],
            "value": value,
            "error": error,
            "pre_qc": _picked([v.flag for v in kept], rows, number, 0).astype(np.int32),
            "qc": qc,
        }
    )


def _picked(columns: Sequence[Array | None], rows: Array, number: Array, default: float) -> Array:
    """One column of each variable, or `default` where it has none, as one column of all rows."""
    out = np.full(len(rows), default)
    for i, column in enumerate(columns):
        if column is not None:
            mine = number == i
            out[mine] = np.asarray(column)[rows[mine]]
    return out
