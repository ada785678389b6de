"""Write the standardised training and validation fields of an ingested archive to one .npz file.

    stormda ingest -c examples/north-america/twin.yaml
    python benchmarks/export.py -c examples/north-america/twin.yaml .carry/data/north-america.npz

The file holds all that a training needs besides torch, numpy and safetensors: `benchmarks/gpu.sh` reads it on a machine
where neither the archive nor the libraries that read it are.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from stormda import config as configuration
from stormda.pipeline import build
from stormda.pipeline.train import make_job
from stormda.store.publish import atomic
from stormda.time import format_time
from stormda.training.data import Series


def main() -> None:
    """Read the command line and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", "--config", type=Path, required=True)
    parser.add_argument("path", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    given = parser.parse_args()
    config = configuration.load(given.config, [*given.overrides, "train.memory=1e9"])
    job = make_job(config, build.archive(config))
    parts = {"train": job.train.sample(), "validation": job.validation}
    facts = {
        "data": f"{config.name}: {', '.join(_span(name, s) for name, s in parts.items())}",
        "channels": [c.name for c in job.normaliser.channels],
        "periodic": list(job.grid.periodic),
        "plane": job.grid.plane,
        "step_seconds": int(job.train.step / np.timedelta64(1, "s")),
    }
    arrays = {f"{name}_fields": s.fields.numpy() for name, s in parts.items()}
    arrays |= {f"{name}_times": s.times.astype("datetime64[s]").astype(np.int64) for name, s in parts.items()}
    arrays |= job.normaliser.arrays() | {"latitude": job.grid.latitude, "longitude": job.grid.longitude}
    given.path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(given.path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, facts=json.dumps(facts), **arrays)
    print(f"{given.path}: {facts['data']}, {given.path.stat().st_size / 2**20:.1f} MiB")


def _span(name: str, series: Series) -> str:
    return f"{name} {format_time(series.times[0])} to {format_time(series.times[-1])}, {len(series.times)} times"


if __name__ == "__main__":
    main()
