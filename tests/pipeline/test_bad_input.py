"""What is broken, how it ends: a line naming the file or key and the way out, an exit code, nothing half-written."""

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import torch
import xarray as xr
import yaml
from safetensors.torch import save_file
from tiny_world import FIRST, LATITUDE, LONGITUDE, Ended, World, command, hidden, stamp, visible, write_archive

CYCLE = ("--cycle", stamp(FIRST))


@dataclass(frozen=True)
class Case:
    """A mistake.

    Args:
        name: in words.
        verb: and arguments of the command.
        code: that it ends with.
        words: that the line contains.
        spoil: makes the mistake in a copy of the world's folder.
    """

    name: str
    verb: tuple[str, ...]
    code: int
    words: tuple[str, ...]
    spoil: Callable[[Path], object] = lambda folder: None


def _edit(**changes: Any) -> Callable[[Path], object]:
    """Change keys of the configuration: `a__b=1` sets a.b."""

    def edit(folder: Path) -> None:
        tree = yaml.safe_load((folder / "config.yaml").read_text())
        for key, value in changes.items():
            node = tree
            *parents, last = key.split("__")
            for part in parents:
                node = node.setdefault(part, {})
            node[last] = value
        (folder / "config.yaml").write_text(yaml.safe_dump(tree))

    return edit


def _cut(name: str, share: float) -> Callable[[Path], object]:
    """Cut a file off."""

    def cut(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(share * len(data))])

    return cut


def _both(*spoils: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: [spoil(folder) for spoil in spoils]


def _as_netcdf4(folder: Path) -> None:
    """The archive again, in HDF5."""
    with netCDF4.Dataset(folder / "archive.nc") as old, netCDF4.Dataset(folder / "new.nc", "w") as new:
        for name, dimension in old.dimensions.items():
            new.createDimension(name, dimension.size)
        for name, variable in old.variables.items():
            copy = new.createVariable(name, "f4" if variable.ndim == 3 else variable.dtype, variable.dimensions)
            copy.setncatts({k: v for k, v in variable.__dict__.items() if k in ("units", "long_name", "calendar")})
            copy[:] = variable[:]
    (folder / "new.nc").replace(folder / "archive.nc")


def _fill(folder: Path) -> None:
    """The packed fill value at one point, as land is in an ocean field."""
    with netCDF4.Dataset(folder / "archive.nc", "a") as file:
        file["t2m"][17, 2, 3] = np.ma.masked


def _nan(folder: Path) -> None:
    _as_netcdf4(folder)
    with netCDF4.Dataset(folder / "archive.nc", "a") as file:
        file["msl"][5, 0, 0] = np.nan


def _curvilinear(folder: Path) -> None:
    """The archive on a grid that is turned a little: latitude and longitude at every point."""
    with xr.open_dataset(folder / "archive.nc", engine="netcdf4") as file:
        data = file.load().rename(latitude="y", longitude="x").drop_vars(["y", "x"])
    latitude, longitude = np.meshgrid(LATITUDE, LONGITUDE, indexing="ij")
    places = {"nav_lat": latitude + longitude / 100, "nav_lon": longitude - latitude / 100}
    data.assign_coords({name: (("y", "x"), field) for name, field in places.items()}).to_netcdf(
        folder / "archive.nc", engine="netcdf4"
    )


def _units(**units: str) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        write_archive(folder / "archive.nc", np.load(folder / "truth.npy"), **units)

    return write


def _celsius(folder: Path) -> None:
    """Degrees Celsius under the name of Kelvin."""
    with netCDF4.Dataset(folder / "archive.nc", "a") as file:
        file["t2m"].add_offset = 280.0 - 273.15


def _csv(old: str, new: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "stations.csv").write_text((folder / "stations.csv").read_text().replace(old, new))


def _file_for_folder(folder: Path) -> None:
    """A file is where the run folder should be."""
    shutil.rmtree(folder / "run")
    (folder / "run").write_text("in the way")


def _weights(name: str, tensors: dict[str, Any], metadata: dict[str, str] | None = None) -> Callable[[Path], object]:
    return lambda folder: save_file(tensors, folder / "run" / name, metadata)


def _trained(change: Callable[[dict[str, Any], dict[str, Any]], object]) -> Callable[[Path], object]:
    """Real weights of this world, changed: `change(card, tensors)`."""

    def write(folder: Path) -> None:
        from safetensors import safe_open

        with safe_open(folder / "trained.safetensors", framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            card = json.loads(file.metadata()["stormda"])
        change(card, tensors)
        save_file(tensors, folder / "run" / "weights.safetensors", {"stormda": json.dumps(card)})

    return write


STORM = ("assimilate", "--method", "storm", *CYCLE)
SOURCE = "observations__sources__stations__"
CASES = [
    # --- files of fields
    Case(
        "missing NetCDF",
        ("ingest",),
        3,
        ("archive.nc", "archive.sources.era.files"),
        lambda f: (f / "archive.nc").unlink(),
    ),
    Case(
        "no file fits", ("ingest", "archive.sources.era.files=['no*.nc']"), 3, ("no*.nc", "archive.sources.era.files")
    ),
    Case("empty NetCDF", ("ingest",), 1, ("archive.nc", "empty"), _cut("archive.nc", 0)),
    Case("truncated classic NetCDF", ("ingest",), 1, ("archive.nc", "download it again"), _cut("archive.nc", 0.6)),
    Case(
        "truncated NetCDF-4",
        ("ingest",),
        1,
        ("archive.nc", "truncated", "download it again"),
        _both(_as_netcdf4, _cut("archive.nc", 0.6)),
    ),
    Case(
        "a web page for NetCDF",
        ("ingest",),
        1,
        ("archive.nc", "web page"),
        lambda f: (f / "archive.nc").write_text("<html>404</html>"),
    ),
    Case(
        "wrong variable", ("ingest", "archive.sources.era.variables.t2m=tas"), 1, ("tas", "archive.sources.era", "t2m")
    ),
    Case("unknown unit", ("ingest",), 1, ("archive.nc", "parsec", "t2m"), _units(t2m="parsec")),
    Case("unit of another quantity", ("ingest",), 1, ("archive.nc", "'m s-1'", "right variable"), _units(t2m="m s-1")),
    Case("Celsius declared as Kelvin", ("ingest",), 1, ("archive.nc", "180..335", "its unit really 'K'"), _celsius),
    Case(
        "fill value in the archive", ("ingest",), 1, ("archive.nc", "t2m", "missing values", "2019-01-05T06:00Z"), _fill
    ),
    Case("NaN in the archive", ("ingest",), 1, ("archive.nc", "msl", "missing values", "2019-01-02T06:00Z"), _nan),
    Case("curvilinear grid", ("ingest",), 1, ("archive.nc", "curvilinear", "regrid", "cdo", "xesmf"), _curvilinear),
    Case(
        "no training time",
        ("ingest",),
        1,
        ("archive.train",),
        _edit(archive__train={"start": "1990-01-01", "end": "1990-12-31"}),
    ),
    # --- tables of observations
    Case(
        "missing CSV",
        ("ingest",),
        3,
        ("stations.csv", "observations.sources.stations.files"),
        lambda f: (f / "stations.csv").unlink(),
    ),
    Case("empty CSV", ("ingest",), 1, ("stations.csv", "empty"), _cut("stations.csv", 0)),
    Case("CSV cut in a row", ("ingest",), 1, ("stations.csv", "truncated"), _cut("stations.csv", 0.5)),
    Case(
        "renamed column",
        ("ingest",),
        1,
        ("stations.csv", "did you mean 'temperatures'"),
        _csv("temperature", "temperatures"),
    ),
    Case(
        "unknown unit of a column",
        ("ingest",),
        2,
        ("stations", "furlong"),
        _edit(**{SOURCE + "variables__t2m__unit": "furlong"}),
    ),
    Case(
        "words for numbers",
        ("ingest",),
        1,
        ("stations.csv", "no numbers"),
        _edit(**{SOURCE + "variables__t2m__column": "station"}),
    ),
    Case("unreadable times", ("ingest",), 1, ("stations.csv", "time"), _csv("2019-", "the year 19 ")),
    # --- configuration and command line
    Case(
        "unknown key",
        ("ingest", "assimilate.ensembel=3"),
        2,
        ("assimilate.ensembel", "did you mean 'ensemble'?", "on the command line"),
    ),
    Case("unknown section", ("ingest",), 2, ("'observation'", "did you mean 'observations'?"), _edit(observation={})),
    Case("unknown channel", ("ingest", "channels=[mls]"), 2, ("channels", "did you mean 'msl'?")),
    Case("no configuration", ("ingest",), 2, ("config.yaml", "stormda init"), lambda f: (f / "config.yaml").unlink()),
    Case("not YAML", ("ingest",), 2, ("config.yaml", "line 1"), lambda f: (f / "config.yaml").write_text("a: [")),
    Case(
        "unset variable",
        ("ingest",),
        3,
        ("STORMDA_NOWHERE", "archive.sources.era.files", "export STORMDA_NOWHERE="),
        _edit(archive__sources__era__files=["${STORMDA_NOWHERE}/archive.nc"]),
    ),
    Case("no time", ("assimilate", "--cycle", "yesterday"), 2, ("yesterday", "2019-02-17T12Z")),
    Case("no cycle", ("assimilate",), 2, ("--cycle",)),
    Case(
        "unknown method",
        ("assimilate", *CYCLE, "--method", "gausian"),
        2,
        ("assimilate.method", "did you mean 'gaussian'?"),
    ),
    Case("unknown source", ("ingest", "--source", "station"), 2, ("did you mean 'stations'?",)),
    # --- assimilation
    Case(
        "before ingest",
        ("assimilate", *CYCLE),
        3,
        ("archive.zarr", "stormda ingest"),
        lambda f: shutil.rmtree(f / "run"),
    ),
    Case(
        "required source without observations",
        ("assimilate", "--cycle", stamp(FIRST + 20)),
        3,
        ("stations", "0 observations", "stormda ingest"),
        _edit(**{SOURCE + "policy": "required"}),
    ),
    Case(
        "too few observations",
        ("assimilate", *CYCLE),
        3,
        ("stations", "120 observations", "1000 are wanted"),
        _edit(**{SOURCE + "policy": "required", SOURCE + "min_count": 1000}),
    ),
    Case(
        "no observation error",
        ("assimilate", *CYCLE),
        2,
        ("observations.sources.stations.errors", "t2m"),
        lambda f: _again(f, **{SOURCE + "errors": {"msl": 100.0}}),
    ),
    Case(
        "damaged archive",
        ("assimilate", *CYCLE),
        1,
        ("archive.zarr", "stormda ingest builds it again"),
        _cut("run/archive.zarr/zarr.json", 0.5),
    ),
    Case(
        "archive without a channel",
        ("assimilate", *CYCLE, "channels=[msl,d2m]"),
        1,
        ("archive.zarr", "d2m", "channels"),
    ),
    Case("archive with more channels", ("assimilate", *CYCLE, "channels=[msl]"), 1, ("archive.zarr", "msl, t2m")),
    Case(
        "history of other channels",
        ("assimilate", "--cycle", stamp(FIRST + 1), "channels=[msl]", "archive.path=other"),
        1,
        ("analysis.nc", "other channels", "history.source=none"),
        lambda f: _of_other_channels(f),
    ),
    Case(
        "absurd analysis",
        ("assimilate", *CYCLE, "assimilate.limit=0.01"),
        5,
        ("assimilate.limit", "standard deviations"),
    ),
    Case("no analysis to start from", ("forecast", *CYCLE), 3, ("analysis.nc", "stormda assimilate --cycle")),
    Case("no analysis to verify", ("verify",), 3, ("analyses/gaussian", "stormda assimilate")),
    Case(
        "damaged store",
        ("assimilate", *CYCLE),
        1,
        ("manifest.json", "stormda ingest"),
        _cut("run/observations/manifest.json", 0.5),
    ),
    # --- weights
    Case("no weights", STORM, 3, ("weights.safetensors", "storm.weights", "stormda train")),
    Case("no shipped weights", (*STORM, "storm.weights=shipped:nothing"), 3, ("storm.weights", "shipped with stormda")),
    Case(
        "weights that are none",
        STORM,
        1,
        ("weights.safetensors", "stormda train"),
        lambda f: (f / "run/weights.safetensors").write_text("nothing"),
    ),
    Case(
        "empty weights", STORM, 1, ("weights.safetensors",), lambda f: (f / "run/weights.safetensors").write_bytes(b"")
    ),
    Case(
        "weights of another program",
        STORM,
        1,
        ("weights.safetensors", "stormda train"),
        _weights("weights.safetensors", {"a": torch.zeros(2)}),
    ),
    Case(
        "truncated weights",
        STORM,
        1,
        ("weights.safetensors", "damaged"),
        _both(_trained(lambda c, t: None), _cut("run/weights.safetensors", 0.7)),
    ),
    Case(
        "weights for other channels",
        (*STORM, "channels=[msl]"),
        1,
        ("weights.safetensors", "channels", "msl"),
        _trained(lambda c, t: None),
    ),
    Case(
        "weights of another architecture",
        STORM,
        1,
        ("weights.safetensors",),
        _trained(lambda c, t: c["architecture"].update(width=32)),
    ),
    Case(
        "weights of an unknown architecture",
        STORM,
        1,
        ("weights.safetensors",),
        _trained(lambda c, t: c["architecture"].update(depth=32)),
    ),
    Case(
        "weights with NaN",
        STORM,
        1,
        ("weights.safetensors",),
        _trained(lambda c, t: [v.fill_(float("nan")) for n, v in t.items() if n.startswith("model.")]),
    ),
    # --- the twin
    Case("twin without a start", ("twin", "--cycles", "3", "twin.spin_up=0"), 2, ("twin.start", "twin.start=")),
    Case(
        "twin outside the archive",
        ("twin", "--cycles", "3", "twin.spin_up=0", "twin.start=2031-01-01T00Z"),
        1,
        ("twin.start", "2031-01-01T00:00Z"),
    ),
    Case(
        "twin of what was learned",
        ("twin", "--cycles", "3", "twin.spin_up=0", "twin.start=2019-01-10T00Z"),
        2,
        ("archive.train",),
    ),
    # --- where results go
    Case("a file for the run folder: ingest", ("ingest",), 1, ("run", "run_dir"), _file_for_folder),
    Case(
        "a file for a folder: assimilate",
        ("assimilate", *CYCLE),
        1,
        ("analyses", "run_dir"),
        lambda f: (f / "run/analyses").write_text("in the way"),
    ),
    Case(
        "a file for a folder: train",
        ("train",),
        1,
        ("training", "run_dir"),
        lambda f: (f / "run/training").write_text("in the way"),
    ),
    Case(
        "a file for a folder: twin",
        ("twin", "--cycles", "2", "twin.spin_up=0", f"twin.start={stamp(FIRST)}"),
        1,
        ("twin", "run_dir"),
        lambda f: (f / "run/twin").write_text("in the way"),
    ),
]


def _again(folder: Path, **changes: Any) -> None:
    """Change the configuration and ingest into an empty store."""
    _edit(**changes)(folder)
    shutil.rmtree(folder / "run" / "observations")
    assert command("ingest", "-c", folder / "config.yaml", "--source", "stations").code == 0


def _of_other_channels(folder: Path) -> None:
    """An analysis of both channels, then an archive of one."""
    config = folder / "config.yaml"
    assert command("assimilate", "-c", config, *CYCLE).code == 0
    _edit(archive__sources__era__variables={"msl": "msl"})(folder)
    assert command("ingest", "-c", config, "--source", "era", "channels=[msl]", "archive.path=other").code == 0


@pytest.fixture(scope="module")
def model(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world's folder with weights of five training steps, and its truth, to be copied."""
    folder = tmp_path_factory.mktemp("model") / "world"
    shutil.copytree(world.folder, folder, ignore=shutil.ignore_patterns("cycled"))
    np.save(folder / "truth.npy", world.truth)
    ended = command("train", "-c", folder / "config.yaml", "train.steps=5", "train.validate_every=5")
    assert ended.code == 0, ended.err
    (folder / "run" / "weights.safetensors").rename(folder / "trained.safetensors")
    shutil.rmtree(folder / "run" / "training")
    return folder


@pytest.fixture
def folder(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the world's folder that may be spoiled."""
    monkeypatch.delenv("STORMDA_NOWHERE", raising=False)
    return Path(shutil.copytree(model, tmp_path / "world"))


def _fatal(ended: Ended, case: Case) -> str:
    """The one line of the error, when everything about the end is as it should be."""
    assert "Traceback" not in ended.err and "Traceback" not in ended.out
    lines = [line for line in ended.err.splitlines() if "FATAL ERROR" in line]
    assert ended.code == case.code, ended.err
    assert len(lines) == 1 and ended.err.splitlines()[-1] == lines[0], ended.err
    assert lines[0].startswith("FATAL ERROR: ") and "unexpected" not in lines[0]
    for word in case.words:
        assert word in lines[0]
    assert ended.out == ""
    return lines[0]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_mistake_ends_in_one_line(case: Case, folder: Path) -> None:
    case.spoil(folder)
    before = visible(folder)
    ended = command(case.verb[0], "-c", folder / "config.yaml", *case.verb[1:])
    _fatal(ended, case)
    assert hidden(folder) == set()
    new = visible(folder) - before
    assert not {name for name in new if not name.startswith("run/observations/batches/")}, new


# --- no room ---------------------------------------------------------------------------------------------------------

WRITERS = [
    ("ingest",),
    ("ingest", "--source", "stations"),
    ("assimilate", *CYCLE),
    ("train", "train.steps=5", "train.validate_every=5"),
    ("twin", "--cycles", "4", "--method", "kf", "twin.spin_up=0", f"twin.start={stamp(FIRST)}"),
    ("verify", "verify.report=false"),
    ("forecast", *CYCLE),
]


@pytest.fixture
def ready(folder: Path, request: pytest.FixtureRequest) -> Path:
    """The folder, with an analysis where the command needs one."""
    verb = request.node.callspec.params["verb"][0]
    if verb in ("verify", "forecast"):
        assert command("assimilate", "-c", folder / "config.yaml", *CYCLE).code == 0
    return folder


def _unharmed(before: dict[str, bytes], folder: Path) -> None:
    """Every product is as it was, and nothing half-written is there."""
    assert hidden(folder) == set()
    for name, data in before.items():
        assert (folder / name).read_bytes() == data, name


def _contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in visible(folder)}


@pytest.mark.parametrize("verb", WRITERS, ids=" ".join)
def test_a_file_that_may_not_grow_any_more(ready: Path, verb: tuple[str, ...]) -> None:
    """RLIMIT_FSIZE: every write beyond 2 kB fails with EFBIG, as ENOSPC does on a full disk."""
    before = _contents(ready)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    soft = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
    try:
        ended = command(verb[0], "-c", ready / "config.yaml", *verb[1:])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    _fatal(ended, Case("", verb, 1, ("run",)))
    _unharmed(before, ready)


@pytest.mark.parametrize("verb", WRITERS, ids=" ".join)
def test_a_full_disk(ready: Path, verb: tuple[str, ...], tmp_path: Path) -> None:
    """A file system in memory that has 8 kB left beside the run folder."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted: {mounted.stderr.decode().strip()}")
    try:
        shutil.copytree(ready / "run", disk / "run")
        free = shutil.disk_usage(disk).free
        (disk / "ballast").write_bytes(bytes(free - 8192))
        before = _contents(disk)
        ended = command(verb[0], "-c", ready / "config.yaml", *verb[1:], f"run_dir={disk / 'run'}")
        _fatal(ended, Case("", verb, 1, ("run", "full", "free some room")))
        _unharmed(before, disk)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)  # Libraries may still hold a handle.


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("verb", WRITERS[:3], ids=" ".join)
def test_a_folder_of_others(ready: Path, verb: tuple[str, ...]) -> None:
    """A run folder without the permission to write."""
    folders = [ready / "run", *(p for p in (ready / "run").rglob("*") if p.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        ended = command(verb[0], "-c", ready / "config.yaml", *verb[1:])
        _fatal(ended, Case("", verb, 1, ("run", "permission")))
    finally:
        for folder in folders:
            folder.chmod(0o755)
