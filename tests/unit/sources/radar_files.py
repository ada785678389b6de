"""Small radar files of every format, written here: a volume of one sweep, and pictures of 40 x 30 pixels."""

import bz2
import struct
import warnings
from pathlib import Path
from typing import Literal

import eccodes
import h5py
import netCDF4
import numpy as np
from pyproj import Proj

from stormda.store.odim import Beam, write_volume
from stormda.types import Array

# --- volumes ---------------------------------------------------------------------------------------------------------


def odim(path: Path) -> None:
    """Twelve rays of eight gates: rain in the first five, and wind there."""
    rain = np.where(np.arange(8)[None, :] < 5, 30.0, np.nan).repeat(12, 0)
    start = np.datetime64("2020-07-01T12", "s")
    values = {"DBZH": rain, "VRADH": rain / 3.0}
    beam = Beam(1.0, start, start + 20, 5000.0, values, np.ones(rain.shape, dtype=bool), 25.0)
    write_volume(path, "NOD:demo1", 52.0, 5.0, 100.0, [beam])


def cfradial(path: Path, form: Literal["cfradial1", "cfradial2"]) -> None:
    """The same in CfRadial, as xradar writes it."""
    import xradar

    whole = path.with_name("whole.h5")
    odim(whole)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = xradar.io.open_odim_datatree(whole, mask_and_scale=False).load()
        getattr(xradar.io, f"to_{form}")(tree, str(path))
    whole.unlink()


_HEADER = ">12xHBBHHIHH"
"""Of a message, behind 12 bytes that are not used: size [half words], channel, type, number, day, ms, segments."""
_RECORD, _FIRST = 2432, 134
"""Bytes of a record of what is known of the radar, and how many such records come before the first radial."""
_SHORT = 192  # bytes of a record that say something


def _message(kind: int, body: bytes) -> bytes:
    return struct.pack(_HEADER, (len(body) + 16) // 2, 0, kind, 1, 18445, 43_200_000, 1, 1) + body


def nexrad() -> bytes:
    """NEXRAD Level II, without the zeros that `nexrad_file` fills in: a scan pattern, a status, and twelve radials."""
    pattern = struct.pack(">HHHHHBB4xHH2x", 34, 2, 12, 1, 1, 2, 2, 0, 0) + struct.pack(">HBBBB", 91, 0, 1, 1, 1)
    parts = [b"AR2V0006.001" + struct.pack(">II4s", 18445, 43_200_000, b"KLBB")]
    parts += [_message(kind, body).ljust(_SHORT, b"\0") for kind, body in ((5, pattern), (2, bytes(120)))]
    for ray in range(12):
        status = 3 if ray == 0 else 4 if ray == 11 else 1
        blocks = [
            b"RVOL" + struct.pack(">HBBffhHfffffHH", 44, 1, 0, 33.65, -101.81, 993, 20, 0, 0, 0, 0, 0, 12, 0),
            b"RELV" + struct.pack(">Hhf", 12, 0, 0.0),
            b"RRAD" + struct.pack(">HhffhH", 28, 4660, -80.0, -80.0, 2500, 0),
        ]
        echo = bytes([0, 1, *range(80, 86)])
        for name, scale, offset in ((b"DREF", 2.0, 66.0), (b"DVEL", 2.0, 129.0)):
            about = struct.pack(">IHhhhhBBff", 0, len(echo), 2125, 250, 0, 0, 0, 8, scale, offset)
            blocks.append(name + about + echo)
        starts = [int(n) for n in np.cumsum([72, *map(len, blocks)])]
        head = struct.pack(">4sIHHf", b"KLBB", 43_200_000, 18445, ray + 1, 30.0 * ray)
        head += struct.pack(">BBHBBBBfBbH", 0, 0, starts[-1], 1, status, 1, 1, 0.5, 0, 0, len(blocks))
        pointers = struct.pack(">10I", *starts[:-1], 0, 0, 0, 0, 0)
        parts.append(_message(31, head + pointers + b"".join(blocks)))
    return b"".join(parts)


def nexrad_file(short: bytes, packed: bool) -> bytes:
    """The file of what `nexrad` gives, damaged or not: with the zeros between its records, and compressed or not."""
    head, pattern, status = short[:24], short[24 : 24 + _SHORT], short[24 + _SHORT : 24 + 2 * _SHORT]
    known = pattern.ljust((_FIRST - 1) * _RECORD, b"\0") + status.ljust(_RECORD, b"\0")
    radials = short[24 + 2 * _SHORT :]
    if not packed:
        return head + known + radials
    blocks = [bz2.compress(block, 1) for block in (known, radials)]
    return head + b"".join(struct.pack(">i", len(block)) + block for block in blocks)


# --- pictures --------------------------------------------------------------------------------------------------------

SHAPE = (40, 30)


def rain() -> Array:
    """Millimetres: 2 in the south, nothing in the north, and the first column not measured."""
    field = np.zeros(SHAPE)
    field[20:] = 2.0
    field[:, 0] = np.nan
    return field


def odim_composite(path: Path) -> None:
    projection = "+proj=laea +lat_0=55.0 +lon_0=10.0 +ellps=WGS84"
    left, top = Proj(projection)(-20_000.0, 30_000.0, inverse=True)
    with h5py.File(path, "w") as file:
        file.create_group("what").attrs.update({"object": b"COMP", "date": b"20200701", "time": b"120000"})
        where = {"projdef": projection, "UL_lon": left, "UL_lat": top, "xscale": 2000.0, "yscale": 2000.0}
        file.create_group("where").attrs.update(where)
        for number, quantity in ((1, "RATE"), (2, "QIND")):
            data = file.create_group(f"dataset{number}/data1")
            values = np.where(np.isnan(rain()), -9.0, np.where(rain() == 0.0, -8.0, rain()))
            data["data"] = (
                values if quantity == "RATE" else np.linspace(0.0, 1.0, SHAPE[1])[None, :].repeat(SHAPE[0], 0)
            )
            about = {"quantity": quantity, "gain": 1.0, "offset": 0.0, "nodata": -9.0, "undetect": -8.0}
            file.create_group(f"dataset{number}/what").attrs.update(about)


def knmi(path: Path) -> None:
    with h5py.File(path, "w") as file:
        times = {
            "product_datetime_start": b"01-JUL-2020;11:55:00.000",
            "product_datetime_end": b"01-JUL-2020;12:00:00.000",
        }
        file.create_group("overview").attrs.update(times)
        where = {"geo_column_offset": 0.0, "geo_row_offset": 3650.0, "geo_pixel_size_x": 1.0, "geo_pixel_size_y": -1.0}
        file.create_group("geographic").attrs.update(where)
        polar = "+proj=stere +lat_0=90 +lon_0=0.0 +lat_ts=60.0 +a=6378.137 +b=6356.752 +x_0=0 +y_0=0"
        file.create_group("geographic/map_projection").attrs["projection_proj4_params"] = polar
        image = file.create_group("image1")
        image.attrs["image_geo_parameter"] = b"ACCUMULATED_PRECIPITATION_[MM]"
        image["image_data"] = np.where(np.isnan(rain()), 65535, np.nan_to_num(rain()) * 100).astype(np.uint16)
        formula = {"calibration_formulas": b"GEO=0.01*PV+0.0", "calibration_missing_data": 65535}
        image.create_group("calibration").attrs.update(formula)


def mrms(path: Path) -> None:
    handle = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib2")
    rows, columns = SHAPE
    keys: dict[str, float] = {
        "discipline": 209,
        "parameterCategory": 6,
        "parameterNumber": 1,
        "Ni": columns,
        "Nj": rows,
    }
    keys |= {"dataDate": 20200701, "dataTime": 1200, "jScansPositively": 0, "bitsPerValue": 16}
    keys |= {"latitudeOfFirstGridPointInDegrees": 50.0, "longitudeOfFirstGridPointInDegrees": 260.0}
    keys |= {"latitudeOfLastGridPointInDegrees": 50.0 - 0.01 * (rows - 1)}
    keys |= {"longitudeOfLastGridPointInDegrees": 260.0 + 0.01 * (columns - 1)}
    keys |= {"iDirectionIncrementInDegrees": 0.01, "jDirectionIncrementInDegrees": 0.01}
    for key, value in keys.items():
        eccodes.codes_set(handle, key, value)
    eccodes.codes_set_values(handle, np.where(np.isnan(rain()), -3.0, rain()).ravel())
    with path.open("wb") as file:
        eccodes.codes_write(handle, file)
    eccodes.codes_release(handle)


def netcdf(path: Path, kind: Literal["NETCDF4", "NETCDF3_CLASSIC"] = "NETCDF4") -> None:
    with netCDF4.Dataset(path, "w", format=kind) as file:
        for name, size in zip(("y", "x"), SHAPE, strict=True):
            file.createDimension(name, size)
            axis = file.createVariable(name, "f8", (name,))
            axis.units = "km"
            axis[:] = np.arange(size) if name == "x" else -np.arange(size)
        crs = file.createVariable("crs", "i4", ())
        crs.setncatts({"grid_mapping_name": "lambert_azimuthal_equal_area", "semi_major_axis": 6378137.0})
        crs.setncatts({"longitude_of_projection_origin": 10.0, "latitude_of_projection_origin": 55.0})
        crs.setncatts({"semi_minor_axis": 6356752.3, "false_easting": 0.0, "false_northing": 0.0})
        for name, end in (("start_time", 1593604200), ("valid_time", 1593604800)):
            clock = file.createVariable(name, "f8", ())
            clock.units = "seconds since 1970-01-01 00:00:00 UTC"
            clock[...] = end
        data = file.createVariable("precipitation", "f4", ("y", "x"), fill_value=-1.0)
        data.setncatts({"units": "kg m-2", "standard_name": "precipitation_amount", "grid_mapping": "crs"})
        data[:] = np.ma.masked_invalid(rain())
