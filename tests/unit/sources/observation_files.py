"""Small files of observations and of fields, in every format but those of radars, written here."""

import gzip
import zipfile
from collections.abc import Mapping
from pathlib import Path

import eccodes
import netCDF4
import numpy as np
import pandas as pd
import xarray as xr

from stormda.observations import Observations
from stormda.store.ioda import write_ioda

METAR = b"2020/10/01 05:51\nKJFK 010551Z 31016G21KT 10SM FEW043 11/M02 A2992 RMK AO2 SLP132 P0003 T01061022\n\n" * 3
METAR_TABLE = (
    b"raw,time,lat,lon,elev\n"
    b'"METAR EDDF 010550Z 24005KT 9999 FEW030 11/08 Q1013",1601531400,50.0,8.6,111\n'
    b'"SPECI KJFK 010551Z 31016G21KT 10SM 11/M02 A2992 RMK SLP132",1601531460,40.6,-73.8,4\n'
)
ISD = b"STATION,DATE,LATITUDE,LONGITUDE,ELEVATION,TMP\n" + b'"1","2020-01-01T00:00:00","50","8","9","+0056,1"\n' * 3
GHCNH = (
    b"STATION|DATE|LATITUDE|LONGITUDE|ELEVATION|temperature|wind_speed|wind_direction\nX|2020-01-01T00|5|8|9|3|4|50\n"
)
VOBS = b"    2   0   4\n 2\n TT 0\n PS 0\n0001001 70.9 -8.6 9.0 270.2 1009.2\n0001002 60.9 -8.6 9.0 271.2 1008.2\n"
CSV = b"id,time,lat,lon,t\nA,2020-01-01T00:00,50,8,280\nB,2020-01-01T01:00,51,9,281\n"

_TIME = {"year": 2019, "month": 2, "day": 17, "hour": 12, "minute": 0, "latitude": 70.9, "longitude": -8.7}
_SYNOP = {"heightOfStation": 9, "airTemperatureAt2M": 270.2, "pressureReducedToMeanSeaLevel": 100920.0}
_TEMP = {"heightOfStation": 9, "#1#pressure": 85000.0, "#1#verticalSoundingSignificance": 32}
_TEMP |= {"#1#airTemperature": 261.8, "#1#windDirection": 270, "#1#windSpeed": 10.0}
_TEMP |= {"#2#pressure": 50000.0, "#2#verticalSoundingSignificance": 32, "#2#airTemperature": 240.0}
_FLIGHT = {"aircraftFlightNumber": "DLH438", "airTemperature": 222.2, "pressure": 25000.0}
_TEMPLATES: Mapping[str, tuple[int, list[int], Mapping[str, object]]] = {
    "synop": (0, [307005], _SYNOP),
    "temp": (2, [309007], _TEMP),
    "aircraft": (
        4,
        [1006, 4001, 4002, 4003, 301012, 5002, 6002, 7004, 7002, 11001, 11002, 12001],
        _FLIGHT | {"windDirection": 270, "windSpeed": 30.0},
    ),
}


def bufr(path: Path, report: str) -> None:
    """Three messages of a station, a sounding of two levels, or an aircraft."""
    category, descriptors, values = _TEMPLATES[report]
    for station in (1, 2, 3):
        handle = eccodes.codes_bufr_new_from_samples("BUFR4")
        if report == "temp":
            eccodes.codes_set_array(handle, "inputDelayedDescriptorReplicationFactor", (2,))
        eccodes.codes_set(handle, "masterTablesVersionNumber", 28)
        eccodes.codes_set(handle, "dataCategory", category)
        eccodes.codes_set_array(handle, "unexpandedDescriptors", descriptors)
        named = {} if report == "aircraft" else {"blockNumber": 1, "stationNumber": station}
        for key, value in {**_TIME, **named, **values}.items():
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


def packed(path: Path) -> None:
    """The same, compressed."""
    madis(path)
    path.write_bytes(gzip.compress(path.read_bytes()))


def ioda(path: Path) -> None:
    """Ten temperatures."""
    names: dict[str, object] = {"report_id": "a", "station_id": "a", "platform": "synop", "source": "obs"}
    names |= {"variable": "t2m", "latitude": 50.0, "longitude": 8.0, "value": np.linspace(270.0, 280.0, 10)}
    names["time"] = np.datetime64("2020-01-01") + np.arange(10).astype("timedelta64[h]")
    write_ioda(path, Observations.of(names), {})


def parquet(path: Path) -> None:
    """Two temperatures."""
    pd.DataFrame(
        {"id": ["A", "B"], "time": ["2020-01-01", "2020-01-02"], "lat": 50.0, "lon": 8.0, "t": 280.0}
    ).to_parquet(path)


# --- fields ----------------------------------------------------------------------------------------------------------


def netcdf(path: Path, form: str = "NETCDF4") -> None:
    """Two times of 4 x 5 points."""
    times = np.datetime64("2020-01-01", "ns") + np.arange(2) * np.timedelta64(1, "h")
    axes = {"time": times, "latitude": np.linspace(60, 45, 4), "longitude": np.arange(5.0)}
    values = np.linspace(270, 290, 40, dtype=np.float32).reshape(2, 4, 5)
    data = xr.DataArray(values, axes, tuple(axes), attrs={"units": "K"}).to_dataset(name="t2m")
    data.to_netcdf(path, format=form)  # type: ignore[call-overload]


def archive(path: Path) -> None:
    """The same in a ZIP archive."""
    inner = path.with_name("inner.nc")
    netcdf(inner, "NETCDF3_CLASSIC")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(inner, "data_stream-oper_stepType-instant.nc")
    inner.unlink()


def grib(path: Path, edition: int = 2) -> None:
    """Two messages, an hour apart."""
    with path.open("wb") as file:
        for hour in (0, 100):
            handle = eccodes.codes_grib_new_from_samples(f"regular_ll_sfc_grib{edition}")
            for key, value in {"dataDate": 20200229, "dataTime": hour, "shortName": "2t"}.items():
                eccodes.codes_set(handle, key, value)
            size = eccodes.codes_get_size(handle, "values")
            eccodes.codes_set_values(handle, np.linspace(270.0, 290.0, size))
            eccodes.codes_write(handle, file)
            eccodes.codes_release(handle)
