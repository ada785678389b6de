"""Files of a centre's own model for the tiny world: members in NetCDF and GRIB, states one time a file.

A state errs by smooth patterns, sd times the climatological standard deviation.
"""

from pathlib import Path
from typing import Any

import eccodes
import netCDF4
import numpy as np
from tiny_world import LATITUDE, LONGITUDE, SD, TIMES

Array = np.ndarray[Any, Any]
GRIB = {"msl": {"shortName": "prmsl", "typeOfLevel": "meanSea"}, "t2m": {"shortName": "2t"}}


def errors(count: int, seed: int, sd: float = 0.4) -> Array:
    """Smooth fields [count, C, H, W] of that standard deviation in climatological units, physical."""
    random = np.random.default_rng(seed)
    y, x = np.meshgrid(np.linspace(0, 1, len(LATITUDE)), np.linspace(0, 1, len(LONGITUDE)), indexing="ij")
    waves = [(p, q) for p in range(2) for q in range(3)]
    patterns = np.stack([np.cos(np.pi * p * y) * np.cos(np.pi * q * x) for p, q in waves])
    amplitude = random.standard_normal((count, 2, len(waves))) / np.sqrt(2.0)
    return sd * SD[:, None, None] * np.einsum("mcw,whx->mchx", amplitude, patterns)


def write_netcdf(path: Path, values: Array, k: int | list[int], *, members: bool = True, **names: str) -> None:
    """[M, C, H, W] with a dimension `number`, or [T, C, H, W] at times of those indices; north first."""
    times = np.atleast_1d(np.asarray(k))
    with netCDF4.Dataset(path, "w") as file:
        if members:
            file.createDimension("number", len(values))
            file.createVariable("number", "i4", ("number",))[:] = np.arange(len(values))
        file.createDimension("valid_time", len(times))
        time = file.createVariable("valid_time", "i8", ("valid_time",))
        time.units = "hours since 2000-01-01"
        time[:] = (TIMES[times] - np.datetime64("2000-01-01")) // np.timedelta64(1, "h")
        for name, unit, axis in (("latitude", "degrees_north", LATITUDE), ("longitude", "degrees_east", LONGITUDE)):
            file.createDimension(name, len(axis))
            variable = file.createVariable(name, "f4", (name,))
            variable.units = unit
            variable[:] = axis
        dims = (*(("number",) if members else ()), "valid_time", "latitude", "longitude")
        for c, (name, unit) in enumerate((("msl", "Pa"), ("t2m", "K"))):
            field = file.createVariable(names.get(name, name), "f4", dims, fill_value=-999.0)
            field.units = unit
            field[:] = values[:, None, c] if members else values[:, c]


def grib(values_HW: Array, name: str, k: int, **keys: Any) -> bytes:
    """One field as a GRIB 2 message."""
    handle = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib2")
    stamp = np.datetime_as_string(TIMES[k], unit="m")
    place = {
        "Ni": len(LONGITUDE),
        "Nj": len(LATITUDE),
        "latitudeOfFirstGridPointInDegrees": LATITUDE[0],
        "longitudeOfFirstGridPointInDegrees": LONGITUDE[0],
        "latitudeOfLastGridPointInDegrees": LATITUDE[-1],
        "longitudeOfLastGridPointInDegrees": LONGITUDE[-1],
        "iDirectionIncrementInDegrees": 2,
        "jDirectionIncrementInDegrees": 2,
    }
    when = {"dataDate": int(stamp[:10].replace("-", "")), "dataTime": int(stamp[11:13]) * 100}
    for key, value in ({"bitsPerValue": 24} | place | when | keys | GRIB[name]).items():
        eccodes.codes_set(handle, key, value)
    eccodes.codes_set_values(handle, values_HW.ravel())
    data = bytes(eccodes.codes_get_message(handle))
    eccodes.codes_release(handle)
    return data


def write_grib(path: Path, values: Array, k: int, *, numbered: bool = True) -> None:
    """[M, C, H, W]: members told apart by `number`; or, of one member, a plain field."""
    parts = []
    for number, member in enumerate(values):
        keys = {"productDefinitionTemplateNumber": 1, "number": number} if numbered else {}
        parts += [grib(field, name, k, **keys) for field, name in zip(member, GRIB, strict=True)]
    path.write_bytes(b"".join(parts))
