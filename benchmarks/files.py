"""What becomes of every file of the data folder: a table of files, rows or fields read, used and rejected, and why.

    stormda ingest -c benchmarks/observations.yaml --json > observations.json
    stormda ingest -c examples/radar/volumes.yaml --json > radar.json
    python benchmarks/files.py observations.json radar.json

Observations are what these two commands say of them. Fields are read here, with `variables` and `filter` where a file
needs them; of a file that is refused the error is shown. A file that nobody reads and that has no reason below is an
error.
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stormda.config import GriddedSource
from stormda.errors import InputError
from stormda.sources.gridded import read_gridded

LEVELS = [f"{v}{p}" for p in (1000, 925, 850, 700, 500) for v in ("z", "t", "q", "u", "v")]
CHANNELS = ["t2m", "d2m", "msl", "sp", "tp", "u10", "v10", *LEVELS]
SETTINGS: dict[str, dict[str, Any]] = {
    "ncep_air995_northamerica_6h.nc": {"variables": {"t995": "air"}},
    "era5-levels-members.grib": {"filter": {"number": 3}},
    "nam.t00z.awp21100.tm00.grib2": {
        "filter": {"typeOfLevel": ["isobaricInhPa", "meanSea"], "shortName": ["t", "prmsl"]}
    },
    "hpa_and_pa.grib": {"channels": ["t1", "t0.1"]},
    "t_on_different_level_types.grib": {"channels": ["t100"]},
    "lambert_grid.grib": {"channels": ["t2m"]},
}
REASONS = {
    "README.md": "text",
    "obs/metar/nyc_airports.csv": "stations of nyc_airports_2013.csv, read with it",
    "obs/owm_city_attributes.csv": "stations of owm_us_cities_hourly.parquet, which has their places itself",
    "verification/ensembleBMA_uw_2004/srft.rda": "R's own format: forecasts to check scores with, no observations",
    "verification/expected_rmse_from_comments.txt": "text: published scores",
}


def observed(report: Path, root: Path) -> Iterator[tuple[set[str], str]]:
    """Of every source of a run: its files and its line of the table."""
    for source in json.loads(report.read_text())["sources"]:
        files = sorted(str(Path(f).relative_to(root)) for f in source["files"])
        name = files[0] if len(files) == 1 else f"{os.path.commonprefix(files)}*, {len(files)} files"
        used = source["codes"].get("used", 0)
        rejected = ", ".join(f"{n} {words}" for words, n in source["codes"].items() if words != "used")
        assert source["rows"] == sum(source["codes"].values())
        yield set(files), f"| `{name}` | {source['rows']} rows | {used} | {rejected} |"


def fields(path: Path, root: Path) -> str:
    own = dict(SETTINGS.get(path.name, {}))
    channels = own.pop("channels", [*own.get("variables", ()), *CHANNELS])
    kind = "netcdf" if path.suffix == ".nc" else "grib"
    source = GriddedSource.model_validate({"kind": kind, "files": [str(path)], **own})
    name = path.relative_to(root)
    try:
        states = list(read_gridded(source, channels, [path]))
    except InputError as error:
        return f"| `{name}` | refused | | {error.what} |"
    assert all(np.isfinite(s.values).all() for s in states)
    times, first = sum(len(s.times) for s in states), states[0]
    what = " ".join(c.name for c in first.channels) if len(first.channels) < 8 else f"{len(first.channels)} channels"
    shape = " x ".join(map(str, first.grid.shape))
    how = ", ".join(f"`{k}: {v}`" for k, v in own.items())
    return f"| `{name}` | {times} times of {shape} | {what} | {how} |"


def main() -> None:
    root = Path(os.environ["STORMDA_DATA"])
    left = {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}
    print("| file | read | used | rejected, or how |\n|---|---|---|---|")
    for report in sys.argv[1:]:
        for files, line in observed(Path(report), root):
            print(line)
            left -= files
    for path in sorted([*(root / "reanalysis").rglob("*.nc"), *(root / "grib").glob("*.grib*")]):
        print(fields(path, root), flush=True)
        left.discard(str(path.relative_to(root)))
    for name in sorted(left & REASONS.keys()):
        print(f"| `{name}` | not read | | {REASONS[name]} |")
    if left - REASONS.keys():
        sys.exit(f"nobody reads {', '.join(sorted(left - REASONS.keys()))}")


if __name__ == "__main__":
    main()
