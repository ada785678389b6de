"""Ten million rows in, a window out of a hundred million, and fields at the speed of the disk.

    python benchmarks/scale.py rows FOLDER --kind csv --rows 10000000 --files 1
    python benchmarks/scale.py query FOLDER --rows 100000000
    python benchmarks/scale.py fields FOLDER --gib 4 -- --processes 2

`rows` writes synthetic reports of 5,000 stations, hour by hour, in one format, and times `stormda ingest` of them with
the default checks (range, duplicates, stuck, spike), in a process of its own: clock, processor time, and the largest
memory of that process and its worker together, sampled ten times a second. `query` fills a store with batches of a day
through the store's own writer, without reading or checking, and times windows of six hours over a box, each in random
places, the first of them with a cold manifest. `fields` writes hourly fields like a reanalysis, and times the ingest to
Zarr beside a plain copy of as many bytes (`dd`, with fsync). What is there already is not written again.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import yaml

from stormda.observations import Observations
from stormda.store.observations import Input, ObservationStore
from stormda.time import Window

STATIONS = 5000
START = np.datetime64("2020-01-01T00", "s")
TABLE = {
    "kind": "table",
    "station_id": "station",
    "time": "time",
    "latitude": "lat",
    "longitude": "lon",
    "elevation": "elev",
    "variables": {"t2m": {"column": "t2m"}},
}
OPTIONS = {
    "csv": (TABLE, ".csv"),
    "parquet": (TABLE, ".parquet"),
    "ioda": ({"kind": "ioda", "level": "surface"}, ".nc4"),
    "madis": ({"kind": "madis", "report": "metar"}, ".nc"),
}


def reports(first: int, count: int) -> pd.DataFrame:
    """Rows first..first + count of hourly temperatures of all stations."""
    rng = np.random.default_rng(first)
    number = np.arange(first, first + count)
    station, hour = number % STATIONS, number // STATIONS
    places = np.random.default_rng(1).uniform([-60, -180, 0], [75, 180, 2000], (STATIONS, 3)).round(3)
    cycle = 5.0 * np.sin(2 * np.pi * (hour / 24 + places[station, 1] / 360))
    return pd.DataFrame(
        {
            "station": np.char.mod("%05d", 10000 + np.arange(STATIONS))[station],
            "time": START + hour.astype("timedelta64[h]"),
            "lat": places[station, 0],
            "lon": places[station, 1],
            "elev": places[station, 2],
            "t2m": (285.0 + cycle - 0.3 * np.abs(places[station, 0]) + rng.normal(0, 1, count)).round(2),
        }
    )


def write(path: Path, kind: str, table: pd.DataFrame) -> None:
    if kind == "csv":
        csv.write_csv(pa.Table.from_pandas(table, preserve_index=False), path)
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), path)
    elif kind == "ioda":
        write_ioda(path, table)
    else:
        write_madis(path, table)


def write_ioda(path: Path, table: pd.DataFrame) -> None:
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("Location", len(table))
        meta, values = file.createGroup("MetaData"), file.createGroup("ObsValue")
        for name, column in (("latitude", "lat"), ("longitude", "lon"), ("stationElevation", "elev")):
            meta.createVariable(name, "f4", ("Location",), zlib=True)[:] = table[column].to_numpy()
        when = meta.createVariable("dateTime", "i8", ("Location",), zlib=True)
        when.units = "seconds since 1970-01-01T00:00:00Z"
        when[:] = table["time"].to_numpy().astype("datetime64[s]").astype(np.int64)
        meta.createVariable("stationIdentification", str, ("Location",))[:] = table["station"].to_numpy(dtype=object)
        values.createVariable("airTemperatureAt2M", "f4", ("Location",), zlib=True)[:] = table["t2m"].to_numpy()


def write_madis(path: Path, table: pd.DataFrame) -> None:
    """Six values a report: temperature, dew point, two pressures, and wind, which makes two rows."""
    t = table["t2m"].to_numpy()
    columns = {"latitude": table["lat"], "longitude": table["lon"], "elevation": table["elev"]}
    columns |= {"timeObs": table["time"].to_numpy().astype("datetime64[s]").astype(np.float64), "temperature": t}
    columns |= {"dewpoint": t - 4, "windDir": (t * 97) % 360, "windSpeed": t % 7 + 1}
    columns |= {"seaLevelPress": 1e5 + 20 * t, "altimeter": 1e5 + 20 * t}
    with netCDF4.Dataset(path, "w", format="NETCDF3_CLASSIC") as file:
        file.createDimension("recNum", None)
        file.createDimension("len", 5)
        names = np.frombuffer("".join(table["station"]).encode(), dtype="S1").reshape(-1, 5)
        file.createVariable("stationName", "S1", ("recNum", "len"))[:] = names
        for name, column in columns.items():
            file.createVariable(name, "f8", ("recNum",), fill_value=99999.0)[:] = np.asarray(column)
            file.createVariable(f"{name}DD", "S1", ("recNum",))[:] = np.full(len(table), b"V")


def measured(command: list[str]) -> tuple[float, float, float]:
    """Clock and processor time [s] and largest memory [GiB] of a command with all of its children."""
    start, most, spent = time.perf_counter(), 0, {}
    process = psutil.Popen(command)
    while process.poll() is None:
        used = 0
        try:
            for one in [process, *process.children(recursive=True)]:
                used += one.memory_info().rss
                spent[one.pid] = sum(one.cpu_times()[:2])
        except psutil.Error:
            continue
        most = max(most, used)
        time.sleep(0.1)
    if process.returncode:
        sys.exit(f"exit code {process.returncode}")
    return time.perf_counter() - start, sum(spent.values()), most / 2**30


def rows(folder: Path, kind: str, total: int, files: int) -> None:
    options, suffix = OPTIONS[kind]
    folder = folder / f"{kind}-{total}-{files}"
    (folder / "data").mkdir(parents=True, exist_ok=True)
    each, per = total // (6 if kind == "madis" else 1) // files, 1_000_000
    for number in range(files):
        path = folder / "data" / f"part{number:03d}{suffix}"
        if not path.exists():
            parts = [reports(number * each + a, min(per, each - a)) for a in range(0, each, per)]
            write(path, kind, pd.concat(parts, ignore_index=True))
    config = {
        "name": "scale",
        "run_dir": str(folder / "run"),
        "channels": ["t2m"],
        "observations": {"sources": {"many": {"files": [str(folder / "data" / f"*{suffix}")], **options}}},
        "quality": {"static": [{"check": c} for c in ("range", "duplicates", "stuck", "spike")]},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    subprocess.run(["rm", "-rf", str(folder / "run")], check=True)
    command = [sys.executable, "-m", "stormda", "ingest", "-c", str(folder / "config.yaml")]
    clock, spent, most = measured(command)
    stored = sum(int(str(r["rows"])) for r in ObservationStore(folder / "run" / "observations").summary())
    size = sum(p.stat().st_size for p in (folder / "data").iterdir())
    print(
        f"| {kind}, {files} file{'s' * (files > 1)} | {size / 1e6:.0f} | {stored} | {clock:.0f} | {spent:.0f} | "
        f"{stored / clock:.0f} | {most:.2f} |"
    )


def query(folder: Path, total: int) -> None:
    store = ObservationStore(folder / f"store-{total}")
    day = 24 * STATIONS * 8  # rows: reports every 7.5 minutes
    have = int(str(store.summary()[0]["batches"])) if store.summary() else 0
    began = time.perf_counter()
    for number in range(have, total // day):
        store.add(one_day(number, day), "many", Input(f"{number:05d}"))
    if have < total // day:
        print(f"{total // day - have} batches of {day} rows written in {time.perf_counter() - began:.0f} s")
    rng, seconds, found = np.random.default_rng(3), [], []
    for _ in range(20):
        end = START + np.timedelta64(int(rng.integers(6, 24 * (total // day))), "h")
        west, south = rng.uniform(-180, 140), rng.uniform(-60, 40)
        began = time.perf_counter()
        got = store.read(Window(end - np.timedelta64(6, "h"), end), bbox=(west, south, west + 40, south + 30))
        seconds.append(time.perf_counter() - began)
        found.append(len(got))
    print(json.dumps({"rows": total // day * day, "median_s": np.median(seconds), "longest_s": max(seconds),
                      "first_s": seconds[0], "rows_found": float(np.median(found))}))  # fmt: skip


def one_day(number: int, count: int) -> Observations:
    rng = np.random.default_rng(number)
    station = rng.integers(0, STATIONS, count)
    places = np.random.default_rng(1).uniform([-60, -180, 0], [75, 180, 2000], (STATIONS, 3)).round(3)
    names = np.char.mod("%05d", 10000 + np.arange(STATIONS)).astype(object)
    seconds = (np.arange(count) * (86400 / count)).astype(np.int64) + 1
    columns: dict[str, object] = {"platform": "synop", "source": "many", "variable": "t2m", "error": 1.0}
    columns |= {"report_id": names[station], "station_id": names[station], "elevation": places[station, 2]}
    columns |= {"latitude": places[station, 0], "longitude": places[station, 1]}
    columns |= {"time": START + np.timedelta64(number, "D") + seconds.astype("timedelta64[s]")}
    columns |= {"value": 280 + rng.normal(0, 8, count).round(2)}
    return Observations.of(columns)


def fields(folder: Path, gib: float, more: list[str]) -> None:
    """Hourly fields of 721 x 1440 points, two variables, a file a day, as float32."""
    (folder / "fields").mkdir(parents=True, exist_ok=True)
    days = max(1, round(gib * 2**30 / (24 * 2 * 721 * 1440 * 4)))
    for day in range(days):
        write_fields(folder / "fields" / f"day{day:03d}.nc", day)
    config = {
        "name": "scale",
        "run_dir": str(folder / "fields-run"),
        "channels": ["t2m", "msl"],
        "archive": {
            "sources": {
                "era": {"kind": "netcdf", "files": [str(folder / "fields" / f"day{d:03d}.nc") for d in range(days)]}
            },
            "step": "1h",
        },
    }
    (folder / "fields.yaml").write_text(yaml.safe_dump(config))
    size = sum((folder / "fields" / f"day{d:03d}.nc").stat().st_size for d in range(days))
    began = time.perf_counter()
    count = str(size >> 22)
    copy = ["dd", "if=/dev/zero", f"of={folder / 'copy'}", "bs=4M", f"count={count}", "conv=fsync", "status=none"]
    subprocess.run(copy, check=True)
    disk = size / (time.perf_counter() - began)
    (folder / "copy").unlink()
    subprocess.run(["rm", "-rf", str(folder / "fields-run")], check=True)
    clock, spent, most = measured([sys.executable, "-m", "stormda", "ingest", "-c", str(folder / "fields.yaml"), *more])
    zarr = sum(p.stat().st_size for p in (folder / "fields-run").rglob("*") if p.is_file())
    print(
        f"| {' '.join(more) or 'default'} | {size / 1e9:.2f} | {zarr / 1e9:.2f} | {clock:.0f} | {spent:.0f} | "
        f"{size / clock / 1e6:.0f} | {disk / 1e6:.0f} | {most:.2f} |"
    )


def write_fields(path: Path, day: int) -> None:
    if path.exists():
        return
    rng = np.random.default_rng(day)
    latitude, longitude = np.linspace(90, -90, 721), np.arange(1440) * 0.25
    wave = np.cos(np.deg2rad(latitude))[:, None] * np.cos(np.deg2rad(longitude))[None, :]
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("valid_time", 24), ("latitude", 721), ("longitude", 1440)):
            file.createDimension(name, size)
        when = file.createVariable("valid_time", "i8", ("valid_time",))
        when.units = "seconds since 1970-01-01"
        when[:] = (START + np.timedelta64(day, "D")).astype(np.int64) + 3600 * np.arange(24)
        for name, values, unit in (("latitude", latitude, "degrees_north"), ("longitude", longitude, "degrees_east")):
            file.createVariable(name, "f8", (name,)).units = unit
            file[name][:] = values
        for name, unit, middle, scale in (("t2m", "K", 280.0, 15.0), ("msl", "Pa", 1.01e5, 900.0)):
            x = file.createVariable(name, "f4", ("valid_time", "latitude", "longitude"))
            x.units = unit
            for hour in range(24):
                rough = rng.normal(0.0, 0.02, (721, 1440))
                x[hour] = (middle + scale * (wave * np.sin(hour / 4 + day) + rough)).round(3).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["rows", "query", "fields"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kind", choices=list(OPTIONS), default="csv")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--files", type=int, default=1)
    parser.add_argument("--gib", type=float, default=4.0)
    parser.add_argument("more", nargs="*", help="for fields: options of the ingest, after `--`")
    given = parser.parse_args()
    if given.what == "rows":
        rows(given.folder, given.kind, given.rows, given.files)
    elif given.what == "query":
        query(given.folder, given.rows)
    else:
        fields(given.folder, given.gib, given.more)


if __name__ == "__main__":
    main()
