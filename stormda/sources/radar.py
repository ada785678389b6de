"""Radar: volumes of a single radar and composites of many, whatever their format, as rows of observations.

    dbz    reflectivity [dBZ] at the height of the beam                     volumes
    vr     radial velocity [m s-1], away from the radar, at that height     volumes
    rr     rain rate [mm h-1]                                               composites
    tp     rain of an interval [m]                                          composites, gridded rain
    dbzc   composite reflectivity [dBZ]                                     composites

The format is found in the file itself: its first bytes and, in HDF5 and NetCDF, what they hold. Every file is read in
the worker (worker.py).

`No echo` is an observation: the rain is 0, the reflectivity not more than `no_echo`. Reflectivities below that count as
it, so that drizzle, haze and what the radar's noise leaves are one class, as in the operator (operators/radar.py).

Where a radar scans one elevation twice, first far without velocities and then near with them (NEXRAD's split cuts), the
reflectivity of the second is a `duplicate`.
"""

__all__ = ["form_of", "read_radar"]

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import netCDF4
import numpy as np

from stormda.config import RadarSource
from stormda.errors import InputError
from stormda.observations import QC, Observations
from stormda.sources.dataset import open_dataset
from stormda.sources.files import expand, read_bytes
from stormda.sources.radar_beam import gate_heights, gate_places
from stormda.sources.radar_checks import goes_round, speckle, sweep_codes
from stormda.sources.radar_gates import Gates, observations_of, superob
from stormda.sources.radar_image import Image, read_image
from stormda.sources.radar_unfold import unfold
from stormda.sources.radar_volume import Site, Sweep, read_volume
from stormda.sources.worker import isolated

_SAME_ANGLE = 0.15  # degrees
_TURN = 2.0  # degrees: a sweep whose elevation varies more goes up (RHI)


def read_radar(config: RadarSource, name: str, resolve: Callable[[str], Path]) -> Observations:
    """All observations of a source's files.

    Args:
        config: files, cells and checks.
        name: the key of the source in the configuration.
        resolve: turns a path of the configuration into a path.

    Raises:
        InputMissing: a file that is not there.
        InputError: truncated, damaged, or of no known format.
    """
    key = f"observations.sources.{name}"
    paths = expand(config.files, resolve, key=f"{key}.files")
    parts = [isolated(_read, config, name, path, file=path, key=key, limits=config.limits) for path in paths]
    return Observations.concat(parts)


def form_of(path: Path) -> tuple[bool, str]:
    """Whether a file holds sweeps (else pictures), and its format.

    Raises:
        InputError: none that is known.
    """
    with path.open("rb") as file:
        head = file.read(8)
    if head[:4] in (b"AR2V", b"ARCH"):
        return True, "nexrad"
    if head[:4] == b"GRIB":
        return False, "grib"
    if head[:4] == b"\x89HDF":
        with h5py.File(path, "r") as file:
            if "overview" in file and "geographic" in file:
                return False, "knmi"
            if "what" in file and "object" in file["what"].attrs:
                return _is_volume(file["what"].attrs["object"]), "odim"
    if head[:4] == b"\x89HDF" or head[:3] == b"CDF":
        with netCDF4.Dataset(path) if head[:3] != b"CDF" else open_dataset(path, "") as data:  # or cut: see there
            if any(g.startswith("sweep") for g in data.groups):
                return True, "cfradial2"
            return ({"sweep_start_ray_index", "range", "azimuth"} <= set(data.variables)), (
                "cfradial1" if "sweep_start_ray_index" in data.variables else "netcdf"
            )
    hint = "ODIM_H5, NEXRAD Level II, CfRadial, KNMI HDF5, MRMS GRIB2 and NetCDF are read"
    raise InputError("not a radar file of a known format", file=path, hint=hint)


def _is_volume(kind: object) -> bool:
    one = np.asarray(kind).ravel()[0]
    return (one.decode() if isinstance(one, bytes) else str(one)) in ("PVOL", "SCAN", "AZIM", "ELEV")


def _read(config: RadarSource, name: str, path: Path) -> Observations:
    """One file, unpacked where it is a gzip archive."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    if not packed:
        return _read_plain(config, name, path, path)
    with tempfile.NamedTemporaryFile(suffix=Path(path.stem).suffix) as plain:
        plain.write(read_bytes(path))
        plain.flush()
        return _read_plain(config, name, Path(plain.name), path)


def _read_plain(config: RadarSource, name: str, plain: Path, path: Path) -> Observations:
    try:
        volume, form = form_of(plain)
        unclear = config.unclear == "no_echo"
        if volume:
            site, sweeps = read_volume(plain, form, config.names, unclear)
            return _volume(site, sweeps, config, name, path)
        images = read_image(plain, form, config.names, unclear)
        return Observations.concat([_image(image, config, name, path) for image in images])
    except InputError as error:
        if error.file == str(path) and error.key:
            raise
        key = error.key or f"observations.sources.{name}"
        raise InputError(error.what, file=path, key=key, hint=error.hint) from error
    except (OSError, RuntimeError, ValueError, KeyError, IndexError, TypeError, AttributeError, EOFError) as error:
        what = f"the file is damaged, truncated or not of its kind ({type(error).__name__}: {str(error)[:200]})"
        raise InputError(what, file=path, key=f"observations.sources.{name}", hint="fetch it again") from error


# --- volumes ---------------------------------------------------------------------------------------------------------


def _volume(site: Site, sweeps: list[Sweep], config: RadarSource, name: str, path: Path) -> Observations:
    parts = []
    far: list[float] = []  # elevations of sweeps with reflectivity alone
    for sweep in sweeps:
        angle = float(np.median(sweep.elevation))
        again = "vr" in sweep.moments and any(abs(angle - a) < _SAME_ANGLE for a in far)
        if "vr" not in sweep.moments:
            far.append(angle)
        for gates in _gates(site, sweep, config, again):
            cells = superob(gates, config.cell)
            parts.append(observations_of(cells, site.name, site.height, config, name, path))
    if not any(len(p) for p in parts) and not _looked(sweeps):
        raise InputError("no gate of the volume was measured", file=path)
    return Observations.concat(parts) if parts else Observations.empty()


def _looked(sweeps: list[Sweep]) -> bool:
    """Whether any quantity was measured anywhere: where nothing rains there is no velocity, and nothing is wrong."""
    return any((m.silent | np.isfinite(m.value)).any() for s in sweeps for m in s.moments.values())


def _gates(site: Site, sweep: Sweep, config: RadarSource, again: bool) -> Iterator[Gates]:
    """The gates of a sweep that were measured, by variable; each step upwards of a sweep that goes up by itself."""
    height = gate_heights(sweep.distance[None, :], sweep.elevation[:, None], site.height)
    latitude, longitude = gate_places(sweep.distance, sweep.azimuth, sweep.elevation, site.latitude, site.longitude)
    if "vr" in sweep.moments and config.checks.unfold and not config.checks.dealiased:
        measured = sweep.moments["vr"]
        value = unfold(measured.value, sweep.nyquist, sweep.azimuth, goes_round(sweep))
        sweep = replace(sweep, moments=sweep.moments | {"vr": replace(measured, value=value)})
    codes = sweep_codes(sweep, height, site.height, config.checks)
    upwards = np.ptp(sweep.elevation) > _TURN
    step = np.round(sweep.elevation) if upwards else np.zeros(len(sweep.elevation))
    for variable, code in codes.items():
        if config.keep and variable not in config.keep:
            continue
        moment = sweep.moments[variable]
        value = np.where(moment.silent, config.no_echo, moment.value)
        if variable == "dbz":
            value = np.maximum(value, config.no_echo)
            code = np.where(again & (code == QC.USED), int(QC.DUPLICATE), code)
        for one in np.unique(step):
            there = np.isfinite(value) & (step == one)[:, None]
            ray, gate = np.nonzero(there)
            if ray.size:
                yield Gates(
                    variable,
                    value[there].astype(np.float64),
                    code[there],
                    sweep.time[ray],
                    latitude[there],
                    longitude[there],
                    0.0,
                    height[there],
                    sweep.azimuth[ray],
                    sweep.elevation[ray],
                    sweep.distance[gate],
                )


# --- composites ------------------------------------------------------------------------------------------------------


def _image(image: Image, config: RadarSource, name: str, path: Path) -> Observations:
    if config.keep and image.variable not in config.keep:
        return Observations.empty()
    reflectivity = image.variable == "dbzc"
    nothing = config.no_echo if reflectivity else 0.0
    value = np.where(image.silent, nothing, image.value)
    value = np.maximum(value, nothing) if reflectivity else value
    there = np.isfinite(value) & np.isfinite(image.latitude) & np.isfinite(image.longitude)
    if not there.any():
        raise InputError("no pixel was measured", file=path)
    code = np.where(speckle(image.value > nothing, config.checks.speckle, False), int(QC.SPECKLE), int(QC.USED))
    if image.quality is not None:
        code = np.where((image.quality < config.checks.quality) & (code == QC.USED), int(QC.PROVIDER), code)
    gates = Gates(
        image.variable,
        value[there],
        code[there],
        np.full(there.sum(), image.time),
        image.latitude[there],
        image.longitude[there],
        image.interval,
    )
    return observations_of(superob(gates, config.cell), "", float("nan"), config, name, path)
