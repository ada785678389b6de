"""Ensemble files: what is written is read, anybody's tools can read it, and failure leaves nothing."""

import errno
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import xarray as xr

from stormda.errors import AnalysisRejected, InputError, InputMissing, OutputError
from stormda.grid import Grid
from stormda.store.analysis import read_analysis, write_analysis
from stormda.types import Array
from stormda.variables import Channel

TIME = np.datetime64("2019-02-17T12:30:00", "s")
CHANNELS = tuple(map(Channel.parse, ("msl", "t2m", "z500", "t850", "q850")))
GRID = Grid.regular(np.arange(55.0, 29.0, -2.5), np.arange(-15.0, 16.0, 2.5))
MEANS = np.array([101300.0, 285.0, 54000.0, 275.0, 0.004])[:, None, None]


def ensemble(count: int = 7, grid: Grid = GRID, seed: int = 0) -> Array:
    noise = np.random.default_rng(seed).standard_normal((count, len(CHANNELS), *grid.shape))
    return MEANS * (1.0 + 0.01 * noise)


def write(path: Path, members: Any, count: int = 7, **keys: Any) -> Path:
    common: dict[str, Any] = {"channels": CHANNELS, "grid": GRID, "time": TIME, "attributes": {"title": "a test"}}
    write_analysis(path, members, count=count, **(common | keys))
    return path


def nothing_in(folder: Path) -> bool:
    return not list(folder.iterdir())


def test_round_trip(tmp_path: Path) -> None:
    x, carry = ensemble(), np.random.default_rng(1).standard_normal((3, 3))
    attributes = {"title": "a test", "history_of_state": "cold start", "observations_used": "12"}
    back = read_analysis(write(tmp_path / "a.nc", iter(x), attributes=attributes, carry=carry))
    np.testing.assert_array_equal(back.state.values, x.astype(np.float32))
    assert back.state.channels == CHANNELS
    assert back.state.times == back.time == TIME
    assert back.attributes == attributes
    np.testing.assert_array_equal(back.carry, carry)
    np.testing.assert_array_equal(back.state.grid.latitude, GRID.latitude)
    np.testing.assert_array_equal(back.state.grid.longitude, GRID.longitude)


def test_mean_and_spread_are_those_of_the_members_in_the_file(tmp_path: Path) -> None:
    back = read_analysis(write(tmp_path / "a.nc", ensemble()))
    stored = back.state.values.astype(np.float64)
    # Sums are in double precision; the results are rounded to single: 6e-8 of them. The spread is 1 % of the value,
    # so that cancellation costs 1e4 double roundings in the variance, 1e-12: nothing beside it.
    np.testing.assert_allclose(back.mean, stored.mean(axis=0), rtol=1.2e-7)
    np.testing.assert_allclose(back.spread, stored.std(axis=0, ddof=1), rtol=1.2e-7)


@pytest.mark.parametrize(
    "grid",
    [
        Grid(np.arange(4) * 45.0 - 67.5, np.arange(4) * 90.0, periodic=(True, True), plane=True),
        Grid(np.zeros(1), np.arange(6) * 60.0, periodic=(False, True), plane=True),
        Grid.regular(np.linspace(-90, 90, 5), np.arange(8) * 45.0),
        Grid(*np.meshgrid(np.arange(3.0), np.arange(4.0) + 200, indexing="ij")),
    ],
    ids=["plane", "ring", "globe", "2-D"],
)
def test_every_kind_of_grid(tmp_path: Path, grid: Grid) -> None:
    x = ensemble(3, grid)
    back = read_analysis(write(tmp_path / "a.nc", x, count=3, grid=grid)).state
    assert back.grid.same(grid)
    assert (back.grid.plane, back.grid.periodic) == (grid.plane, grid.periodic)
    np.testing.assert_array_equal(back.values, x.astype(np.float32))


def test_plain_xarray_reads_it_with_times_and_coordinates(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nc", ensemble())
    with xr.open_dataset(path) as file:
        assert file["z500"].dims == ("realization", "latitude", "longitude")
        assert file["z500_spread"].dims == ("latitude", "longitude")
        assert file["time"].values == TIME.astype("datetime64[ns]")
        assert float(file["t850"].coords["pressure_850"]) == 850.0
        assert float(file["t2m"].coords["height_2"]) == 2.0
        assert file["msl"].sel(latitude=50.0, longitude=0.0).shape == (7,)
        np.testing.assert_array_equal(file["msl"].values, ensemble()[:, 0].astype(np.float32))


def test_attributes_follow_the_conventions(tmp_path: Path) -> None:
    """CF-1.11: sections 2.6.1 (Conventions), 3 (units, names), 4 (coordinates), 5.7 (scalars), 7.1 (bounds), 7.3."""
    with netCDF4.Dataset(write(tmp_path / "a.nc", ensemble())) as file:
        assert file.Conventions == "CF-1.11"
        assert file.title == "a test"
        expected = {
            "latitude": ("latitude", "degrees_north", "Y"),
            "longitude": ("longitude", "degrees_east", "X"),
            "realization": ("realization", "1", "E"),
            "time": ("time", "seconds since 1970-01-01 00:00:00 UTC", "T"),
            "pressure_500": ("air_pressure", "hPa", "Z"),
            "height_2": ("height", "m", "Z"),
        }
        for name, facts in expected.items():
            variable = file[name]
            assert (variable.standard_name, variable.units, variable.axis) == facts
        assert (file["pressure_500"].positive, file["height_2"].positive) == ("down", "up")
        assert file["z500"].standard_name == "geopotential"
        assert file["z500"].units == "m2 s-2"
        assert file["z500"].coordinates == "time pressure_500"
        assert file["z500"].cell_methods == "time: point"
        assert file["z500_mean"].cell_methods == "time: point realization: mean"
        assert file["z500_spread"].cell_methods == "time: point realization: standard_deviation"
        assert file["t850"].units_metadata == "temperature: on_scale"
        assert file["t850_spread"].units_metadata == "temperature: difference"
        assert not any(hasattr(v, "_FillValue") for v in file.variables.values())  # nothing is missing, ever
        for variable in file.variables.values():  # Every name that an attribute mentions is there.
            for name in getattr(variable, "coordinates", "").split() + getattr(variable, "bounds", "").split():
                assert name in file.variables
        bounds = file["latitude_bounds"][:]
        np.testing.assert_array_equal(bounds[0], [56.25, 53.75])
        np.testing.assert_array_equal(bounds[1:, 0], bounds[:-1, 1])  # cells meet


def test_cells_of_the_globe_end_at_the_poles(tmp_path: Path) -> None:
    grid = Grid.regular(np.linspace(90, -90, 5), np.arange(8) * 45.0)
    with netCDF4.Dataset(write(tmp_path / "a.nc", ensemble(2, grid), count=2, grid=grid)) as file:
        bounds = file["latitude_bounds"][:]
    assert (bounds[0, 0], bounds[-1, 1]) == (90.0, -90.0)


def test_members_are_streamed(tmp_path: Path) -> None:
    """The next member is asked for only when the one before is written: one is in memory at a time."""
    alive: list[int] = []

    class Member(np.ndarray[Any, Any]):
        def __del__(self) -> None:
            alive.remove(id(self))

    def members() -> Iterator[Array]:
        for x in ensemble():
            view = x.copy().view(Member)
            alive.append(id(view))
            yield view
            del view
            assert len(alive) <= 1

    write(tmp_path / "a.nc", members())


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39], ids=["nan", "infinite", "beyond single precision"])
def test_a_value_that_is_not_finite_is_rejected(tmp_path: Path, value: float) -> None:
    x = ensemble()
    x[4, 2, 1, 1] = value
    with pytest.raises(AnalysisRejected, match="member 4 is not finite in z500"):
        write(tmp_path / "a.nc", x)
    assert nothing_in(tmp_path)


@pytest.mark.parametrize("count", [6, 8])
def test_the_number_of_members_must_fit(tmp_path: Path, count: int) -> None:
    with pytest.raises(AnalysisRejected, match="members"):
        write(tmp_path / "a.nc", ensemble(7), count=count)
    assert nothing_in(tmp_path)


def test_what_was_there_stays_when_a_write_fails(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nc", ensemble(seed=1))

    def breaks() -> Iterator[Array]:
        yield from ensemble()[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(path, breaks())
    assert [p.name for p in tmp_path.iterdir()] == ["a.nc"]
    np.testing.assert_array_equal(read_analysis(path).state.values, ensemble(seed=1).astype(np.float32))


def test_an_error_of_the_members_is_not_taken_for_one_of_the_disk(tmp_path: Path) -> None:
    def breaks() -> Iterator[Array]:
        yield ensemble()[0]
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        write(tmp_path / "a.nc", breaks())
    assert nothing_in(tmp_path)


FULL = """
import resource, sys
from pathlib import Path
import numpy as np
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
from stormda.errors import OutputError
from stormda.grid import Grid
from stormda.observations import Observations
from stormda.store.analysis import write_analysis
from stormda.store.feedback import write_feedback
from stormda.variables import Channel
folder, rng = Path(sys.argv[1]), np.random.default_rng(0)
def analysis():
    grid = Grid.regular(np.arange(40.0), np.arange(50.0))
    members = (rng.standard_normal((1, 40, 50)) for _ in range(20))
    time = np.datetime64("2019-02-17T12", "s")
    write_analysis(folder / "a.nc", members, count=20, channels=(Channel("msl"),), grid=grid, time=time, attributes={})
def feedback():
    n = 2000
    columns = {"report_id": "r", "station_id": "s", "platform": "p", "source": "s", "variable": "msl"}
    columns |= {"time": np.full(n, np.datetime64("2019-02-17T12")), "latitude": np.zeros(n), "longitude": np.zeros(n)}
    table = Observations.of(columns | {"value": rng.standard_normal(n)})
    write_feedback(folder / "f.nc", table, *rng.standard_normal((2, 30, n)), {})
for write in (analysis, feedback):
    try:
        write()
    except OutputError as error:
        print(error.file, "|", error.hint)
"""


def test_no_room_is_an_output_error_and_leaves_nothing(tmp_path: Path) -> None:
    """A real failure to write inside the HDF5 library: a limit on the size of files, in a process of its own."""
    folder = tmp_path / "out"
    folder.mkdir()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL), str(folder)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for line, name in zip(lines, ("a.nc", "f.nc"), strict=True):
        assert line.startswith(f"{folder / name} | ") and not line.endswith("None")
    assert nothing_in(folder)


def test_a_full_disk_at_the_end_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError) as caught:
        write(tmp_path / "a.nc", ensemble())
    assert caught.value.file == str(tmp_path / "a.nc")
    assert nothing_in(tmp_path)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputError):
        write(tmp_path / "file" / "a.nc", ensemble())


def test_missing_truncated_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(InputMissing):
        read_analysis(tmp_path / "none.nc")
    good = write(tmp_path / "a.nc", ensemble())
    data = good.read_bytes()
    for name, part in (("half", data[: len(data) // 2]), ("empty", b""), ("text", b"not NetCDF")):
        path = tmp_path / f"{name}.nc"
        path.write_bytes(part)
        with pytest.raises(InputError, match="truncated or not NetCDF"):
            read_analysis(path)
    xr.Dataset({"a": ("x", np.arange(3))}).to_netcdf(tmp_path / "foreign.nc", engine="netcdf4")
    with pytest.raises(InputError, match="not stormda.s layout .ensemble"):
        read_analysis(tmp_path / "foreign.nc")


def test_a_file_that_lacks_a_variable(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nc", ensemble())
    with netCDF4.Dataset(path, "a") as file:
        file.channels = "msl t2m u500"
    with pytest.raises(InputError, match="lacks") as caught:
        read_analysis(path)
    assert caught.value.file == str(path)
