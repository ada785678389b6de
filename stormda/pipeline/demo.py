"""Stage `demo`: the whole job on the embedded world, a surface quasi-geostrophic nature run in real file formats.

    nature run -> archive.nc, truth.nc (ERA5 layout), stations.csv -> ingest -> assimilate -> verify

The nature run goes on from a developed state that the package ships; nothing of it was seen in the training of the
shipped prior `sqg-demo`, whose trajectory started elsewhere.
"""

__all__ = ["DemoResult", "demo", "write_world"]

import resource
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

from stormda import config as configuration
from stormda.nature.sqg import SQG
from stormda.operators.interpolate import weights_of
from stormda.pipeline.assimilate import assimilate
from stormda.pipeline.ingest import ingest
from stormda.pipeline.verify import VerifyResult, verify
from stormda.random import normal, stream, uniform
from stormda.store.publish import atomic, write_text
from stormda.types import Array, Progress, silent

START = np.datetime64("2030-01-01T00", "s")
STEP = np.timedelta64(6 * 3600, "s")
ARCHIVE_DAYS, CYCLES, STATIONS, ERROR, SEED = 15, 3, 1024, 1.0, 7


@dataclass(frozen=True)
class DemoResult:
    """What the demo made, its scores, the wall time of its stages in seconds and the peak memory of the process."""

    folder: str
    report: str
    seconds: dict[str, float]
    peak_mib: int
    scores: VerifyResult

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """The scores, for people."""
        return self.scores.table()


def demo(folder: Path, *, progress: Progress = silent) -> DemoResult:
    """Run the embedded world in `folder`: files, archive, observations, analyses, scores and a report with maps."""
    seconds: dict[str, float] = {}

    def timed(name: str, stage: Any) -> Any:
        start = perf_counter()
        result = stage()
        seconds[name] = round(perf_counter() - start, 1)
        return result

    timed("nature run", lambda: write_world(folder / "data", progress))
    text = files("stormda.templates").joinpath("configs/sqg-demo.yaml").read_text(encoding="utf-8")
    write_text(folder / "config.yaml", text)
    config = configuration.load(folder / "config.yaml")
    cycles = START + (ARCHIVE_DAYS * 4 + np.arange(CYCLES)) * STEP
    timed("ingest", lambda: ingest(config, progress=progress))
    timed("assimilate", lambda: assimilate(config, list(cycles), progress=progress))
    scores = timed("verify", lambda: verify(config, progress=progress))
    report = config.run / "verification" / config.assimilate.method / "report.html"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (2**20 if sys.platform == "darwin" else 2**10)
    return DemoResult(str(folder), str(report), seconds, peak, scores)


def write_world(folder: Path, progress: Progress = silent) -> None:
    """Write `archive.nc` (the past), `truth.nc` (the analysis times) and `stations.csv` (what stations report)."""
    sqg = SQG()
    state = torch.as_tensor(np.load(str(files("stormda.nature").joinpath("sqg-developed.npy"))))[None]
    steps = ARCHIVE_DAYS * 4 + CYCLES
    fields = []
    for k, theta in enumerate(sqg.run(state, steps)):
        progress("nature run", k + 1, steps)
        fields.append(theta[0].numpy())
    values, times = np.stack(fields), START + np.arange(steps) * STEP
    grid = sqg.grid()
    past = steps - CYCLES
    folder.mkdir(parents=True, exist_ok=True)
    _write_netcdf(folder / "archive.nc", values[:past], times[:past], grid.latitude, grid.longitude)
    _write_netcdf(folder / "truth.nc", values[past:], times[past:], grid.latitude, grid.longitude)
    _write_stations(folder / "stations.csv", values[past:], times[past:], sqg)


def _write_netcdf(path: Path, values_TCHW: Array, times: Array, latitude: Array, longitude: Array) -> None:
    """The layout of ERA5 files: `valid_time`, latitude from north to south, a variable a field."""
    encoding = {"units": "seconds since 1970-01-01", "calendar": "proleptic_gregorian"}
    attributes = {"units": "K", "long_name": "potential temperature anomaly"}
    data = {
        f"theta{c}": (("valid_time", "latitude", "longitude"), values_TCHW[:, c, ::-1].astype(np.float32), attributes)
        for c in range(2)
    }
    coordinates = {
        "valid_time": ("valid_time", times.astype("datetime64[ns]"), {"standard_name": "time"}),
        "latitude": ("latitude", latitude[::-1], {"units": "degrees_north", "standard_name": "latitude"}),
        "longitude": ("longitude", longitude, {"units": "degrees_east", "standard_name": "longitude"}),
    }
    dataset = xr.Dataset(data, coordinates, {"Conventions": "CF-1.7", "institution": "stormda nature run"})
    with atomic(path) as temporary:
        dataset.to_netcdf(temporary, engine="netcdf4", encoding={"valid_time": encoding})


def _write_stations(path: Path, values_TCHW: Array, times: Array, sqg: SQG) -> None:
    """Stations at random places report potential temperature at both boundaries, in degrees Celsius."""
    grid = sqg.grid()
    places = uniform(SEED, stream("places"), torch.arange(2), torch.arange(STATIONS)).numpy()
    low, high = grid.latitude.min(), grid.latitude.max()
    latitude = np.round(low + (high - low) * places[0], 3)
    longitude = np.round(360.0 * places[1], 3)
    index, weight = weights_of(grid, latitude, longitude)
    flat = values_TCHW.reshape(*values_TCHW.shape[:2], -1)
    exact = (flat[..., index] * weight).sum(axis=-1)  # [T, C, station]
    numbers = torch.arange(exact.shape[0] * exact.shape[1])
    noise = normal(SEED, stream("station error"), numbers, torch.arange(STATIONS)).numpy().reshape(exact.shape)
    t, c, s = (a.ravel() for a in np.indices(exact.shape))
    table = pd.DataFrame(
        {
            "station": [f"SQG{n:04d}" for n in s],
            "time": np.datetime_as_string(times[t], unit="s"),
            "lat": latitude[s],
            "lon": longitude[s],
            "boundary": c,
            "theta_degC": np.round((exact + ERROR * noise).ravel() - 273.15, 3),
        }
    )
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False)
