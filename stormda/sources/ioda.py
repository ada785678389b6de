"""IODA v3 NetCDF files: the observations of JEDI and of the centres that use it.

Groups hold one number a `Location` and variable; `MetaData` tells where and when, and at which pressure. Their names
are those of the JEDI conventions (`stormda.store.ioda`), or named in the configuration. `ObsError` is the error of a
value where the configuration has none. A value is rejected (`QC.PROVIDER`) where its `PreQC` is above the accepted
quality marks, or its `EffectiveQC` is not 0; `PreQC` stays in `pre_qc`.

Quality marks: NCEP, "PREPBUFR quality markers", https://www.emc.ncep.noaa.gov/mmb/data_processing/prepbufr.doc/table_7.htm.
"""

__all__ = ["read_ioda"]

import re
from collections.abc import Callable
from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd

from stormda.config import IodaSource
from stormda.errors import ConfigError, InputError
from stormda.observations import QC, Observations
from stormda.sources.dataset import has, numbers, open_dataset, words
from stormda.sources.files import expand
from stormda.sources.reports import Reports, Values, observations
from stormda.sources.times import read_times
from stormda.sources.units import convert
from stormda.sources.worker import isolated
from stormda.store.ioda import NAMES
from stormda.types import Array
from stormda.variables import VOCABULARY, LevelType

_SINCE = re.compile(r"(seconds|minutes|hours|days) since (\d{4}-\d\d-\d\d)[T ]?(\d\d:\d\d:\d\d)?")
_SECONDS = {"seconds": 1.0, "minutes": 60.0, "hours": 3600.0, "days": 86400.0}
_FIRST, _LAST = -5.4e9, 7.2e9  # s since 1970: the years 1800 and 2198; what is beyond is a fill value
_HEIGHT = "geopotentialHeight"


def read_ioda(config: IodaSource, name: str, resolve: Callable[[str], Path]) -> Observations:
    """All observations of a source's files.

    Args:
        config: files, whether they are of the surface, names.
        name: the key of the source in the configuration.
        resolve: turns a path of the configuration into a path.

    Raises:
        InputMissing: a file that is not there.
        InputError: not IODA v3, truncated, or none of its variables is known.
    """
    key = f"observations.sources.{name}"
    paths = expand(config.files, resolve, key=f"{key}.files")
    parts = [isolated(_read, config, name, path, file=path, key=key, limits=config.limits) for path in paths]
    return Observations.concat(parts)


def _read(config: IodaSource, name: str, path: Path) -> Observations:
    key = f"observations.sources.{name}"
    try:
        with open_dataset(path, key) as file:
            if not {"MetaData", "ObsValue"} <= file.groups.keys():
                raise InputError("it has no groups MetaData and ObsValue")
            reports = _reports(file["MetaData"], config)
            values = _values(file, config)
    except (InputError, ConfigError) as error:
        if isinstance(error, InputError) and error.file is not None:
            raise
        raise InputError(f"not an IODA v3 file: {error.what}", file=path, key=key, hint=error.hint) from error
    platform = "surface" if config.level == "surface" else "upper_air"
    return observations(reports, values, config, name, file=path, platform=platform)


def _reports(meta: netCDF4.Group, config: IodaSource) -> Reports:
    latitude, longitude = numbers(meta, "latitude"), numbers(meta, "longitude")
    nowhere = np.full(latitude.shape, np.nan)
    station = words(meta, "stationIdentification") if has(meta, "stationIdentification") else np.full(len(nowhere), "")
    elevation = numbers(meta, "stationElevation") if has(meta, "stationElevation") else nowhere
    level = None
    if config.level == "pressure":
        unit = str(getattr(meta.variables.get("pressure"), "units", "Pa"))
        level = np.round(convert(numbers(meta, "pressure"), unit, "hPa"), 2)
    return Reports(station.astype(object), _times(meta), latitude, longitude, elevation, level)


def _times(meta: netCDF4.Group) -> Array:
    if not has(meta, "dateTime"):
        raise InputError("MetaData has no dateTime")
    if meta["dateTime"].dtype is str:
        return read_times(pd.DataFrame({"t": words(meta, "dateTime")}), "t")
    since = _SINCE.match(str(getattr(meta["dateTime"], "units", "seconds since 1970-01-01T00:00:00Z")))
    if since is None:
        raise InputError(f"dateTime has the unit '{meta['dateTime'].units}'")
    start = np.datetime64(f"{since[2]}T{since[3] or '00:00:00'}", "us")
    offset = numbers(meta, "dateTime") * _SECONDS[since[1]]
    known = (offset > _FIRST) & (offset < _LAST)  # False for NaN
    out = np.full(offset.shape, np.datetime64("NaT", "us"))
    out[known] = start + np.round(offset[known] * 1e6).astype(np.int64).astype("timedelta64[us]")
    return out


def _values(file: netCDF4.Dataset, config: IodaSource) -> list[Values]:
    surface = config.level == "surface"
    wanted = [v for v in NAMES if (VOCABULARY[v].level_type is LevelType.SURFACE) == surface]
    found = {v: _name(file, v, config) for v in wanted}
    values = [_one(file, v, n, config) for v, n in found.items() if n is not None]
    if not values:
        known = ", ".join(NAMES[v][0] for v in wanted)
        there = ", ".join(list(file["ObsValue"].variables)[:20])
        raise InputError(f"ObsValue has {there or 'nothing'}, and none of {known}", hint="name them in `names`")
    return values


def _name(file: netCDF4.Dataset, variable: str, config: IodaSource) -> str | None:
    """The variable's name in the file, if it is there with one value a location."""
    group = file["ObsValue"]
    if variable in config.names and config.names[variable] not in group.variables:
        raise InputError(f"ObsValue has no variable '{config.names[variable]}'", hint=", ".join(group.variables))
    names = (config.names[variable],) if variable in config.names else NAMES[variable]
    return next((n for n in names if has(group, n) and group[n].ndim == 1), None)


def _one(file: netCDF4.Dataset, variable: str, name: str, config: IodaSource) -> Values:
    flag = _group(file, "PreQC", name)
    used = _group(file, "EffectiveQC", name)
    bad = (flag > config.accept) | ((used != 0.0) & np.isfinite(used))  # False for NaN
    value, error = _group(file, "ObsValue", name), _group(file, "ObsError", name)
    info = VOCABULARY[variable]
    unit = str(getattr(file["ObsValue"][name], "units", "") or ("gpm" if name == _HEIGHT else info.unit))
    value = convert(value, unit, info.unit)
    slope = convert(np.array([0.0, 1.0]), unit, info.unit)
    error = error * (slope[1] - slope[0])  # an error has no offset
    return Values(
        variable,
        value,
        flag=np.where(np.isfinite(flag), flag, 0.0),
        qc=np.where(bad, int(QC.PROVIDER), int(QC.USED)),
        error=np.where(error > 0.0, error, np.nan),
    )


def _group(file: netCDF4.Dataset, group: str, name: str) -> Array:
    """One column of a group; NaN where the file has it not."""
    if group in file.groups and has(file[group], name):
        return numbers(file[group], name)
    return np.full(file["ObsValue"][name].shape, np.nan)
