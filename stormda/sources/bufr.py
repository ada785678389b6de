"""WMO BUFR: radiosondes (TEMP), aircraft (AMDAR) and surface stations (SYNOP), decoded with ecCodes through pdbufr.

BUFR says a thing in several ways, as the templates of the years did: a 2-m temperature is `airTemperatureAt2M`, or an
`airTemperature` below the height of a sensor; an aircraft tells its pressure, or the height at which the standard
atmosphere has that pressure. The first that a report has is taken.

One broken message makes the file an InputError that names the message: what follows it cannot be trusted.
"""

__all__ = ["read_bufr"]

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import eccodes
import numpy as np
import pandas as pd
import pdbufr

from stormda.config import BufrSource
from stormda.errors import InputError
from stormda.observations import Observations
from stormda.sources.files import expand
from stormda.sources.reports import Reports, Values, observations, wind
from stormda.sources.standard_atmosphere import pressure
from stormda.sources.worker import isolated
from stormda.types import Array

_PLACE = ["latitude", "longitude"]
_IDS = ["WMO_station_id", "WIGOS_station_id", "shipOrMobileLandStationIdentifier"]
_AIRCRAFT_IDS = ["aircraftFlightNumber", "aircraftRegistrationNumberOrOtherIdentification", "aircraftIdentification"]
_HEIGHTS = ["heightOfStationGroundAboveMeanSeaLevel", "heightOfStation"]
_AIRCRAFT = ["pressure", "height", "flightLevel", "airTemperature", "windDirection", "windSpeed"]
_SYNOP = {
    "msl": ("pressureReducedToMeanSeaLevel",),
    "sp": ("nonCoordinatePressure",),
    "t2m": ("airTemperatureAt2M", "airTemperature"),
    "d2m": ("dewpointTemperatureAt2M", "dewpointTemperature"),
    "rh2m": ("relativeHumidity",),
    "direction": ("windDirectionAt10M", "windDirection"),
    "speed": ("windSpeedAt10M", "windSpeed"),
}


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
    frame = _decode(path, name, reader="temp")
    level = np.round(_first(frame, ["pressure"]) / 100.0, 2)
    reports = Reports(
        _words(frame, ["stnid"]),
        _times(frame, "time"),
        _first(frame, ["lat"]),
        _first(frame, ["lon"]),
        _first(frame, ["elevation"]),
        level,
    )
    values = [Values("z", _first(frame, ["z"])), Values("t", _first(frame, ["t"]))]
    values += wind("u", "v", _first(frame, ["wind_dir"]), _first(frame, ["wind_speed"]))
    return observations(reports, values, config, name, file=path, platform="temp")


def _aircraft(config: BufrSource, name: str, path: Path) -> Observations:
    """A row a report; the level is the pressure, or that of the standard atmosphere at the reported height."""
    columns = [*_AIRCRAFT_IDS, "data_datetime", *_PLACE, *_AIRCRAFT]
    frame = _decode(path, name, columns=columns, required_columns=_PLACE, filters={"dataCategory": 4})
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
    values = [Values("t", _first(frame, ["airTemperature"]))]
    values += wind("u", "v", _first(frame, ["windDirection"]), _first(frame, ["windSpeed"]))
    return observations(reports, values, config, name, file=path, platform="aircraft")


def _synop(config: BufrSource, name: str, path: Path) -> Observations:
    """A row a report: a template with sensor heights decodes to several rows, which are put together again."""
    keys = [key for alternatives in _SYNOP.values() for key in alternatives]
    columns = ["count", *_IDS, "data_datetime", *_PLACE, *_HEIGHTS, *keys]
    rows = _decode(path, name, columns=columns, required_columns=_PLACE, filters={"dataCategory": [0, 1]})
    frame = rows.groupby(["count", *_PLACE], sort=False, dropna=False).first().reset_index()
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
    return observations(reports, values, config, name, file=path, platform="synop")


# --- decoding ------------------------------------------------------------------------------------------------------


def _decode(path: Path, name: str, **options: Any) -> pd.DataFrame:
    """What pdbufr finds; its errors, and those of ecCodes, as one that says which message is broken."""
    key = f"observations.sources.{name}"
    try:
        frame: pd.DataFrame = pdbufr.read_bufr(path, **options)
    except (eccodes.CodesInternalError, KeyError, ValueError, TypeError, IndexError, OSError) as error:
        number = _broken(path)
        where = f"message {number} is broken" if number else "the messages cannot be decoded"
        raise InputError(f"{where}: {error}", file=path, key=key, hint="fetch the file again") from error
    if frame.empty:
        what = "no report of this kind" if _count(path) else "no BUFR message"
        raise InputError(f"the file holds {what}", file=path, key=f"{key}.report")
    return frame


def _count(path: Path) -> int:
    with path.open("rb") as file:
        return int(eccodes.codes_count_in_file(file))


def _broken(path: Path) -> int:
    """The number, from 1, of the first message that ecCodes cannot unpack; 0 if it can unpack them all."""
    number = 0
    with path.open("rb") as file:
        while True:
            number += 1
            try:
                message = eccodes.codes_bufr_new_from_file(file)
                if message is None:
                    return 0
                eccodes.codes_set(message, "unpack", 1)
            except eccodes.CodesInternalError:
                return number
            eccodes.codes_release(message)


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
