"""MADIS: the NetCDF files in which NOAA distributes observations with the results of its quality control.

Every value has a descriptor, one letter (`temperatureDD`):

    Z no check yet   C coarse, S screened, V verified: passed one, two, three levels of checks   G accepted by hand
    X rejected at level one   Q questioned: failed level two or three   B rejected by hand

X, Q and B are rejected here (`QC.PROVIDER`); the letter's character code stays in `pre_qc` (86 is V). Radiosondes
(rawin) have no descriptors; aircraft have checks of their provider as well. Source: MADIS, "Quality control", NOAA,
https://madis.ncep.noaa.gov/madis_qc.shtml.

    metar    temperature and dew point (tenths where there are), wind, pressures, precipitation
    marine   ships, buoys and coastal stations
    acars    aircraft: their altitude is pressure altitude, a pressure by the standard atmosphere
    rawin    radiosondes: mandatory, significant, tropopause and maximum wind levels

A significant wind level of a radiosonde tells only its height: its pressure is found between the mandatory levels,
where ln p is nearly linear in z. The lapse rate G bends it by at most (dz)^2 g G / (8 R T^2): 0.1 % between 850 and 700
hPa, 0.6 % between 500 and 300 hPa.
"""

__all__ = ["read_madis"]

from collections.abc import Callable
from pathlib import Path

import netCDF4
import numpy as np

from stormda.config import MadisSource
from stormda.errors import InputError
from stormda.observations import QC, Observations
from stormda.sources.dataset import has, numbers, open_dataset, seconds, words
from stormda.sources.files import expand
from stormda.sources.humidity import relative_humidity, specific_humidity
from stormda.sources.reports import Reports, Values, observations, wind
from stormda.sources.standard_atmosphere import pressure, station_pressure
from stormda.sources.units import STANDARD_GRAVITY
from stormda.sources.worker import isolated
from stormda.types import Array

_REJECTED = ("X", "Q", "B")
_PRECIPITATION = {"precip1Hour": 1, "precip3Hour": 3, "precip6Hour": 6, "precip12Hour": 12, "precip24Hour": 24}
_MEASURING = "0"  # of the water vapour sensor's mode, BUFR 0 33 026


def read_madis(config: MadisSource, name: str, resolve: Callable[[str], Path]) -> Observations:
    """All observations of a source's files.

    Args:
        config: files and the kind of report.
        name: the key of the source in the configuration.
        resolve: turns a path of the configuration into a path.

    Raises:
        InputMissing: a file that is not there.
        InputError: not NetCDF, truncated, or of another kind.
    """
    key = f"observations.sources.{name}"
    paths = expand(config.files, resolve, key=f"{key}.files")
    parts = [isolated(_read, config, name, path, file=path, key=key, limits=config.limits) for path in paths]
    return Observations.concat(parts)


def _read(config: MadisSource, name: str, path: Path) -> Observations:
    read = {"metar": _metar, "marine": _marine, "acars": _acars, "rawin": _rawin}[config.report]
    try:
        with open_dataset(path, f"observations.sources.{name}") as file:
            reports, values = read(file)
    except InputError as error:
        if error.file is not None:
            raise
        key = f"observations.sources.{name}.report"
        raise InputError(f"not a MADIS file of {config.report}: {error.what}", file=path, key=key) from error
    return observations(reports, values, config, name, file=path, platform=config.report)


# --- quality flags -------------------------------------------------------------------------------------------------


def _flags(file: netCDF4.Dataset, *names: str) -> tuple[Array, Array]:
    """The descriptor of a value that is made of several, as its character code, and the QC code that follows.

    The descriptor is the first one that rejects, else that of the last variable.
    """
    descriptors = [words(file, f"{name}DD") for name in names]
    worst = descriptors[-1].copy()
    for letters in reversed(descriptors[:-1]):
        worst = np.where(np.isin(letters, _REJECTED) & ~np.isin(worst, _REJECTED), letters, worst)
    codes = np.array([ord(letter) if letter else 0 for letter in worst], dtype=np.int32)
    return codes, np.where(np.isin(worst, _REJECTED), int(QC.PROVIDER), int(QC.USED))


def _value(file: netCDF4.Dataset, variable: str, name: str, scale: float = 1.0, hours: float = 0.0) -> Values:
    flag, qc = _flags(file, name)
    return Values(variable, numbers(file, name) * scale, 3600.0 * hours, flag=flag, qc=qc)


def _wind(file: netCDF4.Dataset) -> list[Values]:
    flag, qc = _flags(file, "windDir", "windSpeed")
    return wind("u10", "v10", numbers(file, "windDir"), numbers(file, "windSpeed"), flag=flag, qc=qc)


def _rain(file: netCDF4.Dataset) -> list[Values]:
    return [_value(file, "tp", n, hours=h) for n, h in _PRECIPITATION.items() if has(file, n, f"{n}DD")]


# --- surface -------------------------------------------------------------------------------------------------------


def _surface(file: netCDF4.Dataset) -> Reports:
    latitude, longitude, elevation = (numbers(file, n) for n in ("latitude", "longitude", "elevation"))
    return Reports(words(file, "stationName"), seconds(numbers(file, "timeObs")), latitude, longitude, elevation)


def _metar(file: netCDF4.Dataset) -> tuple[Reports, list[Values]]:
    reports = _surface(file)
    values = [
        _tenths(file, "t2m", "temperature", "tempFromTenths"),
        _tenths(file, "d2m", "dewpoint", "dpFromTenths"),
        _value(file, "msl", "seaLevelPress"),
        *_wind(file),
        *_rain(file),
    ]
    flag, qc = _flags(file, "altimeter")
    values.append(
        Values(
            "sp",
            100.0 * station_pressure(numbers(file, "altimeter") / 100.0, reports.elevation),
            flag=flag,
            qc=qc,
        )
    )
    return reports, values


def _tenths(file: netCDF4.Dataset, variable: str, name: str, exact: str) -> Values:
    """The value in tenths of a degree where there is one; the descriptor is that of the value in whole degrees."""
    whole = _value(file, variable, name)
    tenths = numbers(file, exact) if has(file, exact) else np.full_like(whole.values, np.nan)
    return Values(variable, np.where(np.isnan(tenths), whole.values, tenths), flag=whole.flag, qc=whole.qc)


def _marine(file: netCDF4.Dataset) -> tuple[Reports, list[Values]]:
    pairs = {"t2m": "temperature", "d2m": "dewpoint", "msl": "seaLevelPress", "sp": "stationPress"}
    return _surface(file), [*(_value(file, v, n) for v, n in pairs.items()), *_wind(file), *_rain(file)]


# --- upper air -----------------------------------------------------------------------------------------------------


def _acars(file: netCDF4.Dataset) -> tuple[Reports, list[Values]]:
    level = np.round(pressure(numbers(file, "altitude")), 2)
    latitude, longitude, nowhere = numbers(file, "latitude"), numbers(file, "longitude"), np.full(level.shape, np.nan)
    reports = Reports(_aircraft(file), seconds(numbers(file, "timeObs")), latitude, longitude, nowhere, level)
    where = ("latitude", "longitude", "altitude", "timeObs")
    astray = np.isin(words(file, "speedError"), ("F", "S")) | np.isin(words(file, "bounceError"), ("H", "L"))
    kind, bad = words(file, "errorType"), words(file, "dataDescriptor") == "X"
    no_temperature = np.isin(kind, ("T", "B")) | (bad & (kind != "W")) | astray
    no_wind = np.isin(kind, ("W", "B")) | (bad & (kind != "T")) | astray | (words(file, "rollFlag") == "B")
    temperature = numbers(file, "temperature")
    values = [_judged("t", temperature, file, no_temperature, *where, "temperature")]
    flag, qc = _flags(file, *where, "windDir", "windSpeed")
    qc = np.where(no_wind, int(QC.PROVIDER), qc)
    values += wind("u", "v", numbers(file, "windDir"), numbers(file, "windSpeed"), flag=flag, qc=qc)
    q = specific_humidity(numbers(file, "waterVaporMR"))
    r = np.where(np.isnan(q), relative_humidity(temperature, numbers(file, "dewpoint")), np.nan)
    off = astray | ~np.isin(words(file, "waterVaporQC"), (_MEASURING, "-", ""))
    values.append(_judged("q", q, file, off, *where))
    values.append(_judged("r", r, file, astray, *where, "temperature", "dewpoint"))
    return reports, values


def _judged(variable: str, values: Array, file: netCDF4.Dataset, bad: Array, *names: str) -> Values:
    """A value with the descriptors of what it is made of, and what the provider says in other ways."""
    flag, qc = _flags(file, *names)
    return Values(variable, values, flag=flag, qc=np.where(bad, int(QC.PROVIDER), qc))


def _aircraft(file: netCDF4.Dataset) -> Array:
    """The first identifier that each report has: tail numbers are often encrypted."""
    out = words(file, "en_tailNumber")
    for name in ("tailNumber", "flight"):
        if has(file, name):
            out = np.where(out == "", words(file, name), out)
    return out


def _rawin(file: netCDF4.Dataset) -> tuple[Reports, list[Values]]:
    mandatory = numbers(file, "prMan")
    height = numbers(file, "htMan")
    levels = {"Man": mandatory, "SigT": numbers(file, "prSigT"), "SigW": _pressures(file, mandatory, height)}
    levels |= {n: numbers(file, f"pr{n}") for n in ("Trop", "MaxW") if has(file, f"pr{n}")}
    count = [p.shape[1] for p in levels.values()]

    def table(prefix: str) -> Array:
        parts = [
            numbers(file, f"{prefix}{n}") if has(file, f"{prefix}{n}") else np.full(p.shape, np.nan)
            for n, p in levels.items()
        ]
        return np.concatenate(parts, axis=1).ravel()

    total = sum(count)
    ids = np.array([f"{i:.0f}" if np.isfinite(i) else "" for i in numbers(file, "wmoStaNum")], dtype=object)
    ids = np.where(ids == "", words(file, "staName"), ids) if has(file, "staName") else ids
    latitude, longitude, elevation = (np.repeat(numbers(file, n), total) for n in ("staLat", "staLon", "staElev"))
    time = np.repeat(seconds(numbers(file, "synTime")), total)
    level = np.concatenate(list(levels.values()), axis=1).ravel()
    reports = Reports(np.repeat(ids, total), time, latitude, longitude, elevation, np.round(level, 2))
    t = table("tp")
    z = np.concatenate([height, np.full((len(height), total - count[0]), np.nan)], axis=1).ravel()
    values = [Values("z", z * STANDARD_GRAVITY), Values("t", t), Values("r", relative_humidity(t, t - table("td")))]
    return reports, values + wind("u", "v", table("wd"), table("ws"))


def _pressures(file: netCDF4.Dataset, pressure: Array, height: Array) -> Array:
    """Pressure [hPa] of the significant wind levels, from their heights; NaN outside the mandatory levels."""
    wanted = numbers(file, "htSigW")
    out = np.full(wanted.shape, np.nan)
    for i, (p, z) in enumerate(zip(pressure, height, strict=True)):
        known = np.isfinite(z) & (p > 0.0)
        order = np.argsort(z[known], kind="stable")
        if known.sum() >= 2:
            logarithm = np.log(p[known][order])
            out[i] = np.exp(np.interp(wanted[i], z[known][order], logarithm, left=np.nan, right=np.nan))
    return out
