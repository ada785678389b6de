"""Feedback: for every observation what was done with it, and what background and analysis made of it.

NetCDF-4 groups after the IODA v3 layout of the Joint Effort for Data assimilation Integration (JCSDA, "Interface for
Observation Data Access", https://jointcenterforsatellitedataassimilation-jedi-docs.readthedocs-hosted.com). One
`Location` is one value: its variable, level, time and place are in `MetaData`, and each other group holds the one
variable `value`:

    ObsValue        the observation
    ObsError        standard deviation of its error;  EffectiveError the same where it was used, missing elsewhere
    ObsBias         the bias that was already subtracted
    PreQC           the provider's flag
    EffectiveQC     `QC`: 0 used, any other number says why not (table in its attributes)
    hofx            H(x) averaged over the background ensemble
    ombg, oman      observation minus background, minus analysis (ensemble means)
    hofx_background, hofx_analysis  (Location, realization)  H(x) of every member

A value that is withheld (`MetaData/withheld`) has EffectiveQC 0 and was kept out of the analysis. What is not known is
NaN.
"""

__all__ = ["Feedback", "read_feedback", "write_feedback"]

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import netCDF4
import numpy as np

from stormda import __version__
from stormda.observations import QC, Observations
from stormda.store.netcdf import create, open_netcdf
from stormda.types import Array

LAYOUT = "feedback"
_OWN = ("source", "stormda_layout", "_ioda_layout", "_ioda_layout_version")

_PLACES: dict[str, tuple[str, dict[str, str]]] = {
    "report_id": ("MetaData/reportIdentification", {}),
    "station_id": ("MetaData/stationIdentification", {}),
    "platform": ("MetaData/platform", {}),
    "source": ("MetaData/source", {"long_name": "key of the source in the configuration"}),
    "variable": ("MetaData/variableName", {}),
    "level_type": ("MetaData/levelType", {}),
    "level": ("MetaData/level", {"long_name": "level value: hPa on pressure levels"}),
    "time": ("MetaData/dateTime", {"units": "microseconds since 1970-01-01T00:00:00Z", "standard_name": "time"}),
    "interval": ("MetaData/interval", {"units": "s", "long_name": "accumulation or mean up to dateTime"}),
    "latitude": ("MetaData/latitude", {"units": "degrees_north", "standard_name": "latitude"}),
    "longitude": ("MetaData/longitude", {"units": "degrees_east", "standard_name": "longitude"}),
    "elevation": ("MetaData/stationElevation", {"units": "m", "standard_name": "surface_altitude"}),
    "value": ("ObsValue/value", {}),
    "error": ("ObsError/value", {}),
    "block": ("MetaData/correlatedBlock", {"long_name": "rows of one correlated block; -1: uncorrelated"}),
    "bias": ("ObsBias/value", {}),
    "pre_qc": ("PreQC/value", {}),
    "qc": ("EffectiveQC/value", {}),
    "withheld": ("MetaData/withheld", {"long_name": "1: kept out of the analysis for verification"}),
    "azimuth": ("MetaData/sensorAzimuthAngle", {"units": "degree"}),
    "elevation_angle": ("MetaData/sensorElevationAngle", {"units": "degree"}),
    "range": ("MetaData/range", {"units": "m"}),
    "count": ("MetaData/count", {"long_name": "measurements that the value is the mean of"}),
    "spread": ("MetaData/spread", {"long_name": "standard deviation of these measurements"}),
}
"""Where each column of an observation table goes, and its attributes."""
_LATER = ("count", "spread")  # files of older versions have none


@dataclass(frozen=True, eq=False)
class Feedback:
    """A feedback file that was read.

    Args:
        observations: N rows with their QC codes.
        background, analysis: H(x) of every member, [M, N]; NaN where there is no operator.
        attributes: what `write_feedback` was given.
    """

    observations: Observations
    background: Array
    analysis: Array
    attributes: dict[str, str]


def write_feedback(
    path: Path, observations: Observations, background: Array, analysis: Array, attributes: Mapping[str, str]
) -> None:
    """Write a feedback file; `path` appears when all of it is there.

    Args:
        path: the file.
        observations: N rows; words that are null are written as empty.
        background, analysis: H(x) of every member, [M, N].
        attributes: global attributes.

    Raises:
        OutputError: the file cannot be written.
    """
    with create(path) as file:
        own = (f"stormda {__version__}", LAYOUT, "ObsGroup", np.int32(3))
        file.setncatts(dict(attributes) | dict(zip(_OWN, own, strict=True)))
        file.createDimension("Location", len(observations) or None)  # NetCDF takes a length of 0 for unlimited.
        file.createDimension("realization", background.shape[0])
        for column, (place, words) in _PLACES.items():
            _write(file, place, _encode(observations, column), words)
        codes = {"flag_values": np.array([int(c) for c in QC], dtype=np.int32)}
        file["EffectiveQC/value"].setncatts(codes | {"flag_meanings": " ".join(c.name.lower() for c in QC)})
        value, qc = observations["value"], observations["qc"]
        used = (qc == QC.USED) & ~observations["withheld"].astype(bool)
        _write(file, "EffectiveError/value", np.where(used, observations["error"], np.nan))
        hofx = background.mean(axis=0)
        _write(file, "hofx/value", hofx, {"long_name": "mean of the background ensemble"})
        _write(file, "ombg/value", value - hofx, {"long_name": "observation minus background"})
        _write(file, "oman/value", value - analysis.mean(axis=0), {"long_name": "observation minus analysis"})
        _write(file, "hofx_background/value", background.T, {"long_name": "background members"})
        _write(file, "hofx_analysis/value", analysis.T, {"long_name": "analysis members"})


def _encode(observations: Observations, column: str) -> Array:
    """A column as NetCDF can hold it: words without nulls, times as microseconds, truth as bytes."""
    values = observations[column]
    if values.dtype == object:
        return np.array(["" if v is None else v for v in values], dtype=object)
    if values.dtype.kind == "M":
        return values.astype("datetime64[us]").astype(np.int64)
    return values.astype(np.int8) if values.dtype == bool else values


def _write(file: netCDF4.Dataset, place: str, values: Array, attributes: Mapping[str, str] | None = None) -> None:
    words = values.dtype == object
    fill = {"f": np.nan, "i": False}.get(values.dtype.kind)  # Every integer is a value; a missing number is NaN.
    variable = file.createVariable(
        place,
        str if words else values.dtype,
        ("Location", "realization")[: values.ndim],
        compression=None if words else "zlib",
        complevel=1,
        fill_value=fill,
    )
    variable.setncatts(attributes or {})
    if len(values):
        variable[:] = values


def read_feedback(path: Path) -> Feedback:
    """Read what `write_feedback` wrote, every column to the last digit.

    Raises:
        InputMissing: no such file.
        InputError: truncated, or another kind of file.
    """
    with open_netcdf(path, hint="stormda assimilate writes it again", layout=LAYOUT) as file:
        there = file["MetaData"].variables
        places = {c: place for c, (place, _) in _PLACES.items() if c not in _LATER or c in there}
        columns = {column: np.asarray(file[place][:]) for column, place in places.items()}
        columns["time"] = columns["time"].astype("datetime64[us]")
        columns["withheld"] = columns["withheld"].astype(bool)
        observations = Observations.of(columns)
        background, analysis = (np.asarray(file[f"hofx_{x}/value"][:]).T for x in ("background", "analysis"))
        attributes = {name: str(file.getncattr(name)) for name in file.ncattrs() if name not in _OWN}
    return Feedback(observations, background, analysis, attributes)
