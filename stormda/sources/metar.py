"""METAR and SPECI: what airports report every half hour, as text, decoded by the package `metar`.

    CYGW 010531Z AUTO 31012G18KT 5SM BR BKN024 04/03 A2924 RMK SLP903
    station, day hour minute, wind, ..., temperature/dew point [degC], altimeter setting (QNH), sea-level pressure

A file may be plain lines, NOAA cycle files (a line `2020/10/01 06:00` before each report), GTS bulletins (a report may
go over several lines and ends with `=`), or a table with a column of texts.

**Month and year** are not sent. They are taken so that the report is as near as can be to a reference: the date before
it, the table's time, `reference` of the configuration, or the date in the name of the file. A report of the 31st read
beside a reference of the 1st so falls into the month before.

**Pressure.** QNH and the station's height give the pressure at the station. QNH has passed the standard atmosphere, not
the real one, so it is never taken for pressure at mean sea level; the remark SLPppp of North America is that.

Places are not sent either: they come from the table, from a table of stations, or from the National Weather Service's
list. What cannot be decoded is counted in a warning.
"""

__all__ = ["read_metar"]

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from metar.Metar import Metar

from stormda.config import MetarColumns, MetarSource
from stormda.errors import InputError
from stormda.observations import Observations
from stormda.sources.files import expand, read_bytes
from stormda.sources.metar_stations import national_weather_service
from stormda.sources.reports import Reports, Values, observations, wind
from stormda.sources.standard_atmosphere import station_pressure
from stormda.sources.table import read_columns, station_places
from stormda.sources.times import read_times
from stormda.sources.worker import isolated
from stormda.store.identity import canonical
from stormda.types import Array

log = logging.getLogger(__name__)

_HEAD = re.compile(r"(?:(?:METAR|SPECI)\s+)*(?:COR\s+)?([A-Z][A-Z0-9]{3})\s+(?:(\d\d)(\d\d)(\d\d)Z?|NIL)\b")
_DATE = re.compile(r"(\d{4})/(\d\d)/(\d\d)\s+(\d\d):(\d\d)\s*$")
_BULLETIN = re.compile(r"[A-Z]{4}\d\d\s+[A-Z]{4}\s+\d{6}(\s+[A-Z]{3})?$|\d{3}$|(METAR|SPECI)$|ZCZC\b.*|NNNN$")
_IN_NAME = re.compile(r"(?<!\d)((?:19|20)\d\d)[-_]?(\d\d)[-_]?(\d\d)")
_SEA_LEVEL = re.compile(r"\sSLP\d{4}\b")  # a body with pressure at mean sea level in the place of QNH
_TEMPERATURES = re.compile(r"\s(M?\d\d)/(M?\d\d)?(?=\s|$)")
_LONGEST = 2000  # characters of a report
_FRESH = np.timedelta64(14, "D")
"""A file changed so near to the present holds reports of the present; a longer span would leave the month open."""
_HOURS = {"precip_1hr": 1, "precip_3hr": 3, "precip_6hr": 6, "precip_24hr": 24}
_COLUMNS = ["t", "d", "direction", "speed", "qnh", "slp", *_HOURS]


def read_metar(
    config: MetarSource, name: str, resolve: Callable[[str], Path], near: np.datetime64 | None = None
) -> Observations:
    """All observations of a source's files.

    Args:
        config: files, the reference time and the places of stations.
        name: the key of the source in the configuration.
        resolve: turns a path of the configuration into a path.
        near: the present time, for files that were changed within two weeks of it and tell no month otherwise.

    Raises:
        InputMissing: a file that is not there.
        InputError: no report, or nothing that tells month and year.
    """
    key = f"observations.sources.{name}"
    places = None if config.stations is None else station_places(config.stations, (), resolve, key)
    paths = expand(config.files, resolve, key=f"{key}.files")
    parts = [isolated(_read, config, name, p, places, near, file=p, key=key, limits=config.limits) for p in paths]
    return Observations.concat(parts)


def _read(
    config: MetarSource, name: str, path: Path, places: pd.DataFrame | None, near: np.datetime64 | None
) -> Observations:
    default = _default(path, config, near)
    if config.columns is None:
        table = _from_text(path, default)
    else:
        table = _from_table(path, default, config.columns, name)
    if table.empty:
        raise InputError("the file holds no METAR report", file=path, key=f"observations.sources.{name}")
    if table["reference"].isna().all():
        raise InputError(
            "nothing tells month and year of the reports",
            file=path,
            key=f"observations.sources.{name}.reference",
            hint="give a time near them, such as reference: 2020-10-01",
        )
    pairs = zip(table["text"], table["reference"], strict=True)
    decoded = [_decode(text, None if reference is pd.NaT else reference.to_pydatetime()) for text, reference in pairs]
    good = np.array([d is not None for d in decoded])
    if not good.all():
        first = table["text"].to_numpy()[~good][0][:60]
        log.warning("%s: %d of %d METAR reports cannot be decoded, such as '%s'", path, (~good).sum(), len(good), first)
    if not good.any():
        raise InputError("no METAR report can be decoded", file=path, key=f"observations.sources.{name}")
    values = pd.DataFrame([d for d in decoded if d is not None], columns=["station", "time", *_COLUMNS])
    return _observations(values, _places(table[good], values["station"], places), config, name, path)


def _observations(
    values: pd.DataFrame, places: tuple[Array, Array, Array], config: MetarSource, name: str, path: Path
) -> Observations:
    number = {c: values[c].to_numpy(dtype=np.float64) for c in _COLUMNS}
    times = pd.to_datetime(values["time"]).to_numpy().astype("datetime64[us]")
    reports = Reports(values["station"].to_numpy(dtype=object), times, *places)
    homeless = np.isfinite(number["qnh"]) & ~np.isfinite(places[2])
    if homeless.any():
        log.warning("%s: %d altimeter settings of stations of unknown height are not used", path, homeless.sum())
    out = [Values("t2m", number["t"] + 273.15), Values("d2m", number["d"] + 273.15)]
    out.append(Values("msl", number["slp"] * 100.0))
    out.append(Values("sp", 100.0 * station_pressure(number["qnh"], places[2])))
    out += wind("u10", "v10", number["direction"], number["speed"])
    out += [Values("tp", number[column] * 1e-2, 3600.0 * hours) for column, hours in _HOURS.items()]
    return observations(reports, out, config, name, file=path, platform="metar")


def _places(table: pd.DataFrame, station: pd.Series, places: pd.DataFrame | None) -> tuple[Array, Array, Array]:
    """Latitude, longitude, elevation: of the row where it has them, else of the station."""
    known = national_weather_service() if places is None else places
    found = known.reindex(station if places is None else canonical(station))
    both = table["latitude"].notna().to_numpy() & table["longitude"].notna().to_numpy()
    columns = [
        np.where(both, table[c].to_numpy(dtype=np.float64), found[c].to_numpy(dtype=np.float64))
        for c in ("latitude", "longitude", "elevation")
    ]
    return columns[0], columns[1], columns[2]


# --- one report ----------------------------------------------------------------------------------------------------


def _decode(text: str, reference: datetime | None) -> tuple[object, ...] | None:
    """Station, time and numbers of a report in degC, degrees, m s-1, hPa and cm; None where it cannot be decoded."""
    head = _HEAD.match(text)
    if head is None or head[2] is None:
        return None
    time = None if reference is None else _nearest(int(head[2]), int(head[3]), int(head[4]), reference)
    given = time or datetime(2000, 1, 1)
    whole = f"{head[1]} {given:%d%H%M}Z{text[head.end() :]}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # it tells of every group that it does not know
            m = Metar(whole, month=given.month, year=given.year, strict=False)
            qnh = None if m.press is None or _SEA_LEVEL.search(text) else m.press.value("HPA")
            numbers = (
                *_temperatures(m, text),
                _number(m.wind_dir and m.wind_dir.value()),
                _number(m.wind_speed and m.wind_speed.value("MPS")),
                _number(qnh),
                _number(m.press_sea_level and m.press_sea_level.value("HPA")),
                *(_number(getattr(m, c) and getattr(m, c).value("CM")) for c in _HOURS),
            )
    except Exception as error:  # whatever it makes of a broken text
        log.debug("'%s': %s", text, error)
        return None
    return (head[1], time, *numbers)


def _temperatures(m: Metar, text: str) -> tuple[float, float]:
    """Temperature and dew point; also those that stand behind a word that the package does not know."""
    if m.temp is not None or (found := _TEMPERATURES.search(text.split(" RMK")[0])) is None:
        return _number(m.temp and m.temp.value("C")), _number(m.dewpt and m.dewpt.value("C"))
    t, d = (float(x.replace("M", "-")) if x else np.nan for x in found.groups())
    return t, d


def _number(value: object) -> float:
    return np.nan if value is None else float(str(value))


@lru_cache(maxsize=4096)
def _nearest(day: int, hour: int, minute: int, reference: datetime) -> datetime | None:
    """The time with this day of the month that is nearest to the reference; None where there is no such time."""
    first = reference.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    months = [(first - timedelta(days=1)).replace(day=1), first, (first + timedelta(days=31)).replace(day=1)]
    times = []
    for month in months:
        try:
            times.append(month.replace(day=day, hour=hour, minute=minute))
        except ValueError:  # the 31st of a short month, or 25 o'clock
            continue
    return min(times, key=lambda t: abs(t - reference), default=None)


# --- files ---------------------------------------------------------------------------------------------------------


def _from_table(path: Path, reference: datetime | None, columns: MetarColumns, name: str) -> pd.DataFrame:
    """`text`, `reference`, `latitude`, `longitude`, `elevation` of every row that has a report."""
    names = [c for c in (columns.text, columns.time, columns.latitude, columns.longitude, columns.elevation) if c]
    frame = read_columns(path, list(dict.fromkeys(names)), f"observations.sources.{name}.columns")
    table = pd.DataFrame({"text": frame[columns.text].fillna("").astype(str).str.strip().str[:_LONGEST]})
    for place in ("latitude", "longitude", "elevation"):
        column = getattr(columns, place)
        table[place] = np.nan if column is None else pd.to_numeric(frame[column], errors="coerce").to_numpy()
    default = np.datetime64(reference or "NaT", "us")
    times = np.full(len(frame), default) if columns.time is None else read_times(frame, columns.time)
    table["reference"] = pd.to_datetime(np.where(np.isnat(times), default, times))
    return table[(table["text"] != "") & ~table["text"].str.contains(r"\bNIL\b=?$", regex=True)]


def _from_text(path: Path, reference: datetime | None) -> pd.DataFrame:
    lines = read_bytes(path).decode("ascii", errors="replace").translate({1: " ", 3: " ", 7: None, 0: " "}).splitlines()
    rows = list(_reports(lines, reference))
    table = pd.DataFrame(rows, columns=["text", "reference"])
    table["reference"] = pd.to_datetime(table["reference"])
    return table.assign(latitude=np.nan, longitude=np.nan, elevation=np.nan)


def _default(path: Path, config: MetarSource, near: np.datetime64 | None) -> datetime | None:
    """The reference of a file: of the configuration, a date in its name, or the last change where that was recent."""
    received = datetime.fromtimestamp(path.stat().st_mtime, UTC).replace(tzinfo=None)
    if config.reference == "received":
        return received
    if config.reference is not None:
        reference: datetime = config.reference.astype("datetime64[us]").item()
        return reference
    match = _IN_NAME.search(path.name)
    if match is not None and (date := _date(*match.groups())) is not None:
        return date
    fresh = near is not None and abs(np.datetime64(received, "s") - near) <= _FRESH
    return received if fresh else None


def _date(*parts: str) -> datetime | None:
    try:
        return datetime(*map(int, parts))  # type: ignore[arg-type]
    except ValueError:
        return None


def _reports(lines: list[str], reference: datetime | None) -> Iterator[tuple[str, datetime | None]]:
    """The reports of a text with the time that is near them; NIL is left out.

    Where reports end with `=` they go on until there; else a line is a report, and an indented one belongs to the last.
    """
    ended = any(line.rstrip().endswith("=") for line in lines)
    report: list[str] = []
    for line in [*lines, "NNNN"]:
        pieces = line.split("=")
        for i, piece in enumerate(pieces):
            words = piece.strip()
            date = _DATE.match(words)
            mark = date or _BULLETIN.match(words)
            if words and report and not mark and not _HEAD.match(words) and (ended or piece[0].isspace()):
                report.append(words)
            elif words or not ended:
                yield from _finished(report, reference)
                report = [words] if words and not mark else []
                reference = (_date(*date.groups()) or reference) if date else reference
            if i < len(pieces) - 1:
                yield from _finished(report, reference)
                report = []


def _finished(report: list[str], reference: datetime | None) -> Iterator[tuple[str, datetime | None]]:
    text = " ".join(report)[:_LONGEST]
    if text and not re.search(r"\bNIL$", text):
        yield text, reference
