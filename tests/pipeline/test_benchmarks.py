"""The queue for lent machines: it needs torch, numpy and safetensors alone, and goes on where a sitting ended."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_world import World

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
ABSENT = (
    "matplotlib",
    "netCDF4",
    "pandas",
    "pyarrow",
    "pydantic",
    "scipy",
    "scores",
    "typer",
    "xarray",
    "yaml",
    "zarr",
)


def test_the_queue_runs_in_two_sittings_without_any_other_library(tmp_path: Path) -> None:
    for name in ABSENT:
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} is not there')\n")
    environment = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(
        [str(BENCHMARKS / "gpu.sh"), "--smoke"], capture_output=True, text=True, env=environment, timeout=400
    )
    assert ended.returncode == 0, ended.stderr
    for piece in (
        "sqg",
        "sqg-demo",
        "lorenz96-40",
        "lorenz96-100",
        "north-america",
        "europe",
        "sqg64-tiles",
        "copy-tiles",
    ):
        assert f"{piece}: 2 steps" in ended.stdout and f"{piece}: 4 steps" in ended.stdout
    assert "sqg64-pair: loss" in ended.stdout


def test_an_archive_is_exported_as_it_would_be_trained_on(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data" / "tiny.npz"
    arguments = ["export.py", "-c", str(world.config), str(path), f"run_dir={world.folder / 'run'}"]
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(str(BENCHMARKS / "export.py"), run_name="__main__")
    read = runpy.run_path(str(BENCHMARKS / "worlds.py"))["exported"](path, "cpu")
    with np.load(path) as file:
        assert json.loads(str(file["facts"]))["channels"] == ["msl", "t2m"]
    assert read.train.fields.shape[1:] == (2, 8, 12) and read.grid.shape == (8, 12)
    # Anomalies in standard deviations of the training period, of which the first nine tenths are learned.
    assert float(read.train.fields.square().mean()) == pytest.approx(1.0, abs=0.25)
    physical = read.normaliser.decode(read.train.fields[:1].numpy(), read.train.times[0])[0]
    np.testing.assert_allclose(physical, world.truth[0], rtol=2e-4)  # packed to a quarter of a thousandth of an sd
