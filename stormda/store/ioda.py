"""Observations as IODA v3 NetCDF, the layout that JEDI and its tools read: one `Location` is one place, level and time.

    MetaData/{latitude, longitude, dateTime, pressure [Pa], stationIdentification, stationElevation, ...}  (Location)
    ObsValue/<variable>, ObsError/<variable>, PreQC/<variable>, EffectiveQC/<variable>                     (Location)

The values of a report at one level share a location, under the names of the JEDI conventions: `airTemperature`,
`windEastward`, `pressureReducedToMeanSeaLevel`. Where one has no value, it has the fill value. Two values of one
variable at one place and time, which quality control calls duplicates, have a location each: nothing is lost.

Source: JCSDA, "Interface for Observation Data Access",
https://jointcenterforsatellitedataassimilation-jedi-docs.readthedocs-hosted.com. A feedback file
(`stormda.store.feedback`) has the same groups, and one value a location.
"""

__all__ = ["NAMES", "write_ioda"]

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pandas as pd

from stormda import __version__
from stormda.observations import Observations
from stormda.store.netcdf import create
from stormda.types import Array
from stormda.variables import VOCABULARY, LevelType

NAMES: dict[str, tuple[str, ...]] = {
    "msl": ("pressureReducedToMeanSeaLevel",),
    "sp": ("stationPressure", "surfacePressure"),
    "t2m": ("airTemperatureAt2M", "airTemperature"),
    "d2m": ("dewPointTemperatureAt2M", "dewpointTemperatureAt2M", "dewPointTemperature", "dewpointTemperature"),
    "rh2m": ("relativeHumidityAt2M", "relativeHumidity"),
    "u10": ("windEastwardAt10M", "windEastward"),
    "v10": ("windNorthwardAt10M", "windNorthward"),
    "ws10": ("windSpeedAt10M", "windSpeed"),
    "tp": ("totalPrecipitation",),
    "z": ("geopotential", "geopotentialHeight"),
    "t": ("airTemperature",),
    "q": ("specificHumidity",),
    "r": ("relativeHumidity",),
    "u": ("windEastward",),
    "v": ("windNorthward",),
    "ws": ("windSpeed",),
}
"""The names of a variable in the conventions: the first is written, all of them are read."""

_GROUPS = {"ObsValue": "value", "ObsError": "error", "PreQC": "pre_qc", "EffectiveQC": "qc"}
_NO_TIME = np.int64(7258118400)  # as the files of JCSDA have it: the year 2200
_KEY = ["report_id", "station_id", "platform", "time", "latitude", "longitude", "elevation", "level", "interval"]
_FILL, _NO_FLAG = np.float64(netCDF4.default_fillvals["f8"]), np.int32(netCDF4.default_fillvals["i4"])


def write_ioda(path: Path, observations: Observations, attributes: Mapping[str, str]) -> int:
    """Write observations as IODA v3; `path` appears when all of it is there.

    Args:
        path: the file.
        observations: N rows, of any variables of the vocabulary.
        attributes: global attributes.

    Returns:
        the number of locations.

    Raises:
        OutputError: the file cannot be written.
    """
    table = observations.table.select([*_KEY, "variable", *_GROUPS.values()]).to_pandas()
    upper = table["variable"].map(lambda name: VOCABULARY[name].level_type is LevelType.PRESSURE)
    table["level"] = table["level"].where(upper)
    words = table[_KEY].astype(object).where(table[_KEY].notna(), None)  # NaN is unequal to itself
    table["copy"] = table.groupby([*(words[k] for k in _KEY), "variable"], dropna=False).cumcount()
    number = table.groupby([*(words[k] for k in _KEY), "copy"], dropna=False, sort=False).ngroup().to_numpy()
    first = np.unique(number, return_index=True)[1]
    with create(path) as file:
        file.setncatts(
            dict(attributes)
            | {"_ioda_layout": "ObsGroup", "_ioda_layout_version": np.int32(3), "source": f"stormda {__version__}"}
        )
        file.createDimension("Location", len(first) or None)  # NetCDF takes a length of 0 for unlimited.
        file.createVariable("Location", "i8", ("Location",))[:] = np.arange(len(first))
        _metadata(file, table.iloc[first])
        for variable in table["variable"].unique():
            rows = (table["variable"] == variable).to_numpy()
            for group, column in _GROUPS.items():
                _scatter(
                    file, f"{group}/{NAMES.get(variable, (variable,))[0]}", variable, table[rows][column], number[rows]
                )
    return len(first)


def _metadata(file: netCDF4.Dataset, table: pd.DataFrame) -> None:
    times = table["time"].to_numpy().astype("datetime64[us]")
    seconds = np.where(np.isnat(times), _NO_TIME, times.astype("datetime64[s]").astype(np.int64))
    _put(file, "MetaData/dateTime", seconds, {"units": "seconds since 1970-01-01T00:00:00Z"}, _NO_TIME)
    for name, column, unit in (
        ("latitude", "latitude", "degree_north"),
        ("longitude", "longitude", "degree_east"),
        ("stationElevation", "elevation", "m"),
        ("pressure", "level", "Pa"),
        ("interval", "interval", "s"),
    ):
        values = table[column].to_numpy(dtype=np.float64) * (100.0 if column == "level" else 1.0)
        _put(file, f"MetaData/{name}", np.where(np.isfinite(values), values, _FILL), {"units": unit}, _FILL)
    for name, column in (("stationIdentification", "station_id"), ("reportIdentification", "report_id")):
        _put(file, f"MetaData/{name}", table[column].fillna("").to_numpy(dtype=object), {}, None)


def _scatter(file: netCDF4.Dataset, place: str, variable: str, values: pd.Series, number: Array) -> None:
    """Put values at their locations; the others have the fill value."""
    whole = values.dtype.kind == "i"
    fill = _NO_FLAG if whole else _FILL
    out = np.full(len(file.dimensions["Location"]), fill)
    column = values.to_numpy()
    out[number] = column if whole else np.where(np.isfinite(column), column, _FILL)
    _put(file, place, out, {} if whole else {"units": VOCABULARY[variable].unit}, fill)


def _put(file: netCDF4.Dataset, place: str, values: Array, attributes: Mapping[str, str], fill: Any) -> None:
    words = values.dtype == object
    kind: Any = str if words else values.dtype
    variable = file.createVariable(place, kind, ("Location",), zlib=not words, fill_value=fill)
    variable.setncatts(attributes)
    if len(values):
        variable[:] = values
