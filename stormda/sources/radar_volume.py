"""Radar volumes: sweeps of a turning antenna, in ODIM_H5, NEXRAD Level II, CfRadial 1 and 2, decoded by xradar.

Three things a gate can say, which must not be mixed up:

    an echo       a value
    no echo       the radar looked and saw nothing: no rain, which is an observation
    missing       it did not look, was blocked, or could not tell (range folding): nothing

Each format marks them in its own way; the codes are read undecoded, so that none is taken for a value:

    ODIM_H5       `undetect` is no echo, `nodata` missing; a file that gives both one number cannot tell (`unclear`)
    NEXRAD        0 is below the threshold: no echo; 1 is range folded: missing
    CfRadial      the fill value alone: cannot tell (`unclear`), unless `_Undetect` marks no echo

A velocity without an echo is missing, for nothing was there to move.
"""

__all__ = ["Moment", "Site", "Sweep", "read_volume"]

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
import xarray as xr

from stormda.errors import InputError
from stormda.types import Array

log = logging.getLogger(__name__)

_NAMES = {  # the first that a sweep has
    "dbz": ("DBZH", "DBZ", "DBZV", "reflectivity", "reflectivity_horizontal", "corrected_reflectivity", "REF", "TH"),
    "vr": ("VRADDH", "VRADH", "VRAD", "VRADV", "velocity", "corrected_velocity", "VEL", "VR", "mean_doppler_velocity"),
    "rhohv": ("RHOHV", "cross_correlation_ratio", "URHOHV", "RHO"),
}
_STANDARD = {  # else by its CF standard name, which begins so
    "dbz": ("equivalent_reflectivity_factor", "radar_equivalent_reflectivity_factor"),
    "vr": ("radial_velocity_of_scatterers",),
    "rhohv": ("cross_correlation_ratio", "radar_correlation_coefficient"),
}
_LARGEST = 1e30  # what is beyond is a fill value that the file does not declare
_FOLDED, _BELOW = 1, 0  # NEXRAD: codes of range folding, and of power below the threshold


@dataclass(frozen=True, eq=False)
class Site:
    """The radar: its name ('' where the file has none), degrees, and m above mean sea level of its antenna."""

    name: str
    latitude: float
    longitude: float
    height: float


@dataclass(frozen=True, eq=False)
class Moment:
    """A measured quantity on the gates of a sweep.

    Args:
        value: in the unit of the file; NaN where there is no echo [rays, gates].
        silent: the radar looked and there was no echo [rays, gates].
    """

    value: Array
    silent: Array


@dataclass(frozen=True, eq=False)
class Sweep:
    """One turn, or sector, of the antenna.

    Args:
        azimuth, elevation: of the rays, degrees [rays].
        time: datetime64[us] [rays].
        distance: of the gates, m [gates].
        moments: by `dbz`, `vr`, `rhohv`.
        nyquist: m s-1, the largest velocity that is not aliased; NaN where unknown.
    """

    azimuth: Array
    elevation: Array
    time: Array
    distance: Array
    moments: dict[str, Moment]
    nyquist: float


_OPEN = {"odim": "odim", "nexrad": "nexradlevel2", "cfradial1": "cfradial1", "cfradial2": "cfradial2"}


def read_volume(path: Path, form: str, names: Mapping[str, str], unclear: bool) -> tuple[Site, list[Sweep]]:
    """The sweeps of a file, in the order of their scanning.

    Args:
        path: the file.
        form: odim, nexrad, cfradial1 or cfradial2.
        names: variable: its name in the file, where that is unusual.
        unclear: whether a mark that may mean `no echo` or `missing` means no echo.

    Raises:
        InputError: no sweep, no place of the radar, or no quantity that is known.
    """
    import xradar  # with matplotlib and dask behind it: for the worker alone

    # From memory: where a NEXRAD file ends with a negative length, xradar would ask for 4 GiB.
    data = path.read_bytes() if form == "nexrad" else path
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        tree: xr.DataTree = getattr(xradar.io, f"open_{_OPEN[form]}_datatree")(data, mask_and_scale=False)
    for text in dict.fromkeys(str(w.message) for w in said if "ncomplete" in str(w.message)):
        log.warning("%s: %s", path, text.split("\n")[0])
    try:
        place = [float(np.asarray(tree[n].values).ravel()[0]) for n in ("latitude", "longitude", "altitude")]
        site = Site(_name(tree.attrs, path if form == "odim" else None), *place)
        sweeps = [_sweep(node.to_dataset(), form, names, unclear) for node in _sweeps(tree)]
    finally:
        tree.close()
    if not np.isfinite(place).all() or abs(place[0]) > 90.0 or abs(place[1]) > 360.0:
        raise InputError(f"the radar is nowhere: latitude {place[0]:g}, longitude {place[1]:g}", file=path)
    if not any({"dbz", "vr"} & s.moments.keys() for s in sweeps):
        found = sorted({str(v) for node in _sweeps(tree) for v in node.data_vars})
        hint = f"`names: {{dbz: NAME}}` with one of {', '.join(found)}" if found else None
        raise InputError("the volume has neither reflectivity nor radial velocity", file=path, hint=hint)
    return site, sweeps


def _sweeps(tree: xr.DataTree) -> Iterator[xr.DataTree]:
    names = sorted((n for n in tree.children if n.startswith("sweep")), key=lambda n: int(n.split("_")[-1]))
    return (cast(xr.DataTree, tree[n]) for n in names)


def _sweep(data: xr.Dataset, form: str, names: Mapping[str, str], unclear: bool) -> Sweep:
    chosen = {kind: _find(data, kind, names) for kind in _NAMES}
    rays = next((str(data[v].dims[0]) for v in chosen.values() if v is not None), "azimuth")
    count = data.sizes[rays]

    def each(name: str) -> Array:
        return np.broadcast_to(np.asarray(data[name].values, dtype=np.float64), (count,))

    moments = {k: _moment(data[v], form, k, unclear) for k, v in chosen.items() if v is not None}
    time = np.broadcast_to(data["time"].values.astype("datetime64[us]"), (count,))
    distance = np.asarray(data["range"].values, dtype=np.float64)
    return Sweep(each("azimuth"), each("elevation"), time, distance, moments, _nyquist(data))


def _find(data: xr.Dataset, kind: str, names: Mapping[str, str]) -> str | None:
    """The name of a quantity in a sweep."""
    if kind in names:
        return names[kind] if names[kind] in data else None
    known = next((n for n in _NAMES[kind] if n in data), None)
    if known is not None:
        return known
    standard = {str(n): str(v.attrs.get("standard_name", "")) for n, v in data.data_vars.items() if v.ndim == 2}
    return next((n for n, s in standard.items() if s.startswith(_STANDARD[kind])), None)


def _moment(data: xr.DataArray, form: str, kind: str, unclear: bool) -> Moment:
    raw, about = data.values, data.attrs
    fill = [about[k] for k in ("_FillValue", "missing_value") if about.get(k) is not None]
    nothing = about.get("_Undetect")
    if form == "nexrad":
        fill, nothing = [_FOLDED], _BELOW
    missing = np.isin(raw, np.asarray(fill, dtype=raw.dtype)) if fill else np.zeros(raw.shape, dtype=bool)
    if raw.dtype.kind == "f":
        missing |= ~(np.abs(raw) < _LARGEST)
    silent = np.zeros(raw.shape, dtype=bool) if nothing is None else raw == nothing
    if nothing is None or (silent & missing).any():  # one mark for both
        silent = missing if unclear else np.zeros(raw.shape, dtype=bool)
    missing = missing | silent
    value = raw.astype(np.float32) * np.float32(about.get("scale_factor", 1.0)) + np.float32(
        about.get("add_offset", 0.0)
    )
    return Moment(np.where(missing, np.float32(np.nan), value), silent if kind == "dbz" else silent & False)


def _nyquist(data: xr.Dataset) -> float:
    for name in ("nyquist_velocity", "NI"):
        if name in data:
            values = np.asarray(data[name].values).ravel()
            numbers = [float(v) for v in values[:1] if v is not None]
            if numbers and 0.0 < numbers[0] < 1e3:
                return numbers[0]
    return float("nan")


def _name(about: Mapping[Any, Any], odim: Path | None) -> str:
    """What the radar is called: in ODIM_H5, the first of the identifiers of `what/source`."""
    if odim is not None:
        with h5py.File(odim, "r") as file:
            source = file["what"].attrs.get("source", b"") if "what" in file else b""
        source = np.asarray(source).ravel()[0] if np.size(source) else b""
        text = source.decode(errors="replace") if isinstance(source, bytes) else str(source)
        parts = dict(p.split(":", 1) for p in re.split("[,;]", text) if ":" in p)
        return next((parts[k].strip() for k in ("NOD", "WMO", "WIGOS", "RAD", "PLC") if parts.get(k)), "")
    words = (str(about.get(k, "")).strip() for k in ("site_name", "instrument_name"))
    return next((w for w in words if w not in ("", "None")), "")
