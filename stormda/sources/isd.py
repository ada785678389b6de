"""ISD: NOAA's Integrated Surface Database, the `global-hourly` CSV files with one row a report.

A field holds a value, scaled, and its quality code: `TMP` is `+0056,1`, 5.6 degC that passed all checks.

    WND  direction [degrees], code, type, speed [0.1 m s-1], code        999 and 9999 are missing
    TMP, DEW  temperature, dew point [0.1 degC], code                    +9999
    SLP  pressure at mean sea level [0.1 hPa], code                      99999
    MA1  altimeter setting [0.1 hPa], code, station pressure, code       99999
    AA1..AA4  hours, precipitation of them [0.1 mm], condition, code     99, 9999

Codes: 2 and 6 are suspect, 3 and 7 erroneous: rejected here (`QC.PROVIDER`). 0, 1, 4, 5 and 9 passed; letters tell of
corrections. The code's character stays in `pre_qc`. A station is called by its ICAO call sign or its WMO number where
it has one, so that its METAR and SYNOP reports are known to be the same station's.

Source: NCEI, "Federal Climate Complex Data Documentation for Integrated Surface Data", 2018.
"""

__all__ = ["read_isd", "verdict"]

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from stormda.config import IsdSource
from stormda.observations import QC, Observations
from stormda.sources.files import expand
from stormda.sources.reports import Reports, Values, observations, wind
from stormda.sources.standard_atmosphere import station_pressure
from stormda.sources.table import column_names, read_columns
from stormda.sources.times import read_times
from stormda.types import Array

_NEEDED = ["STATION", "DATE", "LATITUDE", "LONGITUDE", "ELEVATION"]
_RAIN = ["AA1", "AA2", "AA3", "AA4"]
_FIELDS = ["CALL_SIGN", "WND", "TMP", "DEW", "SLP", "MA1", *_RAIN]
_MOST_HOURS = 24


def read_isd(config: IsdSource, name: str, resolve: Callable[[str], Path]) -> Observations:
    """All observations of a source's files.

    Args:
        config: files.
        name: the key of the source in the configuration.
        resolve: turns a path of the configuration into a path.

    Raises:
        InputMissing: a file that is not there.
        InputError: no CSV file, truncated, or without the columns of ISD.
    """
    key = f"observations.sources.{name}"
    return Observations.concat([_read(config, name, p) for p in expand(config.files, resolve, key=f"{key}.files")])


def verdict(codes: pd.Series, *, letters: Array | None = None) -> tuple[Array, Array]:
    """The quality code as its character's number, and the QC code that follows.

    Args:
        codes: one character a row, null where there is none.
        letters: where a letter means a failed check [n]; None: nowhere.
    """
    words = codes.astype("string").fillna("").str.strip().astype(object)
    bad = words.isin(["2", "3", "6", "7"]).to_numpy()
    if letters is not None:
        bad = bad | letters & words.str.contains(r"[A-Za-z]", regex=True).to_numpy()
    numbers = np.array([ord(w[0]) if w else 0 for w in words], dtype=np.int32)
    return numbers, np.where(bad, int(QC.PROVIDER), int(QC.USED))


def _read(config: IsdSource, name: str, path: Path) -> Observations:
    key = f"observations.sources.{name}"
    there = column_names(path, key)
    frame = read_columns(path, [*_NEEDED, *(f for f in _FIELDS if f in there)], key)
    latitude, longitude, elevation = (_number(frame[c]) for c in ("LATITUDE", "LONGITUDE", "ELEVATION"))
    elevation = np.where(np.abs(elevation) < 9999.0, elevation, np.nan)
    time = read_times(frame, "DATE")
    reports = Reports(_station(frame), time, latitude, longitude, elevation)
    values = [
        _value(frame, "t2m", "TMP", 9999, offset=273.15),
        _value(frame, "d2m", "DEW", 9999, offset=273.15),
        _value(frame, "msl", "SLP", 99999, scale=10.0),
        _station_pressure(frame, elevation),
        *_wind(frame),
        *(v for field in _RAIN for v in _rain(frame, field)),
    ]
    return observations(reports, values, config, name, file=path, platform="synop")


def _number(words: pd.Series) -> Array:
    return pd.to_numeric(words, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)


def _parts(frame: pd.DataFrame, field: str, count: int) -> list[pd.Series]:
    """The parts of a field between its commas, null where the file or the row has it not."""
    if field not in frame:
        return [pd.Series(None, index=frame.index, dtype="string") for _ in range(count)]
    split = frame[field].astype("string").str.split(",", expand=True).reindex(columns=range(count))
    return [split[i] for i in range(count)]


def _known(words: pd.Series, missing: int) -> Array:
    number = _number(words)
    return np.where(np.abs(number) == missing, np.nan, number)


def _value(
    frame: pd.DataFrame, variable: str, field: str, missing: int, *, scale: float = 0.1, offset: float = 0.0
) -> Values:
    value, code = _parts(frame, field, 2)
    flag, qc = verdict(code)
    return Values(variable, _known(value, missing) * scale + offset, flag=flag, qc=qc)


def _station_pressure(frame: pd.DataFrame, elevation: Array) -> Values:
    """As it was measured, else from the altimeter setting."""
    setting, setting_code, pressure, pressure_code = _parts(frame, "MA1", 4)
    measured = _known(pressure, 99999) * 10.0
    derived = 100.0 * station_pressure(_known(setting, 99999) * 0.1, elevation)
    flag, qc = verdict(pressure_code.where(~np.isnan(measured), setting_code))
    return Values("sp", np.where(np.isnan(measured), derived, measured), flag=flag, qc=qc)


def _wind(frame: pd.DataFrame) -> list[Values]:
    direction, direction_code, _, speed, speed_code = _parts(frame, "WND", 5)
    first, bad = verdict(direction_code)
    second, worse = verdict(speed_code)
    flag, qc = np.where(bad > 0, first, second), np.maximum(bad, worse)
    return wind("u10", "v10", _known(direction, 999), _known(speed, 9999) * 0.1, flag=flag, qc=qc)


def _rain(frame: pd.DataFrame, field: str) -> list[Values]:
    """Precipitation, one variable for every length of time that the file has."""
    hours, depth, _, code = _parts(frame, field, 4)
    flag, qc = verdict(code)
    length, metres = _known(hours, 99), _known(depth, 9999) * 1e-4
    lengths = np.unique(length[(length > 0) & (length <= _MOST_HOURS)])
    return [Values("tp", np.where(length == h, metres, np.nan), 3600.0 * float(h), flag=flag, qc=qc) for h in lengths]


def _station(frame: pd.DataFrame) -> Array:
    """The call sign; else the WMO number, which begins the USAF number of such stations; else the ISD number."""
    whole = frame["STATION"].astype("string").str.strip().str.zfill(11)
    wmo = whole.str.fullmatch(r"(?!99|00000)\d{5}0\d{5}").fillna(False)
    names = whole.where(~wmo, whole.str[:5])
    if "CALL_SIGN" in frame:
        call = frame["CALL_SIGN"].astype("string").str.strip()
        names = names.where(~call.str.fullmatch(r"[A-Z][A-Z0-9]{3}").fillna(False), call)
    return np.asarray(names.fillna("").to_numpy(dtype=object))
