"""Composites and gridded rain: pictures made of many radars, on a map.

    ODIM_H5 COMP, IMAGE   OPERA and national composites: RATE [mm h-1], ACRR [mm], DBZH [dBZ]; a quality index QIND
    KNMI HDF5             counts with a formula: accumulations [mm] or reflectivity [dBZ]
    MRMS GRIB2            rain rate [mm h-1], accumulations [mm], composite reflectivity [dBZ]; -3: no coverage, -1 and
                          less: missing; reflectivity -99: no echo, -999: no coverage
    NetCDF                rain rates and amounts with CF names or units, on latitudes and longitudes or a CF projection

Pixels of a map that has a projection are placed by it (pyproj), at their centres.
"""

__all__ = ["Image", "read_image"]

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import eccodes
import h5py
import netCDF4
import numpy as np
from pyproj import CRS, Proj, Transformer

from stormda.errors import InputError
from stormda.types import Array


@dataclass(frozen=True, eq=False)
class Image:
    """A picture of H x W pixels.

    Args:
        variable: rr [mm h-1], tp [m] or dbzc [dBZ].
        value: in that unit; NaN where there is no echo or nothing is known [H, W].
        silent: the radar looked and there was nothing [H, W].
        latitude, longitude: degrees [H, W].
        time: when, or the end of the accumulation.
        interval: s, of the accumulation; 0: a rate or reflectivity at once.
        quality: 0..1, NaN where unknown [H, W]; None where the file has none.
    """

    variable: str
    value: Array
    silent: Array
    latitude: Array
    longitude: Array
    time: np.datetime64
    interval: float = 0.0
    quality: Array | None = None


def read_image(path: Path, form: str, names: Mapping[str, str], unclear: bool) -> list[Image]:
    """The pictures of a file.

    Args:
        path: the file.
        form: odim, knmi, grib or netcdf.
        names: variable: its name in the file, where that is unusual.
        unclear: whether a mark that may mean `no echo` or `missing` means no echo.

    Raises:
        InputError: nothing in it that is known, or it has no place or no time.
    """
    images = _READ[form](path, names, unclear)
    if not images:
        hint = "`names: {tp: NAME}` says where it is" if form == "netcdf" else None
        raise InputError("neither rain nor reflectivity in the file", file=path, hint=hint)
    return images


def _picture(value: Array, missing: Array, silent: Array, unclear: bool) -> tuple[Array, Array]:
    """Values with NaN where there is none, and where there was nothing, from the two marks of a file."""
    if (missing & silent).any():
        silent = missing | silent if unclear else silent & False
    return np.where(missing | silent, np.nan, value), silent


# --- ODIM_H5 ---------------------------------------------------------------------------------------------------------

_ODIM = {"RATE": "rr", "ACRR": "tp", "DBZH": "dbzc", "DBZ": "dbzc", "TH": "dbzc"}
_TO_METRES = {"rr": 1.0, "tp": 1e-3, "dbzc": 1.0}


def _odim(path: Path, names: Mapping[str, str], unclear: bool) -> list[Image]:
    own = {wanted: variable for variable, wanted in names.items()}
    with h5py.File(path, "r") as file:
        pictures = [(_of(file[a], file[a][b]), file[a][b]) for a in _numbered(file, "dataset") for b in _data(file[a])]
        index = next((d for about, d in pictures if about.get("quantity") == "QIND"), None)
        about_index = next((about for about, _ in pictures if about.get("quantity") == "QIND"), {})
        quality = None
        if index is not None:
            known, missing, silent = _scaled(index["data"][...], about_index)
            quality = np.where(missing | silent, np.nan, known)
        images = []
        for about, data in pictures:
            variable = (own | {k: v for k, v in _ODIM.items() if k not in own}).get(str(about.get("quantity")))
            if variable is None:
                continue
            value, missing, silent = _scaled(data["data"][...], about)
            value, silent = _picture(value * _TO_METRES[variable], missing, silent, unclear)
            latitude, longitude = _odim_places(file, value.shape)
            time, interval = _odim_times(file, about, variable)
            images.append(Image(variable, value, silent, latitude, longitude, time, interval, quality))
    return images


def _numbered(group: h5py.Group, word: str) -> list[str]:
    return sorted((n for n in group if re.fullmatch(rf"{word}\d+", n)), key=lambda n: int(n[len(word) :]))


def _data(group: h5py.Group) -> list[str]:
    return [n for word in ("data", "quality") for n in _numbered(group, word) if "data" in group[n]]


def _of(dataset: h5py.Group, data: h5py.Group) -> dict[str, object]:
    """The attributes of a picture: its own, else those of its dataset."""
    return {**_attributes(dataset, "what"), **_attributes(data, "what")}


def _attributes(group: h5py.Group, name: str) -> dict[str, object]:
    """Attributes of a group; texts as `str`, arrays of one as what they hold."""
    return {key: _one(value) for key, value in group[name].attrs.items()} if name in group else {}


def _one(value: Any) -> object:
    one = np.asarray(value).ravel()[0] if np.size(value) == 1 else value
    return one.decode(errors="replace").strip("\x00 ") if isinstance(one, bytes) else one


def _scaled(raw: Array, about: Mapping[str, object]) -> tuple[Array, Array, Array]:
    """Values, and where they are missing or `no echo`."""
    gain, offset = (float(str(about.get(k, d))) for k, d in (("gain", 1.0), ("offset", 0.0)))
    missing, silent = (raw == about[k] if k in about else np.zeros(raw.shape, bool) for k in ("nodata", "undetect"))
    return np.asarray(raw, dtype=np.float64) * gain + offset, missing | ~np.isfinite(raw), silent


def _odim_places(file: h5py.File, shape: tuple[int, ...]) -> tuple[Array, Array]:
    where = _attributes(file, "where")
    project = Proj(str(where["projdef"]))
    left, top = project(float(str(where["UL_lon"])), float(str(where["UL_lat"])))
    x = left + (np.arange(shape[1]) + 0.5) * float(str(where["xscale"]))
    y = top - (np.arange(shape[0]) + 0.5) * float(str(where["yscale"]))
    across, down = np.meshgrid(x, y)
    longitude, latitude = project(across, down, inverse=True)
    return np.asarray(latitude), np.asarray(longitude)


def _odim_times(file: h5py.File, about: Mapping[str, object], variable: str) -> tuple[np.datetime64, float]:
    """The nominal time of a rate; end and length of an accumulation."""

    def read(date: object, time: object) -> np.datetime64:
        return np.datetime64(datetime.strptime(f"{date}{time}", "%Y%m%d%H%M%S"), "us")

    root = _attributes(file, "what")
    if variable != "tp" or "enddate" not in about:
        return read(root["date"], root["time"]), 0.0
    start, end = (read(about[f"{w}date"], about[f"{w}time"]) for w in ("start", "end"))
    return end, float((end - start) / np.timedelta64(1, "s"))


# --- KNMI ------------------------------------------------------------------------------------------------------------

_KNMI = {"ACCUMULATED_PRECIPITATION_[MM]": "tp", "REFLECTIVITY_[DBZ]": "dbzc"}
_FORMULA = re.compile(r"GEO\s*=\s*([-+\d.eE]+)\s*\*\s*PV\s*([-+]\s*-?[\d.eE]+)?")


def _knmi(path: Path, names: Mapping[str, str], unclear: bool) -> list[Image]:
    images = []
    with h5py.File(path, "r") as file:
        overview = _attributes(file, "overview")
        start, end = (_knmi_time(str(overview[f"product_datetime_{w}"])) for w in ("start", "end"))
        for number in _numbered(file, "image"):
            image = file[number]
            kind = {k: _one(v) for k, v in image.attrs.items()}.get("image_geo_parameter", "")
            variable = _KNMI.get(str(kind).upper().replace(" ", "_"))
            if variable is None:
                continue
            calibration = _attributes(image, "calibration")
            formula = _FORMULA.match(str(calibration["calibration_formulas"]))
            if formula is None:
                raise InputError(f"the formula '{calibration['calibration_formulas']}' cannot be read", file=path)
            raw = image["image_data"][...]
            marks = [calibration.get(f"calibration_{k}") for k in ("missing_data", "out_of_image")]
            missing = np.isin(raw, [int(float(str(m))) for m in marks if m is not None])
            gain, offset = float(formula[1]), float((formula[2] or "0").replace(" ", "").replace("+-", "-"))
            silent = (raw == 0) & ~missing
            value = (raw * gain + offset) * _TO_METRES[variable]
            value, silent = _picture(value, missing, silent, unclear)
            latitude, longitude = _knmi_places(file, value.shape)
            interval = float((end - start) / np.timedelta64(1, "s")) if variable == "tp" else 0.0
            images.append(Image(variable, value, silent, latitude, longitude, end, interval))
    return images


def _knmi_time(text: str) -> np.datetime64:
    """`26-AUG-2010;02:35:00.000`."""
    return np.datetime64(datetime.strptime(text.split(".")[0].title(), "%d-%b-%Y;%H:%M:%S"), "us")


def _knmi_places(file: h5py.File, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """The projection is given in km: its coordinates are."""
    where = _attributes(file, "geographic")
    project = Proj(str(_attributes(file["geographic"], "map_projection")["projection_proj4_params"]))
    x, y = (
        (float(str(where[f"geo_{n}_offset"])) + np.arange(size) + 0.5) * float(str(where[f"geo_pixel_size_{axis}"]))
        for n, axis, size in (("column", "x", shape[1]), ("row", "y", shape[0]))
    )
    across, down = np.meshgrid(x, y)
    longitude, latitude = project(across, down, inverse=True)
    return np.asarray(latitude), np.asarray(longitude)


# --- MRMS ------------------------------------------------------------------------------------------------------------

_MRMS: dict[tuple[int, int], tuple[str, float]] = {  # category, number: variable and hours of accumulation
    (6, 1): ("rr", 0), (6, 2): ("tp", 1), (6, 3): ("tp", 3), (6, 4): ("tp", 6), (6, 5): ("tp", 12), (6, 6): ("tp", 24),
    (6, 7): ("tp", 48), (6, 8): ("tp", 72), (10, 0): ("dbzc", 0),
}  # fmt: skip
_DISCIPLINE = 209


def _grib(path: Path, names: Mapping[str, str], unclear: bool) -> list[Image]:
    images = []
    with path.open("rb") as file:
        while (handle := eccodes.codes_grib_new_from_file(file)) is not None:
            try:
                images += _message(handle, unclear)
            finally:
                eccodes.codes_release(handle)
    return images


def _message(handle: int, unclear: bool) -> list[Image]:
    key: Callable[[str], int] = lambda name: int(eccodes.codes_get(handle, name))  # noqa: E731
    found = _MRMS.get((key("parameterCategory"), key("parameterNumber")))
    if key("discipline") != _DISCIPLINE or found is None:
        return []
    if eccodes.codes_get(handle, "gridType") != "regular_ll":
        raise InputError("the grid of the GRIB message is not one of latitudes and longitudes")
    variable, hours = found
    rows, columns = key("Nj"), key("Ni")
    raw = np.asarray(eccodes.codes_get_values(handle)).reshape(rows, columns)
    down = 1.0 if key("jScansPositively") else -1.0
    first, east, dy, dx = (
        float(eccodes.codes_get(handle, f"{n}InDegrees"))
        for n in ("latitudeOfFirstGridPoint", "longitudeOfFirstGridPoint", "jDirectionIncrement", "iDirectionIncrement")
    )
    latitude = np.broadcast_to((first + down * dy * np.arange(rows))[:, None], raw.shape)
    longitude = np.broadcast_to((east + dx * np.arange(columns))[None, :], raw.shape)
    silent = (raw > -150.0) & (raw <= -99.0) if variable == "dbzc" else raw == 0.0
    missing = raw <= -150.0 if variable == "dbzc" else raw < 0.0
    value, silent = _picture(raw * _TO_METRES[variable], missing, silent, unclear)
    year, month, day, hour, minute, second = (key(n) for n in ("year", "month", "day", "hour", "minute", "second"))
    time = np.datetime64(datetime(year, month, day, hour, minute, second), "us")
    return [Image(variable, value, silent, latitude, longitude, time, 3600.0 * hours)]


# --- NetCDF ----------------------------------------------------------------------------------------------------------

_RATES = {"rainfall_rate", "lwe_precipitation_rate", "precipitation_flux", "rainfall_flux"}
_AMOUNTS = {"precipitation_amount", "rainfall_amount", "lwe_thickness_of_precipitation_amount"}
_UNITS = {  # variable and what to multiply with
    "kg m-2": ("tp", 1e-3), "mm": ("tp", 1e-3), "m": ("tp", 1.0),
    "mm h-1": ("rr", 1.0), "mm/h": ("rr", 1.0), "mm/hr": ("rr", 1.0), "kg m-2 h-1": ("rr", 1.0),
    "kg m-2 s-1": ("rr", 3600.0), "m s-1": ("rr", 3.6e6), "dBZ": ("dbzc", 1.0),
}  # fmt: skip


def _netcdf(path: Path, names: Mapping[str, str], unclear: bool) -> list[Image]:
    images = []
    with netCDF4.Dataset(path) as file:
        for name, data in file.variables.items():
            about = _rain(name, data, names)
            if about is None or data.ndim < 2:
                continue
            variable, scale = about
            latitude, longitude = _places(file, data, path)
            for number, (time, interval) in enumerate(_times(file, data, variable, path)):
                values = np.ma.asarray(data[number] if data.ndim == 3 else data[...]).squeeze()
                raw = np.ma.filled(values.astype(np.float64), np.nan)
                missing = ~np.isfinite(raw) | (raw < 0.0 if variable != "dbzc" else np.zeros(raw.shape, bool))
                silent = (raw == 0.0) if variable != "dbzc" else np.zeros(raw.shape, bool)
                value, silent = _picture(raw * scale, missing, silent, unclear)
                images.append(Image(variable, value, silent, latitude, longitude, time, interval))
    return images


def _rain(name: str, data: "netCDF4.Variable[Any]", names: Mapping[str, str]) -> tuple[str, float] | None:
    """Which variable this is, and its scale; None where it is none."""
    wanted = {v: k for k, v in names.items()}.get(name)
    unit, standard = (str(getattr(data, a, "")).strip() for a in ("units", "standard_name"))
    by_unit = _UNITS.get(unit)
    if by_unit is None or (wanted is not None and wanted != by_unit[0]):
        return None
    rain = standard in _RATES | _AMOUNTS or standard.startswith("equivalent_reflectivity")
    return by_unit if wanted is not None or rain else None


def _places(file: netCDF4.Dataset, data: "netCDF4.Variable[Any]", path: Path) -> tuple[Array, Array]:
    """Latitude and longitude of every pixel: as the file has them, or by its projection."""
    across = data.dimensions[-2:]
    found: dict[str, Array] = {}
    for axis in file.variables.values():
        unit = str(getattr(axis, "units", "")).lower()
        kind = next(
            (k for k, e in (("latitude", "north"), ("longitude", "east")) if unit.startswith(f"degrees_{e}")), ""
        )
        if kind and set(axis.dimensions) <= set(across) and axis.ndim in (1, 2):
            values = np.ma.filled(np.ma.asarray(axis[...]).astype(np.float64), np.nan)
            found[kind] = (
                values if axis.ndim == 2 else (values[:, None] if str(axis.dimensions[0]) == across[0] else values)
            )
    if len(found) == 2:
        shape = tuple(len(file.dimensions[d]) for d in across)
        return np.broadcast_to(found["latitude"], shape), np.broadcast_to(found["longitude"], shape)
    mapping = str(getattr(data, "grid_mapping", "")).split(":")[0]
    if mapping not in file.variables or not all(d in file.variables for d in across):
        raise InputError("the picture has neither latitudes and longitudes nor a projection", file=path)
    about = file.variables[mapping]
    crs = _projection(tuple((k, _plain(about.getncattr(k))) for k in about.ncattrs()))
    y, x = (_metres(file.variables[d]) for d in across)
    to_degrees = Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    longitude, latitude = to_degrees.transform(*np.meshgrid(x, y))
    return np.asarray(latitude), np.asarray(longitude)


@lru_cache(maxsize=16)
def _projection(about: tuple[tuple[str, object], ...]) -> CRS:
    """The projection of CF attributes. PROJ looks half a second for its ellipsoid; files of a radar have the same."""
    return CRS.from_cf(dict(about))


def _plain(value: Any) -> object:
    """An attribute as a number, a text or a tuple."""
    plain = np.asarray(value).tolist()
    return tuple(plain) if isinstance(plain, list) else plain


def _metres(axis: "netCDF4.Variable[Any]") -> Array:
    scale = 1000.0 if str(getattr(axis, "units", "m")).lower() in ("km", "kilometer", "kilometre") else 1.0
    return np.asarray(axis[...], dtype=np.float64) * scale


def _times(
    file: netCDF4.Dataset, data: "netCDF4.Variable[Any]", variable: str, path: Path
) -> list[tuple[np.datetime64, float]]:
    """Time and interval of every picture of a variable: from bounds, or from a start time beside the end."""
    clocks = {n: v for n, v in file.variables.items() if " since " in str(getattr(v, "units", ""))}
    own = [str(n) for n in ("valid_time", "time") if n in clocks] or [n for n in clocks if "start" not in n]
    if not own:
        raise InputError("the file tells no time", file=path)
    ends = _dates(clocks[own[0]])
    start = next((n for n in clocks if "start" in n), None)
    bounds = file.variables.get(str(getattr(clocks[own[0]], "bounds", "")))
    if variable != "tp":
        seconds = np.zeros(len(ends))
    elif start is not None:
        seconds = (ends - _dates(clocks[start])) / np.timedelta64(1, "s")
    elif bounds is not None:
        edges = _dates(bounds, str(clocks[own[0]].units)).reshape(-1, 2)
        ends, seconds = edges[:, 1], (edges[:, 1] - edges[:, 0]) / np.timedelta64(1, "s")
    else:
        raise InputError("the file does not tell in which time the rain fell", file=path)
    return list(zip(ends, seconds.astype(float), strict=True))


def _dates(clock: "netCDF4.Variable[Any]", unit: str | None = None) -> Array:
    calendar = str(getattr(clock, "calendar", "standard"))
    dates = netCDF4.num2date(np.ravel(clock[...]), unit or clock.units, calendar, only_use_cftime_datetimes=False)
    return np.array([np.datetime64(d.replace(tzinfo=None), "us") for d in np.asarray(dates).ravel()])


_READ: dict[str, Callable[[Path, Mapping[str, str], bool], list[Image]]] = {
    "odim": _odim,
    "knmi": _knmi,
    "grib": _grib,
    "netcdf": _netcdf,
}
