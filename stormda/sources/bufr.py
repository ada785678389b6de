"""WMO BUFR: radiosondes (TEMP), aircraft (AMDAR) and surface stations (SYNOP), decoded with ecCodes through pdbufr.

BUFR says a thing in several ways, as the templates of the years did: a 2-m temperature is `airTemperatureAt2M`, or an
`airTemperature` below the height of a sensor; an aircraft tells its pressure, or the height at which the standard
atmosphere has that pressure. The first that a report has is taken.

A high-resolution sounding tells for each level how far the balloon has drifted and how long it has flown: its place and
time are those of the level. Of an older one, all levels have the place and the time of the launch.

A broken message makes the file an InputError that names the message; with `broken: skip` it is left out and counted.
"""

__all__ = ["read_bufr"]

import logging
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import eccodes
import numpy as np
import pandas as pd
import pdbufr

from stormda.config import BufrSource
from stormda.errors import InputError
from stormda.observations import QC, Observations
from stormda.sources.files import expand
from stormda.sources.humidity import relative_humidity, specific_humidity
from stormda.sources.reports import Reports, Values, observations, wind
from stormda.sources.standard_atmosphere import pressure
from stormda.sources.units import STANDARD_GRAVITY
from stormda.sources.worker import isolated
from stormda.types import Array

log = logging.getLogger(__name__)

_PLACE = ["latitude", "longitude"]
_IDS = ["WMO_station_id", "WIGOS_station_id", "shipOrMobileLandStationIdentifier", "buoyOrPlatformIdentifier"]
_IDS += ["marineObservingPlatformIdentifier", "stationaryBuoyPlatformIdentifierEGCManBuoys"]
_AIRCRAFT_IDS = ["aircraftFlightNumber", "aircraftRegistrationNumberOrOtherIdentification", "aircraftIdentification"]
_HEIGHTS = ["heightOfStationGroundAboveMeanSeaLevel", "heightOfStation"]
_TEMP = ["pressure", "nonCoordinateGeopotential", "nonCoordinateGeopotentialHeight", "airTemperature"]
_TEMP += ["dewpointTemperature", "windDirection", "windSpeed"]
_DRIFT = ["timePeriod", "latitudeDisplacement", "longitudeDisplacement"]
_AIRCRAFT = ["pressure", "height", "flightLevel", "airTemperature", "windDirection", "windSpeed"]
_AIRCRAFT += ["dewpointTemperature", "mixingRatio"]
_SYNOP = {
    "msl": ("pressureReducedToMeanSeaLevel",),
    "sp": ("nonCoordinatePressure",),
    "t2m": ("airTemperatureAt2M", "airTemperature"),
    "d2m": ("dewpointTemperatureAt2M", "dewpointTemperature"),
    "rh2m": ("relativeHumidity",),
    "direction": ("windDirectionAt10M", "windDirection"),
    "speed": ("windSpeedAt10M", "windSpeed"),
}
_RAIN = {f"totalPrecipitationPast{h}Hours": h for h in (1, 3, 6, 12, 24)}
_RAIN_OF_A_PERIOD = "totalPrecipitationOrTotalWaterEquivalent"
_PERIOD = re.compile(r"precipitation_(\d+)(min|h)$")  # a column of pdbufr's synop reader
_TRACE = 0.2  # kg m-2: less than this below zero is the code of a trace


def read_bufr(config: BufrSource, name: str, resolve: Callable[[str], Path]) -> Observations:
    """All observations of a source's files.

    Args:
        config: files and the kind of report.
        name: the key of the source in the configuration.
        resolve: turns a path of the configuration into a path.

    Raises:
        InputMissing: a file that is not there.
        InputError: not BUFR, a broken message, or no report of this kind.
    """
    read = {"temp": _temp, "aircraft": _aircraft, "synop": _synop}[config.report]
    key = f"observations.sources.{name}"
    paths = expand(config.files, resolve, key=f"{key}.files")
    return Observations.concat(
        [isolated(read, config, name, path, file=path, key=key, limits=config.limits) for path in paths]
    )


def _temp(config: BufrSource, name: str, path: Path) -> Observations:
    """A row a level; geopotential in m2 s-2, from the height where a message gives that."""
    columns = [*_IDS, "data_datetime", *_PLACE, *_HEIGHTS, *_TEMP, *_DRIFT]
    required = [*_PLACE, "pressure"]
    frame = _decode(config, path, name, columns=columns, required_columns=required, filters={"dataCategory": 2})
    launch = _times(frame, "data_datetime")
    flown = np.nan_to_num(_first(frame, ["timePeriod"]))
    latitude, longitude = (
        _first(frame, [place]) + np.nan_to_num(_first(frame, [f"{place}Displacement"])) for place in _PLACE
    )
    reports = Reports(
        _words(frame, _IDS),
        launch + np.round(flown * 1e6).astype("timedelta64[us]"),
        latitude,
        longitude,
        _first(frame, _HEIGHTS),
        np.round(_first(frame, ["pressure"]) / 100.0, 2),
        launch,
    )
    height = _first(frame, ["nonCoordinateGeopotentialHeight"]) * STANDARD_GRAVITY
    z = _first(frame, ["nonCoordinateGeopotential"])
    t = _first(frame, ["airTemperature"])
    values = [Values("z", np.where(np.isnan(z), height, z)), Values("t", t)]
    values.append(Values("r", relative_humidity(t, _first(frame, ["dewpointTemperature"]))))
    values += wind("u", "v", _first(frame, ["windDirection"]), _first(frame, ["windSpeed"]))
    return observations(reports, values, config, name, file=path, platform="temp")


def _aircraft(config: BufrSource, name: str, path: Path) -> Observations:
    """A row a report; the level is the pressure, or that of the standard atmosphere at the reported height."""
    columns = [*_AIRCRAFT_IDS, "data_datetime", *_PLACE, *_AIRCRAFT]
    frame = _decode(config, path, name, columns=columns, required_columns=_PLACE, filters={"dataCategory": 4})
    measured = _first(frame, ["pressure"]) / 100.0
    level = np.where(np.isnan(measured), pressure(_first(frame, ["height", "flightLevel"])), measured)
    reports = Reports(
        _words(frame, _AIRCRAFT_IDS),
        _times(frame, "data_datetime"),
        _first(frame, ["latitude"]),
        _first(frame, ["longitude"]),
        np.full(len(frame), np.nan),
        np.round(level, 2),
    )
    t, q = _first(frame, ["airTemperature"]), specific_humidity(_first(frame, ["mixingRatio"]))
    r = relative_humidity(t, _first(frame, ["dewpointTemperature"]))
    values = [Values("t", t), Values("q", q), Values("r", np.where(np.isnan(q), r, np.nan))]
    values += wind("u", "v", _first(frame, ["windDirection"]), _first(frame, ["windSpeed"]))
    return observations(reports, values, config, name, file=path, platform="aircraft")


def _synop(config: BufrSource, name: str, path: Path) -> Observations:
    """A row a report: a template with sensor heights decodes to several rows, which are put together again."""
    keys = [key for alternatives in _SYNOP.values() for key in alternatives]
    columns = ["count", *_IDS, "data_datetime", *_PLACE, *_HEIGHTS, *keys, *_RAIN, _RAIN_OF_A_PERIOD]
    rows = _decode(config, path, name, columns=columns, required_columns=_PLACE, filters={"dataCategory": [0, 1]})
    same = [c for c in ("count", *_IDS, "data_datetime", *_PLACE) if c in rows]
    frame = rows.groupby(same, sort=False, dropna=False).first().reset_index()
    found = {variable: _first(frame, list(alternatives)) for variable, alternatives in _SYNOP.items()}
    reports = Reports(
        _words(frame, _IDS),
        _times(frame, "data_datetime"),
        _first(frame, ["latitude"]),
        _first(frame, ["longitude"]),
        _first(frame, _HEIGHTS),
    )
    values = [Values(v, found[v]) for v in ("msl", "sp", "t2m", "d2m")]
    values.append(Values("rh2m", found["rh2m"] / 100.0))
    values += wind("u10", "v10", found["direction"], found["speed"])
    if np.isfinite(_first(rows, [_RAIN_OF_A_PERIOD])).any():
        dry = observations(reports, values, config, name, file=path, platform="synop")
        return Observations.concat([dry, _rain(config, name, path)])
    values += [Values("tp", _depth(frame, key), 3600.0 * hours) for key, hours in _RAIN.items()]
    return observations(reports, values, config, name, file=path, platform="synop")


def _rain(config: BufrSource, name: str, path: Path) -> Observations:
    """Precipitation of the periods that a message tells, in hours or in minutes."""
    frame = _decode(config, path, name, reader="synop", columns=["station", "precipitation"])
    reports = Reports(
        _words(frame, ["stnid"]),
        _times(frame, "time"),
        _first(frame, ["lat"]),
        _first(frame, ["lon"]),
        _first(frame, ["elevation"]),
    )
    values = []
    for column in (c for c in frame.columns if c.startswith("precipitation")):
        period = _PERIOD.match(column)
        seconds = 0.0 if period is None else float(period[1]) * (3600.0 if period[2] == "h" else 60.0)
        unknown = np.full(len(frame), int(QC.MISSING if period is None else QC.USED))  # nobody knows of which time
        values.append(Values("tp", _depth(frame, column), seconds, qc=unknown))
    return observations(reports, values, config, name, file=path, platform="synop")


def _depth(frame: pd.DataFrame, column: str) -> Array:
    """Metres of water from kg m-2; a trace is nothing."""
    amount = _first(frame, [column])
    return np.where((amount < 0.0) & (amount > -_TRACE), 0.0, amount) * 1e-3


# --- decoding ------------------------------------------------------------------------------------------------------


def _decode(config: BufrSource, path: Path, name: str, **options: Any) -> pd.DataFrame:
    """What pdbufr finds; its errors, and those of ecCodes, as one that says which message is broken."""
    key = f"observations.sources.{name}"
    try:
        frame: pd.DataFrame = pdbufr.read_bufr(path, **options)
    except (eccodes.CodesInternalError, KeyError, ValueError, TypeError, IndexError, OSError) as error:
        messages = list(_messages(path))
        broken = [n for n, _, good in messages if not good]
        if config.broken == "skip" and len(broken) < len(messages):
            return _decode_good(config, path, name, messages, options)
        where = f"message {broken[0]} is broken" if broken else "the messages cannot be decoded"
        hint = "fetch the file again, or `broken: skip` for the other messages"
        raise InputError(f"{where}: {error}", file=path, key=key, hint=hint) from error
    if frame.empty:
        what = "no report of this kind" if any(True for _ in _messages(path)) else "no BUFR message"
        raise InputError(f"the file holds {what}", file=path, key=f"{key}.report")
    return frame


def _decode_good(
    config: BufrSource, path: Path, name: str, messages: list[tuple[int, bytes, bool]], options: dict[str, Any]
) -> pd.DataFrame:
    """What is in the messages that can be decoded."""
    good = [data for _, data, fine in messages if fine]
    with tempfile.NamedTemporaryFile(suffix=".bufr") as file:
        file.write(b"".join(good))
        file.flush()
        frame = _decode(config.model_copy(update={"broken": "fail"}), Path(file.name), name, **options)
    log.warning("%s: %d of %d messages are broken and left out", path, len(messages) - len(good), len(messages))
    return frame


def _messages(path: Path) -> Iterator[tuple[int, bytes, bool]]:
    """Every message of a file: its number from 1, its bytes, and whether ecCodes can unpack it.

    It begins with `BUFR`, tells its length and ends with `7777`; where it does not, it goes on to the next `BUFR`.
    """
    data = path.read_bytes()
    at, number = data.find(b"BUFR"), 0
    while at >= 0:
        number += 1
        length = int.from_bytes(data[at + 4 : at + 7], "big")
        following = data.find(b"BUFR", at + 4)
        whole = data[at + length - 4 : at + length] == b"7777"
        end = at + length if whole else (following if following > 0 else len(data))
        message = data[at:end]
        yield number, message, whole and _unpacks(message)
        at = data.find(b"BUFR", end)


def _unpacks(message: bytes) -> bool:
    try:
        handle = eccodes.codes_new_from_message(message)
    except eccodes.CodesInternalError:
        return False
    try:
        eccodes.codes_set(handle, "unpack", 1)
    except eccodes.CodesInternalError:
        return False
    finally:
        eccodes.codes_release(handle)
    return True


def _first(frame: pd.DataFrame, columns: Sequence[str]) -> Array:
    """The first of several columns that has a number, in every row; NaN where none has."""
    out = np.full(len(frame), np.nan)
    for column in columns:
        if column in frame:
            values = pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
            out = np.where(np.isnan(out), values, out)
    return out


def _words(frame: pd.DataFrame, columns: Sequence[str]) -> Array:
    """The first of several identifiers that a row has; '' where it has none (a WIGOS id of asterisks is none)."""
    out = pd.Series("", index=frame.index, dtype=object)
    for column in columns:
        if column in frame:
            words = frame[column].astype("string").str.strip().fillna("").str.replace(r"^.*\*.*$", "", regex=True)
            out = out.where(out != "", words.astype(object))
    return np.asarray(out.to_numpy(dtype=object))


def _times(frame: pd.DataFrame, column: str) -> Array:
    if column not in frame:
        return np.full(len(frame), np.datetime64("NaT", "us"))
    return pd.to_datetime(frame[column], errors="coerce").to_numpy().astype("datetime64[us]")
