"""A world with weather in real file formats: fields, soundings, rain gauges and radars, for the ordinary ingest.

    nature run (stormda.nature.weather) -> archive.nc, truth.nc     the past, and the truth at the analysis times
                                           soundings.csv            wind, temperature, humidity on pressure levels
                                           gauges.csv               rain rate
                                           radars/NAME_TIME.h5      ODIM_H5 volumes: reflectivity, radial velocity

The nature run begins with the developed turbulence that the package ships and air of its relative humidity; its first
days, until moisture and rain are level, are dropped. Levels are those of the standard atmosphere, and the humidity of
the 850-hPa level is that of the clouds. Errors are Gaussian and independent, the same for the same seed; a gauge that
would report less than nothing reports 0.
"""

__all__ = ["CYCLES", "START", "write_weather"]

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor

from stormda.nature.sqg import SIX_HOURS
from stormda.nature.weather import Weather
from stormda.operators.interpolate import weights_of
from stormda.operators.radar import standard_height
from stormda.pipeline.radars import scan
from stormda.random import normal, stream, uniform
from stormda.store.publish import atomic
from stormda.types import Array, Progress, silent

START = np.datetime64("2030-01-01T00", "s")
CYCLES = 8
_STEP = np.timedelta64(6 * 3600, "s")
_SPIN_UP, _ARCHIVE = 40, 240  # steps of six hours: moisture is level after 8 days; 60 days to learn from
_LEVELS = (850, 500)  # hPa
_UNITS = {"u": "m s-1", "v": "m s-1", "t": "K", "r": "1", "rr": "mm h-1"}
_ERRORS = {"u": 1.5, "v": 1.5, "t": 0.5, "r": 0.05, "rr": 0.3}  # standard deviations
_SOUNDINGS, _GAUGES, _RADARS, _SEED = 80, 150, 48, 11
_LOWEST, _HIGHEST = -70.0, 70.0  # nominal latitudes of stations: away from the poles of the nominal coordinates


@dataclass(frozen=True, eq=False)
class _Sites:
    """Names and places [n], degrees."""

    names: Array
    latitude: Array
    longitude: Array

    @classmethod
    def random(cls, prefix: str, n: int) -> "_Sites":
        places = uniform(_SEED, stream("places", prefix), torch.arange(2), torch.arange(n)).numpy()
        names = np.array([f"{prefix}{i:03d}" for i in range(n)])
        latitude = np.round(_LOWEST + (_HIGHEST - _LOWEST) * places[0], 3)
        return cls(names, latitude, np.round(360.0 * places[1], 3))


def write_weather(
    folder: Path,
    *,
    archive: int = _ARCHIVE,
    cycles: int = CYCLES,
    every: int = 1,
    radars: int = _RADARS,
    progress: Progress = silent,
) -> None:
    """Write the files of the world.

    Args:
        folder: made where it is not there.
        archive: steps of six hours of the past.
        cycles: analysis times after it.
        every: steps from one of them to the next; the truth has all steps.
        radars: that scan at every analysis time.
        progress: told about the work.

    Raises:
        OutputError: a file cannot be written.
    """
    world = Weather()
    theta = torch.as_tensor(np.load(str(files("stormda.nature").joinpath("sqg-developed.npy"))))
    state = world.initial(theta)
    steps, fields, late = archive + (cycles - 1) * every + 1, [], []
    for k in range(_SPIN_UP + steps):
        progress("nature run", k + 1, _SPIN_UP + steps)
        state = world.advance(state, SIX_HOURS)
        if k >= _SPIN_UP:
            fields.append(_channels(world, state))
        if k >= _SPIN_UP + archive and (k - _SPIN_UP - archive) % every == 0:
            late.append(state)
    values = {name: np.stack([f[name] for f in fields]) for name in fields[0]}
    times = START + (np.arange(steps) - archive) * _STEP
    folder.mkdir(parents=True, exist_ok=True)
    _write_fields(folder / "archive.nc", {n: v[:archive] for n, v in values.items()}, times[:archive], world)
    _write_fields(folder / "truth.nc", {n: v[archive:] for n, v in values.items()}, times[archive:], world)
    truth, when = {n: v[archive::every] for n, v in values.items()}, times[archive::every]
    _write_soundings(folder / "soundings.csv", truth, when, world)
    _write_gauges(folder / "gauges.csv", truth, when, world)
    sites = _Sites.random("radar", radars)
    (folder / "radars").mkdir(exist_ok=True)
    for k, (time, at) in enumerate(zip(when, late, strict=True)):
        for name, latitude, longitude in zip(sites.names, sites.latitude, sites.longitude, strict=True):
            stamp = np.datetime_as_string(time, unit="m").translate(str.maketrans("", "", "-:"))
            path = folder / "radars" / f"{name}_{stamp}.h5"
            scan(
                world, at, time, path, str(name), float(latitude), float(longitude),
                seed=_SEED, step=4000.0, rays=90, angles=(0.5, 2.0),
            )  # fmt: skip
        progress("radars", k + 1, cycles)


def _channels(world: Weather, state: Tensor) -> dict[str, Array]:
    """The fields of a state that analyses are made of, [y, x] each."""
    out: dict[str, Tensor] = {}
    for level in _LEVELS:
        height = float(standard_height(np.array([float(level)]))[0])
        out[f"u{level}"], out[f"v{level}"], _ = world.sqg.interior(state[:2], height)
        out[f"t{level}"] = world.temperature(state[:2], height)
    out |= {"r850": state[2] / world.saturation(state[:2]), "rr": world.rain(state)}
    return {name: field.to(torch.float32).numpy() for name, field in out.items()}


def _write_fields(path: Path, fields: Mapping[str, Array], times: Array, world: Weather) -> None:
    """The layout of ERA5 files: `valid_time`, latitude from north to south; a variable a field."""
    grid = world.sqg.grid()
    dims = ("valid_time", "latitude", "longitude")
    data = {n: (dims, v[:, ::-1], {"units": _UNITS[n.rstrip("0123456789")]}) for n, v in fields.items()}
    coordinates = {
        "valid_time": ("valid_time", times.astype("datetime64[ns]"), {"standard_name": "time"}),
        "latitude": ("latitude", grid.latitude[::-1], {"units": "degrees_north", "standard_name": "latitude"}),
        "longitude": ("longitude", grid.longitude, {"units": "degrees_east", "standard_name": "longitude"}),
    }
    dataset = xr.Dataset(data, coordinates, {"Conventions": "CF-1.7", "institution": "stormda nature run"})
    encoding = {"valid_time": {"units": "seconds since 1970-01-01", "calendar": "proleptic_gregorian"}}
    with atomic(path) as temporary:
        dataset.to_netcdf(temporary, engine="netcdf4", encoding=encoding)


def _write_soundings(path: Path, truth: Mapping[str, Array], times: Array, world: Weather) -> None:
    sites = _Sites.random("S", _SOUNDINGS)
    parts = []
    for level in _LEVELS:
        names = [v for v in ("u", "v", "t", "r") if f"{v}{level}" in truth]
        seen = {v: _seen(truth[f"{v}{level}"], v, f"{v}{level}", sites, world) for v in names}
        parts.append(_table(sites, times, {"pressure": level, **{n: np.round(v, 6) for n, v in seen.items()}}))
    table = pd.concat(parts).sort_values(["time", "station", "pressure"], kind="stable")
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False)


def _write_gauges(path: Path, truth: Mapping[str, Array], times: Array, world: Weather) -> None:
    sites = _Sites.random("G", _GAUGES)
    rate = np.round(np.maximum(_seen(truth["rr"], "rr", "rr", sites, world), 0.0), 2)
    with atomic(path) as temporary:
        _table(sites, times, {"rain": rate}).to_csv(temporary, index=False)


def _seen(field_TYX: Array, variable: str, purpose: str, sites: _Sites, world: Weather) -> Array:
    """What instruments at the sites read, [time, site]."""
    index, weight = weights_of(world.sqg.grid(), sites.latitude, sites.longitude)
    exact = (field_TYX.reshape(len(field_TYX), -1)[:, index] * weight).sum(axis=-1)
    members = torch.arange(exact.shape[0])
    noise = normal(_SEED, stream("station error", purpose), members, torch.arange(exact.shape[1])).numpy()
    return np.asarray(exact + _ERRORS[variable] * noise.reshape(exact.shape))


def _table(sites: _Sites, times: Array, columns: Mapping[str, Array | int]) -> pd.DataFrame:
    """One row a report: sites and times, and columns [time, site]."""
    t, s = (a.ravel() for a in np.indices((len(times), len(sites.names))))
    head = {
        "station": sites.names[s],
        "time": np.datetime_as_string(times[t], unit="s"),
        "lat": sites.latitude[s],
        "lon": sites.longitude[s],
    }
    return pd.DataFrame(head | {n: v if isinstance(v, int) else v.ravel() for n, v in columns.items()})
