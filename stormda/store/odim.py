"""Radar volumes in ODIM_H5, the format of OPERA: what simulated radars write, for any reader of the format.

Values are packed as in operations, a byte (reflectivity) or two (velocity) a gate, with two codes that are no values:
`nodata` where the radar did not measure, `undetect` where it measured and saw nothing. Rounding to the step is part of
what an observation is: 0.5 dB and 0.01 m s-1.

Source: EUMETNET OPERA 2021, Data Information Model for HDF5, version 2.4.
"""

__all__ = ["Beam", "write_volume"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import h5py
import numpy as np

from stormda.errors import OutputError
from stormda.store.publish import atomic
from stormda.types import Array

_PACKING = {  # quantity: type, gain, offset, nodata, undetect
    "DBZH": ("u1", 0.5, -32.0, 255, 0),
    "VRADH": ("u2", 0.01, -327.68, 65535, 0),
}


@dataclass(frozen=True, eq=False)
class Beam:
    """A sweep at one elevation.

    Args:
        elevation: degrees.
        start, end: datetime64, of the turn.
        step: m, length of a gate; the first begins at the radar.
        values: quantity (DBZH in dBZ, VRADH in m s-1): values, NaN where there is no echo [rays, gates]; rays are
            evenly spread over the circle, the first from north on.
        measured: where the radar looked [rays, gates].
        nyquist: m s-1; None: not told.
    """

    elevation: float
    start: np.datetime64
    end: np.datetime64
    step: float
    values: Mapping[str, Array]
    measured: Array
    nyquist: float | None = None


def write_volume(
    path: Path, source: str, latitude: float, longitude: float, height: float, beams: Sequence[Beam]
) -> None:
    """Write a volume; `path` appears when all of it is there.

    Args:
        path: the file.
        source: identifiers of the radar, such as `NOD:demo1`.
        latitude, longitude: degrees.
        height: of the antenna, m above mean sea level.
        beams: sweeps, in the order of scanning.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        with atomic(path) as temporary, h5py.File(temporary, "w") as file:
            file.attrs["Conventions"] = np.bytes_("ODIM_H5/V2_4")
            _set(file, "what", object="PVOL", version="H5rad 2.4", source=source, **_stamp(beams[0].start))
            _set(file, "where", lat=latitude, lon=longitude, height=height)
            for number, beam in enumerate(beams, 1):
                _write(file.create_group(f"dataset{number}"), beam)
    except OSError as error:
        raise OutputError(f"the volume cannot be written ({error})", file=path) from error


def _write(group: h5py.Group, beam: Beam) -> None:
    rays, gates = beam.measured.shape
    span = _stamp(beam.start, "start") | _stamp(beam.end, "end")
    _set(group, "what", product="SCAN", **span)
    where = {"elangle": beam.elevation, "rstart": 0.0, "rscale": beam.step, "a1gate": 0}
    _set(group, "where", nrays=rays, nbins=gates, **where)
    _set(group, "how", **({} if beam.nyquist is None else {"NI": beam.nyquist}))
    for number, (quantity, values) in enumerate(beam.values.items(), 1):
        kind, gain, offset, nodata, undetect = _PACKING[quantity]
        data = group.create_group(f"data{number}")
        _set(data, "what", quantity=quantity, gain=gain, offset=offset, nodata=float(nodata), undetect=float(undetect))
        codes = np.clip(np.round((np.nan_to_num(values) - offset) / gain), undetect + 1, nodata - 1)
        codes = np.where(np.isfinite(values), codes, undetect)
        packed = np.where(beam.measured, codes, nodata).astype(kind)
        data.create_dataset("data", data=packed, compression="gzip", compression_opts=6)


def _set(group: h5py.Group, name: str, **values: str | float) -> None:
    made = group.create_group(name)
    for key, value in values.items():
        made.attrs[key] = np.bytes_(value) if isinstance(value, str) else value


def _stamp(time: np.datetime64, prefix: str = "") -> dict[str, str | float]:
    moment = time.astype("datetime64[s]").astype(datetime)
    return {f"{prefix}date": moment.strftime("%Y%m%d"), f"{prefix}time": moment.strftime("%H%M%S")}
