"""Damaged files of every kind through the readers, and what became of them.

    python tests/unit/sources/fuzz.py 10000                 every kind, as a table
    python tests/unit/sources/fuzz.py 10000 bufr nexrad     some of them, by the beginning of their names

Half of the damaged HDF5 files are damaged through HDF5 itself (damage.py), all others in their bytes. A file whose
reader dies, or takes longer or needs more memory than the limits allow, is an error like any other, and the next file
is read by a new worker.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import observation_files as made
import radar_files as radar
from damage import damaged, restructured
from pydantic import TypeAdapter

from stormda.config import GriddedSource, ReaderLimits
from stormda.config.sources import ObservationSource
from stormda.errors import InputError
from stormda.observations import QC, Observations
from stormda.pipeline.ingest_file import READERS
from stormda.sources.gridded import read_gridded
from stormda.sources.worker import alive

_TABLE: dict[str, object] = {"kind": "table", "station_id": "id", "time": "time", "latitude": "lat", "longitude": "lon"}
_TABLE |= {"variables": {"t2m": {"column": "t"}}}
_COLUMNS = {"text": "raw", "time": "time", "latitude": "lat", "longitude": "lon", "elevation": "elev"}
_VOLUME: dict[str, object] = {"kind": "radar", "cell": None}
_LEVEL_2 = _VOLUME | {"unclear": "no_echo"}


@dataclass(frozen=True)
class Sample:
    """A kind of file: a clean one, how it is read, and what its damaged bytes still have to go through."""

    name: str
    options: Mapping[str, object]
    write: Callable[[Path], object]
    hdf5: bool = False
    finish: Callable[[bytes], bytes] = bytes


def _text(name: str, options: Mapping[str, object], content: bytes) -> Sample:
    return Sample(name, options, lambda path: path.write_bytes(content))


def _bufr(report: str, **more: str) -> Sample:
    return Sample("x.bufr", {"kind": "bufr", "report": report, **more}, lambda path: made.bufr(path, report))


def _nexrad(packed: bool) -> Sample:
    return Sample(
        "KLBB20200701_120000_V06",
        _LEVEL_2,
        lambda path: path.write_bytes(radar.nexrad()),
        finish=lambda short: radar.nexrad_file(short, packed),
    )


SAMPLES: Mapping[str, Sample] = {
    "bufr synop": _bufr("synop"),
    "bufr synop, broken: skip": _bufr("synop", broken="skip"),
    "bufr temp": _bufr("temp"),
    "bufr aircraft": _bufr("aircraft"),
    "metar": _text("20201001.txt", {"kind": "metar"}, made.METAR),
    "metar table": _text("x.csv", {"kind": "metar", "columns": _COLUMNS}, made.METAR_TABLE),
    "madis": Sample("x.nc", {"kind": "madis", "report": "metar"}, made.madis),
    "madis, gzip": Sample("x.nc.gz", {"kind": "madis", "report": "metar"}, made.packed),
    "vobs": _text("vobs2019021712", {"kind": "vobs"}, made.VOBS),
    "isd": _text("x.csv", {"kind": "isd"}, made.ISD),
    "ghcnh": _text("x.psv", {"kind": "ghcnh"}, made.GHCNH),
    "ioda": Sample("x.nc4", {"kind": "ioda", "level": "surface"}, made.ioda, hdf5=True),
    "table, csv": _text("x.csv", _TABLE, made.CSV),
    "table, parquet": Sample("x.parquet", _TABLE, made.parquet),
    "radar odim": Sample("x.h5", _VOLUME, radar.odim, hdf5=True),
    "radar nexrad": _nexrad(False),
    "radar nexrad, bzip2": _nexrad(True),
    "radar cfradial1": Sample("x.nc", _LEVEL_2, lambda path: radar.cfradial(path, "cfradial1"), hdf5=True),
    "radar cfradial2": Sample("x.nc", _LEVEL_2, lambda path: radar.cfradial(path, "cfradial2"), hdf5=True),
    "radar knmi": Sample("x.h5", _VOLUME, radar.knmi, hdf5=True),
    "radar mrms grib2": Sample("x.grib2", _VOLUME, radar.mrms),
    "radar opera composite": Sample("x.h5", _VOLUME, radar.odim_composite, hdf5=True),
    "radar rain netcdf": Sample("x.nc", _VOLUME, radar.netcdf, hdf5=True),
    "radar rain netcdf, classic": Sample("x.nc", _VOLUME, lambda path: radar.netcdf(path, "NETCDF3_CLASSIC")),
    "fields netcdf": Sample("x", {"kind": "netcdf"}, made.netcdf, hdf5=True),
    "fields netcdf, classic": Sample("x", {"kind": "netcdf"}, lambda path: made.netcdf(path, "NETCDF3_CLASSIC")),
    "fields netcdf, zip": Sample("x", {"kind": "netcdf"}, made.archive),
    "fields grib1": Sample("x", {"kind": "grib"}, lambda path: made.grib(path, 1)),
    "fields grib2": Sample("x", {"kind": "grib"}, made.grib),
}


@dataclass
class Outcome:
    """How many files were read, and how many refused; of the refused, those that ended or starved the worker."""

    files: int = 0
    read: int = 0
    refused: int = 0
    died: int = 0
    late: int = 0
    hungry: int = 0
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0
    longest: float = 0.0

    def refuse(self, error: InputError) -> None:
        """Count an error by what it says."""
        self.refused += 1
        self.died += "crashed" in error.what
        self.late += "took longer than" in error.what
        self.hungry += "GiB of memory" in error.what


def fuzz(kind: str, folder: Path, count: int, *, seconds: float = 1.0, seed: int = 13) -> Outcome:
    """Read `count` damaged files of a kind; `wrong` names by number those that were read and should not have been."""
    sample = SAMPLES[kind]
    path = folder / sample.name
    sample.write(path)
    short = path.read_bytes()
    clean = sample.finish(short)
    path.write_bytes(clean)
    assert _read(sample, path, None) == [], kind
    isolated = alive()
    limits, outcome, rng = ReaderLimits(seconds=seconds, gib=2.0), Outcome(), np.random.default_rng(seed)
    start = time.perf_counter()
    for number in range(count):
        if sample.hdf5 and number % 2:
            path.unlink()  # what HDF5 knows of the old file goes with it
            path.write_bytes(clean)
            restructured(path, rng)
        else:
            path.write_bytes(sample.finish(damaged(short, rng)))
        began = time.perf_counter()
        try:
            outcome.wrong += [f"{kind} {number}: {what}" for what in _read(sample, path, limits)]
            outcome.read += 1
        except InputError as error:
            outcome.refuse(error)
        except Exception as error:  # whatever else comes up would be a traceback
            outcome.wrong.append(f"{kind} {number}: {type(error).__name__}: {error}")
        outcome.longest = max(outcome.longest, time.perf_counter() - began)
        outcome.files += 1
        if isolated and not alive():
            path.write_bytes(clean)
            _read(sample, path, None)  # a new worker loads its libraries before its time is short again
    outcome.seconds = time.perf_counter() - start
    return outcome


def _config(sample: Sample, path: Path) -> Any:
    if sample.name == "x":
        return GriddedSource.model_validate({"files": [str(path)], **sample.options})
    adapter: TypeAdapter[ObservationSource] = TypeAdapter(ObservationSource)
    return adapter.validate_python({"files": [str(path)], **sample.options})


def _read(sample: Sample, path: Path, limits: ReaderLimits | None) -> list[str]:
    """What is wrong with what is read; raises InputError for a file that is refused."""
    config = _config(sample, path)
    if limits is not None and "limits" in type(config).model_fields:
        config = config.model_copy(update={"limits": limits})
    if isinstance(config, GriddedSource):
        states = list(read_gridded(config, ("t2m",), [path]))
        good = all(np.isfinite(s.values).all() and not np.isnat(s.times).any() for s in states)
        return [] if good and (states or limits) else ["a field has a hole"]
    found = READERS[config.kind](config, "obs", Path)
    return _faults(found) if len(found) or limits else ["a clean file has no row"]


def _faults(found: Observations) -> list[str]:
    placed = ~np.isnat(found["time"]) & np.isfinite(found["latitude"]) & np.isfinite(found["longitude"])
    checks = {
        "a row without a value": np.isfinite(found["value"]),
        "a row that is nowhere and does not say so": placed | (found["qc"] == QC.MISSING),
        "an error that is not above 0": np.isnan(found["error"]) | (found["error"] > 0),
    }
    return [what for what, good in checks.items() if not good.all()]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int)
    parser.add_argument("kinds", nargs="*")
    parser.add_argument("--seconds", type=float, default=5.0, help="time limit of a file")
    parser.add_argument("--seed", type=int, default=13)
    arguments = parser.parse_args()
    columns = ["reader", "files", "read", "refused", "worker died", "time limit", "memory limit", "wrong", "s a file"]
    print(f"| {' | '.join(columns)} | longest |\n{'|---' * (len(columns) + 1)}|")
    for kind in SAMPLES:
        if arguments.kinds and not any(kind.startswith(k) for k in arguments.kinds):
            continue
        with tempfile.TemporaryDirectory() as folder:
            o = fuzz(kind, Path(folder), arguments.count, seconds=arguments.seconds, seed=arguments.seed)
        cells = [kind, o.files, o.read, o.refused, o.died, o.late, o.hungry, len(o.wrong)]
        print(f"| {' | '.join(map(str, cells))} | {o.seconds / o.files:.4f} | {o.longest:.2f} |", flush=True)
        print(*o.wrong[:20], sep="\n", end="\n" if o.wrong else "", flush=True)


if __name__ == "__main__":
    main()
