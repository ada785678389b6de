"""GHCN-hourly: the Global Historical Climatology Network of NOAA, which follows ISD: a row a report, | between columns.

Every variable has its value and companions: `temperature` [degC], `temperature_Quality_Code` and `..._Source_Code`. A
quality code is a digit of ISD (2, 3, 6, 7 are rejected), or a letter: of a failed check of GHCN-hourly, rejected, but
in data that came from ISD (source codes 313 to 346), where letters tell of corrections.

A station is `USW00094789`: country, network, number. That of a WMO station (network M) ends with its WMO number, that
of an ICAO station (network I) with its identifier; these are its name here, as in other sources.

Source: NCEI, "Global Historical Climatology Network hourly (GHCNh) documentation", 2024,
https://www.ncei.noaa.gov/products/global-historical-climatology-network-hourly.
"""

__all__ = ["read_ghcnh"]

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from stormda.config import GhcnhSource
from stormda.errors import InputError
from stormda.observations import Observations
from stormda.sources.files import expand
from stormda.sources.isd import verdict
from stormda.sources.reports import Reports, Values, observations, wind
from stormda.sources.standard_atmosphere import station_pressure
from stormda.sources.table import column_names, read_columns
from stormda.sources.times import read_times
from stormda.types import Array

_PARTS = ("Year", "Month", "Day", "Hour", "Minute")
_VARIABLES = {
    "t2m": ("temperature", 1.0, 273.15),
    "d2m": ("dew_point_temperature", 1.0, 273.15),
    "rh2m": ("relative_humidity", 0.01, 0.0),
    "msl": ("sea_level_pressure", 100.0, 0.0),
}
"""Variable: column, scale and offset to the vocabulary's unit."""
_RAIN = {"precipitation": 1} | {f"precipitation_{h}_hour": h for h in (3, 6, 9, 12, 15, 18, 21, 24)}
_WIND = ("wind_direction", "wind_speed")
_PRESSURES = ("station_level_pressure", "altimeter")
_VARIABLE_WIND = 999.0  # degrees
_PLACE = (("Station_ID", "STATION"), ("Latitude", "LATITUDE"), ("Longitude", "LONGITUDE"), ("Elevation", "ELEVATION"))
_FROM_ISD = (313, 346)
_NOTHING = -9999.0


def read_ghcnh(config: GhcnhSource, name: str, resolve: Callable[[str], Path]) -> Observations:
    """All observations of a source's files.

    Args:
        config: files.
        name: the key of the source in the configuration.
        resolve: turns a path of the configuration into a path.

    Raises:
        InputMissing: a file that is not there.
        InputError: no table, truncated, or without the columns of GHCN-hourly.
    """
    key = f"observations.sources.{name}"
    return Observations.concat([_read(config, name, p) for p in expand(config.files, resolve, key=f"{key}.files")])


def _read(config: GhcnhSource, name: str, path: Path) -> Observations:
    key = f"observations.sources.{name}"
    there = column_names(path, key)
    station, latitude, longitude, elevation = (_column(there, words, path, key) for words in _PLACE)
    time: str | tuple[str, ...] = "DATE" if "DATE" in there else _PARTS
    wanted = [column for column, _, _ in _VARIABLES.values()] + [*_RAIN, *_WIND, *_PRESSURES]
    companions = [f"{c}_{x}" for c in wanted for x in ("Quality_Code", "Source_Code")]
    columns = [station, latitude, longitude, elevation, *([time] if isinstance(time, str) else time)]
    frame = read_columns(path, [*columns, *(c for c in [*wanted, *companions] if c in there)], key)
    height = _number(frame, elevation)
    reports = Reports(
        _names(frame[station]), read_times(frame, time), _number(frame, latitude), _number(frame, longitude), height
    )
    values = [_value(frame, v, c, scale, offset) for v, (c, scale, offset) in _VARIABLES.items()]
    values += [_value(frame, "tp", c, 1e-3, hours=h) for c, h in _RAIN.items()]
    values += [_pressure(frame, height), *_wind(frame)]
    return observations(reports, values, config, name, file=path, platform="synop")


def _column(there: list[str], names: tuple[str, ...], path: Path, key: str) -> str:
    found = next((name for name in names if name in there), None)
    if found is None:
        hint = f"columns: {', '.join(there[:12])}"
        raise InputError(f"not a file of GHCN-hourly: it has no column '{names[0]}'", file=path, key=key, hint=hint)
    return found


def _number(frame: pd.DataFrame, column: str) -> Array:
    if column not in frame:
        return np.full(len(frame), np.nan)
    number = pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(number == _NOTHING, np.nan, number)


def _verdict(frame: pd.DataFrame, column: str) -> tuple[Array, Array]:
    nothing = pd.Series(None, index=frame.index, dtype="string")
    source = _number(frame, f"{column}_Source_Code")
    own = ~((source >= _FROM_ISD[0]) & (source <= _FROM_ISD[1]))  # also where no source is told
    return verdict(frame.get(f"{column}_Quality_Code", nothing), letters=own)


def _value(
    frame: pd.DataFrame, variable: str, column: str, scale: float, offset: float = 0.0, hours: float = 0.0
) -> Values:
    flag, qc = _verdict(frame, column)
    return Values(variable, _number(frame, column) * scale + offset, 3600.0 * hours, flag=flag, qc=qc)


def _pressure(frame: pd.DataFrame, elevation: Array) -> Values:
    """At the station as it was measured, else from the altimeter setting."""
    measured = _value(frame, "sp", "station_level_pressure", 100.0)
    setting = _value(frame, "sp", "altimeter", 1.0)
    here = np.isfinite(measured.values)
    derived = 100.0 * station_pressure(setting.values, elevation)
    assert measured.flag is not None and setting.flag is not None and measured.qc is not None and setting.qc is not None
    return Values(
        "sp",
        np.where(here, measured.values, derived),
        flag=np.where(here, measured.flag, setting.flag),
        qc=np.where(here, measured.qc, setting.qc),
    )


def _wind(frame: pd.DataFrame) -> list[Values]:
    (first, bad), (second, worse) = (_verdict(frame, column) for column in _WIND)
    direction, speed = (_number(frame, column) for column in _WIND)
    direction = np.where(direction == _VARIABLE_WIND, np.nan, direction)
    return wind("u10", "v10", direction, speed, flag=np.where(bad > 0, first, second), qc=np.maximum(bad, worse))


def _names(stations: pd.Series) -> Array:
    words = stations.astype("string").str.strip()
    names = words.str.replace(r"^..M000(\d{5})$", r"\1", regex=True).str.replace(
        r"^..I0000([A-Z][A-Z0-9]{3})$", r"\1", regex=True
    )
    return np.asarray(names.fillna("").to_numpy(dtype=object))
