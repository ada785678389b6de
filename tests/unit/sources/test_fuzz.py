"""Files with random damage: the main process lives, nothing hangs, no row lacks a value or hides that it is nowhere,
no field that is read has a hole.

The everyday suite reads 100 damaged files of each kind, `make soak` 10 000. In one of 100 BUFR or HDF5 files
the damage keeps the library busy for longer than anybody waits: the worker's time limit is what ends it.
"""

import json
from collections.abc import Callable
from pathlib import Path

import eccodes
import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from pydantic import TypeAdapter

from stormda.config import GriddedSource, ReaderLimits
from stormda.config.sources import ObservationSource
from stormda.errors import InputError
from stormda.observations import QC, Observations
from stormda.pipeline.ingest_file import READERS
from stormda.sources.gridded import read_gridded
from stormda.store.ioda import write_ioda
from stormda.store.odim import Beam, write_volume

METAR = b"2020/10/01 05:51\nKJFK 010551Z 31016G21KT 10SM FEW043 11/M02 A2992 RMK AO2 SLP132 P0003 T01061022\n\n"
ISD = b"STATION,DATE,LATITUDE,LONGITUDE,ELEVATION,TMP\n" + b'"1","2020-01-01T00:00:00","50","8","9","+0056,1"\n' * 3
GHCNH = (
    b"STATION|DATE|LATITUDE|LONGITUDE|ELEVATION|temperature|wind_speed|wind_direction\nX|2020-01-01T00|5|8|9|3|4|50\n"
)
VOBS = b"    2   0   4\n 2\n TT 0\n PS 0\n0001001 70.9 -8.6 9.0 270.2 1009.2\n0001002 60.9 -8.6 9.0 271.2 1008.2\n"
CSV = b"id,time,lat,lon,t\nA,2020-01-01T00:00,50,8,280\nB,2020-01-01T01:00,51,9,281\n"
TABLE = {"kind": "table", "station_id": "id", "time": "time", "latitude": "lat", "longitude": "lon"}


def bufr(path: Path) -> None:
    """Three messages of a surface station."""
    for station in (1, 2, 3):
        handle = eccodes.codes_bufr_new_from_samples("BUFR4")
        eccodes.codes_set(handle, "masterTablesVersionNumber", 28)
        eccodes.codes_set(handle, "dataCategory", 0)
        eccodes.codes_set(handle, "unexpandedDescriptors", 307005)
        values = {"year": 2019, "month": 2, "day": 17, "hour": 12, "minute": 0, "latitude": 70.9, "longitude": -8.7}
        values |= {"blockNumber": 1, "stationNumber": station, "heightOfStation": 9, "airTemperatureAt2M": 270.2}
        for key, value in values.items():
            eccodes.codes_set(handle, key, value)
        eccodes.codes_set(handle, "pack", 1)
        with path.open("ab") as file:
            eccodes.codes_write(handle, file)
        eccodes.codes_release(handle)


def madis(path: Path) -> None:
    """Three reports of airports."""
    names = ["latitude", "longitude", "elevation", "timeObs", "temperature", "dewpoint", "windDir", "windSpeed"]
    names += ["seaLevelPress", "altimeter"]
    numbers = [40.0, 10.0, 5.0, 1125014400.0, 290.0, 280.0, 270.0, 5.0, 101000.0, 101325.0]
    with netCDF4.Dataset(path, "w", format="NETCDF3_CLASSIC") as file:
        file.createDimension("recNum", None)
        file.createDimension("len", 4)
        file.createVariable("stationName", "S1", ("recNum", "len"))[:] = np.array([list("KJFK")] * 3, dtype="S1")
        for name, value in zip(names, numbers, strict=True):
            file.createVariable(name, "f8", ("recNum",), fill_value=99999.0)[:] = np.full(3, value)
            file.createVariable(f"{name}DD", "S1", ("recNum",))[:] = np.array(["V", "V", "X"], dtype="S1")


def ioda(path: Path) -> None:
    """Ten temperatures."""
    names: dict[str, object] = {"report_id": "a", "station_id": "a", "platform": "synop", "source": "obs"}
    names |= {"variable": "t2m", "latitude": 50.0, "longitude": 8.0, "value": np.linspace(270.0, 280.0, 10)}
    names["time"] = np.datetime64("2020-01-01") + np.arange(10).astype("timedelta64[h]")
    write_ioda(path, Observations.of(names), {})


def radar(path: Path) -> None:
    """A volume of one small sweep."""
    rain = np.where(np.arange(8)[None, :] < 5, 30.0, np.nan).repeat(12, 0)
    start = np.datetime64("2020-07-01T12", "s")
    beam = Beam(1.0, start, start + 20, 5000.0, {"DBZH": rain}, np.ones(rain.shape, dtype=bool))
    write_volume(path, "NOD:demo1", 52.0, 5.0, 100.0, [beam])


def parquet(path: Path) -> None:
    """The table as Parquet."""
    pd.DataFrame(
        {"id": ["A", "B"], "time": ["2020-01-01", "2020-01-02"], "lat": 50.0, "lon": 8.0, "t": 280.0}
    ).to_parquet(path)


SAMPLES: dict[str, tuple[str, dict[str, object], Callable[[Path], object]]] = {
    "bufr": ("x.bufr", {"kind": "bufr", "report": "synop"}, bufr),
    "bufr_skip": ("x.bufr", {"kind": "bufr", "report": "synop", "broken": "skip"}, bufr),
    "madis": ("x.nc", {"kind": "madis", "report": "metar"}, madis),
    "ioda": ("x.nc4", {"kind": "ioda", "level": "surface"}, ioda),
    "metar": ("20201001.txt", {"kind": "metar"}, lambda path: path.write_bytes(METAR * 3)),
    "isd": ("x.csv", {"kind": "isd"}, lambda path: path.write_bytes(ISD)),
    "ghcnh": ("x.psv", {"kind": "ghcnh"}, lambda path: path.write_bytes(GHCNH)),
    "vobs": ("vobs2019021712", {"kind": "vobs"}, lambda path: path.write_bytes(VOBS)),
    "csv": ("x.csv", TABLE | {"variables": {"t2m": {"column": "t"}}}, lambda path: path.write_bytes(CSV)),
    "radar": ("x.h5", {"kind": "radar", "cell": None}, radar),
    "parquet": ("x.parquet", TABLE | {"variables": {"t2m": {"column": "t"}}}, parquet),
}


def damaged(clean: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes changed, a block zeroed, repeated or cut out, or the end cut off."""
    data = bytearray(clean)
    for _ in range(int(rng.integers(1, 4))):
        start = int(rng.integers(max(len(data), 1)))
        length = int(rng.integers(1, 64))
        how = rng.integers(5)
        if how == 0:
            for place in rng.integers(max(len(data), 1), size=length // 8 + 1):
                data[place : place + 1] = bytes([int(rng.integers(256))])
        elif how == 1:
            data[start : start + length] = bytes(min(length, len(data) - start))
        elif how == 2:
            data[start:start] = data[start : start + length]
        elif how == 3:
            del data[start : start + length]
        else:
            del data[start:]
    return bytes(data)


def check(kind: str, folder: Path, count: int) -> None:
    name, options, write = SAMPLES[kind]
    path = folder / name
    write(path)
    clean = path.read_bytes()
    adapter: TypeAdapter[ObservationSource] = TypeAdapter(ObservationSource)
    config = adapter.validate_python({"files": [str(path)], **options})
    read = READERS[config.kind]
    assert len(read(config, "obs", Path)) > 0
    if "limits" in type(config).model_fields:
        config = config.model_copy(update={"limits": ReaderLimits(seconds=1.0, gib=2.0)})
    rng = np.random.default_rng(13)
    for number in range(count):
        path.write_bytes(damaged(clean, rng) or b"\0")
        try:
            found = read(config, "obs", Path)
        except InputError:
            continue
        where = json.dumps({"kind": kind, "number": number})
        assert np.isfinite(found["value"]).all(), where
        placed = ~np.isnat(found["time"]) & np.isfinite(found["latitude"]) & np.isfinite(found["longitude"])
        assert (placed | (found["qc"] == QC.MISSING)).all(), where
        assert (np.isnan(found["error"]) | (found["error"] > 0)).all(), where


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_hundred_damaged_files(tmp_path: Path, kind: str) -> None:
    check(kind, tmp_path, 100)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", SAMPLES)
def test_ten_thousand_damaged_files(tmp_path: Path, kind: str) -> None:
    check(kind, tmp_path, 10_000)


# --- fields -----------------------------------------------------------------------------------------------------------


def netcdf(path: Path, form: str = "NETCDF4") -> None:
    """Two times of 4 x 5 points."""
    times = np.datetime64("2020-01-01", "ns") + np.arange(2) * np.timedelta64(1, "h")
    axes = {"time": times, "latitude": np.linspace(60, 45, 4), "longitude": np.arange(5.0)}
    values = np.linspace(270, 290, 40, dtype=np.float32).reshape(2, 4, 5)
    data = xr.DataArray(values, axes, tuple(axes), attrs={"units": "K"}).to_dataset(name="t2m")
    data.to_netcdf(path, format=form)  # type: ignore[call-overload]


def grib(path: Path) -> None:
    """Two messages, an hour apart."""
    with path.open("wb") as file:
        for hour in (0, 100):
            handle = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib2")
            for key, value in {"dataDate": 20200229, "dataTime": hour, "shortName": "2t"}.items():
                eccodes.codes_set(handle, key, value)
            size = eccodes.codes_get_size(handle, "values")
            eccodes.codes_set_values(handle, np.linspace(270.0, 290.0, size))
            eccodes.codes_write(handle, file)
            eccodes.codes_release(handle)


FIELDS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "netcdf4": ("netcdf", netcdf),
    "classic": ("netcdf", lambda path: netcdf(path, "NETCDF3_CLASSIC")),
    "grib": ("grib", grib),
}


def check_fields(name: str, folder: Path, count: int) -> None:
    kind, write = FIELDS[name]
    path = folder / "x"
    write(path)
    clean = path.read_bytes()
    whole = GriddedSource.model_validate({"kind": kind, "files": ["x"]})
    assert sum(len(s.times) for s in read_gridded(whole, ("t2m",), [path])) == 2
    source = whole.model_copy(update={"limits": ReaderLimits(seconds=1.0, gib=2.0)})
    rng = np.random.default_rng(17)
    for number in range(count):
        path.write_bytes(damaged(clean, rng) or b"\0")
        try:
            states = list(read_gridded(source, ("t2m",), [path]))
        except InputError:
            continue
        where = json.dumps({"kind": name, "number": number})
        assert all(np.isfinite(s.values).all() and not np.isnat(s.times).any() for s in states), where


@pytest.mark.parametrize("name", FIELDS)
def test_a_hundred_damaged_files_of_fields(tmp_path: Path, name: str) -> None:
    check_fields(name, tmp_path, 100)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", FIELDS)
def test_ten_thousand_damaged_files_of_fields(tmp_path: Path, name: str) -> None:
    check_fields(name, tmp_path, 10_000)
