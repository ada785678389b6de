"""A world of 8 x 12 points in the file formats of others, and the command line that works on it.

Truth: for each channel six smooth patterns with AR(1) amplitudes, x_k = a x_{k-1} + sqrt(1 - a^2) n, a = 0.9, 200 times
six hours apart. Archive: packed NetCDF as the Climate Data Store wrote it before 2024 (int16 with scale and offset,
latitude from north to south, hours since 1900). Stations: 60 places with noise, in hPa and degrees Celsius.
"""

import io
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pandas as pd
import pytest

from stormda.cli.console import Console
from stormda.cli.main import main

START = np.datetime64("2019-01-01T00", "s")
STEP = np.timedelta64(6 * 3600, "s")
TIMES = START + np.arange(200) * STEP
FIRST = 160  # of the analysis times; the priors learn from what comes before
LATITUDE, LONGITUDE = np.arange(54.0, 39.0, -2.0), np.arange(0.0, 24.0, 2.0)
NORMAL, SD, ERROR = np.array([101325.0, 280.0]), np.array([800.0, 5.0]), np.array([100.0, 1.0])
STATIONS = 60


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class World:
    """The files of the world and a run folder in which they are ingested.

    Args:
        folder: config.yaml, archive.nc and stations.csv.
        truth: [T, C, H, W] at TIMES, msl [Pa] and t2m [K].
    """

    folder: Path
    truth: np.ndarray[Any, Any]

    @property
    def config(self) -> Path:
        """The configuration."""
        return self.folder / "config.yaml"


def command(*arguments: object) -> Ended:
    """Run one command in this process; no test inherits loggers or signal handlers of another."""
    texts = [str(a) for a in arguments]
    root, ours = logging.getLogger(), logging.getLogger("stormda")
    handlers, levels, argv = list(root.handlers), (root.level, ours.level), sys.argv
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["stormda", *texts]
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
            main(texts)
    finally:
        sys.argv, root.handlers = argv, handlers
        root.setLevel(levels[0])
        ours.setLevel(levels[1])
        logging.captureWarnings(False)
        Console._current = None
        for number, handler in signals.items():
            signal.signal(number, handler)
    return Ended(int(end.value.code or 0), out.getvalue(), err.getvalue())


def stamp(k: int) -> str:
    """The time of index k as the command line reads it."""
    return f"{np.datetime_as_string(TIMES[k], unit='h')}Z"


def true_fields() -> np.ndarray[Any, Any]:
    """The truth [T, C, H, W]."""
    random = np.random.default_rng(5)
    y, x = np.meshgrid(np.linspace(0, 1, len(LATITUDE)), np.linspace(0, 1, len(LONGITUDE)), indexing="ij")
    waves = [(p, q) for p in range(2) for q in range(3)]
    patterns = np.stack([np.cos(np.pi * p * y) * np.cos(np.pi * q * x) for p, q in waves])
    amplitude = random.standard_normal((len(TIMES), 2, len(waves)))
    for k in range(1, len(TIMES)):
        amplitude[k] = 0.9 * amplitude[k - 1] + np.sqrt(1 - 0.9**2) * amplitude[k]
    fields = np.einsum("tcm,mhw->tchw", amplitude, patterns) / np.sqrt(2.0)
    return NORMAL[:, None, None] + SD[:, None, None] * fields


def write_archive(path: Path, truth: np.ndarray[Any, Any], **units: str) -> None:
    """Packed fields, north first."""
    with netCDF4.Dataset(path, "w", format="NETCDF3_64BIT_OFFSET") as file:
        for name, values in (("time", None), ("latitude", LATITUDE), ("longitude", LONGITUDE)):
            file.createDimension(name, len(TIMES if values is None else values))
        file.createVariable("longitude", "f4", ("longitude",))[:] = LONGITUDE
        file.createVariable("latitude", "f4", ("latitude",))[:] = LATITUDE
        time = file.createVariable("time", "i4", ("time",))
        time[:] = (TIMES - np.datetime64("1900-01-01")) // np.timedelta64(1, "h")
        time.setncatts({"units": "hours since 1900-01-01 00:00:0.0", "calendar": "gregorian", "long_name": "time"})
        for name, unit in (("longitude", "degrees_east"), ("latitude", "degrees_north")):
            file[name].units = unit
        for c, (name, unit) in enumerate((("msl", "Pa"), ("t2m", "K"))):
            field = file.createVariable(name, "i2", ("time", "latitude", "longitude"), fill_value=-32767)
            field.setncatts(
                {
                    "scale_factor": SD[c] / 4000,
                    "add_offset": NORMAL[c],
                    "units": units.get(name, unit),
                    "long_name": name,
                }
            )
            field[:] = truth[:, c]


def _bilinear(truth: np.ndarray[Any, Any], latitude: Any, longitude: Any) -> np.ndarray[Any, Any]:
    """The truth at places, [T, C, S]."""
    r, c = (LATITUDE[0] - latitude) / 2.0, (longitude - LONGITUDE[0]) / 2.0
    i, j = np.floor(r).astype(int), np.floor(c).astype(int)
    u, v = r - i, c - j
    near = truth[..., i, j] * (1 - u) * (1 - v) + truth[..., i, j + 1] * (1 - u) * v
    return near + truth[..., i + 1, j] * u * (1 - v) + truth[..., i + 1, j + 1] * u * v


def reports(truth: np.ndarray[Any, Any], indices: Sequence[int]) -> pd.DataFrame:
    """What the stations report at times of those indices."""
    random = np.random.default_rng(6)
    latitude = np.round(random.uniform(40.1, 53.9, STATIONS), 3)
    longitude = np.round(random.uniform(0.1, 21.9, STATIONS), 3)
    exact = _bilinear(truth, latitude, longitude)
    parts = []
    for k in indices:
        seen = exact[k] + ERROR[:, None] * np.random.default_rng([7, k]).standard_normal((2, STATIONS))
        parts.append(
            pd.DataFrame(
                {
                    "station": [f"ST{n:03d}" for n in range(STATIONS)],
                    "time": np.datetime_as_string(TIMES[k], unit="s"),
                    "lat": latitude,
                    "lon": longitude,
                    "pressure": np.round(seen[0] / 100, 2),
                    "temperature": np.round(seen[1] - 273.15, 2),
                }
            )
        )
    return pd.concat(parts)


def configuration() -> dict[str, Any]:
    return {
        "name": "tiny",
        "run_dir": "run",
        "channels": ["msl", "t2m"],
        "archive": {
            "sources": {"era": {"kind": "netcdf", "files": ["archive.nc"], "variables": {"msl": "msl", "t2m": "t2m"}}},
            "train": {"start": "2019-01-01", "end": str(TIMES[FIRST - 2])},
            "climatology": {"annual": 0, "diurnal": 0},
        },
        "observations": {
            "sources": {
                "stations": {
                    "kind": "table",
                    "files": ["stations.csv"],
                    "station_id": "station",
                    "time": "time",
                    "latitude": "lat",
                    "longitude": "lon",
                    "variables": {
                        "msl": {"column": "pressure", "unit": "hPa"},
                        "t2m": {"column": "temperature", "unit": "degC"},
                    },
                    "errors": {"msl": float(ERROR[0]), "t2m": float(ERROR[1])},
                }
            }
        },
        "quality": {"withhold": {"fraction": 0.3, "seeds": [0, 1]}},
        "history": {"first": "archive", "archive_error": 0.3},
        "gaussian": {"modes": 12},
        "sampler": {"steps": 8},
        "assimilate": {"ensemble": 8, "batch": 4},
        "storm": {"width": 16, "blocks": 1, "heads": 2, "latents": 4, "patch": 2},
        "train": {"steps": 60, "batch": 4, "warm_up": 5, "validate_every": 20, "checkpoint_every": "1s"},
    }


def visible(folder: Path) -> set[str]:
    """Every file below a folder that is not hidden and not within a hidden folder."""
    paths = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    return {str(p) for p in paths if not any(part.startswith(".") for part in p.parts)}


def hidden(folder: Path) -> set[str]:
    """Every half-made product below a folder."""
    return {str(p.relative_to(folder)) for p in folder.rglob(".*") if ".partial" in p.name or ".old" in p.name}


def child(arguments: Sequence[str], talk: Path) -> None:
    """Run one command in a process of its own, whose output goes to a file; ends the process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # The job of a shell in the background is born deaf to it.
    with talk.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    sys.argv = ["stormda", *arguments]
    main(list(arguments))
