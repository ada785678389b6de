"""Many files as one series: common times, duplicates, gaps, grids in another order; Zarr of both formats."""

import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import xarray as xr

from stormda.config import GriddedSource
from stormda.errors import InputError, InputMissing
from stormda.grid import Grid
from stormda.sources import series
from stormda.sources.gridded import read_gridded, read_sources
from stormda.sources.layers import Layer
from stormda.state import State
from stormda.types import Array

LATITUDE, LONGITUDE = np.array([60.0, 50.0, 40.0]), np.arange(4) * 90.0
HOUR = np.timedelta64(3600, "s")
START = np.datetime64("2020-02-28", "s")


def field(hours: Array, channel: str, latitude: Array = LATITUDE, longitude: Array = LONGITUDE) -> Array:
    """Values that tell time, place and channel: [T, H, W]."""
    place = latitude[:, None] / 100 + np.mod(longitude, 360.0) / 10000
    return (280.0 if channel == "t2m" else 100000.0) + np.asarray(hours)[:, None, None] + place


def dataset(
    hours: Any, *channels: str, latitude: Array = LATITUDE, longitude: Array = LONGITUDE, add: float = 0.0
) -> xr.Dataset:
    hours = np.asarray(list(hours))
    dims = ("time", "latitude", "longitude")
    unit = {"t2m": "K", "msl": "Pa"}
    return xr.Dataset(
        {c: (dims, field(hours, c, latitude, longitude) + add, {"units": unit[c]}) for c in channels or ("t2m",)},
        {
            "time": ("time", (START + hours * HOUR).astype("datetime64[ns]")),
            "latitude": ("latitude", latitude, {"units": "degrees_north"}),
            "longitude": ("longitude", longitude, {"units": "degrees_east"}),
        },
    )


def write(path: Path, data: xr.Dataset) -> str:
    data.to_netcdf(path, encoding={v: {"dtype": "f8"} for v in data.data_vars})
    return str(path)


def collect(sources: dict[str, GriddedSource], *channels: str, **how: Any) -> tuple[State, Array]:
    """All chunks as one state, and its times in hours."""
    states = list(read_sources(sources, channels or ("t2m",), Path, **how))
    times = np.concatenate([s.times for s in states])
    values = np.concatenate([s.values for s in states])
    return State(values, states[0].channels, states[0].grid, times), (times - START) // HOUR


def source(*files: str, **settings: Any) -> GriddedSource:
    return GriddedSource(files=files, **settings)


def test_files_in_any_order_become_one_series_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, covered in (("a", range(48, 60)), ("b", range(0, 24)), ("c", range(30, 31))):  # with gaps
        write(tmp_path / f"{name}.nc", dataset(covered))
    monkeypatch.setattr(series, "CHUNK_BYTES", 4 * 12 * 5)  # five times a chunk
    monkeypatch.setattr(series, "_OPEN_FILES", 1)
    states = list(read_sources({"x": source(str(tmp_path / "*.nc"))}, ("t2m",), Path))
    assert max(len(s.times) for s in states) == 5
    state, hours = collect({"x": source(str(tmp_path / "*.nc"))})
    assert hours.tolist() == [*range(24), 30, *range(48, 60)]
    np.testing.assert_array_equal(state.values[:, 0], field(hours, "t2m").astype(np.float32))


def test_times_out_of_order_within_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nc", dataset([5, 3, 4, 9]))
    state, hours = collect({"x": source(path)})
    assert hours.tolist() == [3, 4, 5, 9]
    np.testing.assert_array_equal(state.values[:, 0], field(hours, "t2m").astype(np.float32))


def test_channels_of_several_sources_on_common_times(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one, two = write(tmp_path / "a.nc", dataset(range(10))), write(tmp_path / "b.nc", dataset(range(5, 15), "msl"))
    state, hours = collect({"one": source(one), "two": source(two)}, "msl", "t2m")
    assert hours.tolist() == [5, 6, 7, 8, 9] and [c.name for c in state.channels] == ["msl", "t2m"]
    np.testing.assert_array_equal(state.channel("msl"), field(hours, "msl").astype(np.float32))
    np.testing.assert_array_equal(state.channel("t2m"), field(hours, "t2m").astype(np.float32))
    assert "5 times are left out" in caplog.text


def test_identical_duplicates_count_once(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{n}.nc", dataset(h)) for n, h in (("a", range(6)), ("b", range(4, 9)))]
    assert collect({"x": source(*paths)})[1].tolist() == list(range(9))
    assert collect({"x": source(paths[0]), "y": source(paths[1])})[1].tolist() == list(range(9))


def test_different_duplicates_are_an_error(tmp_path: Path) -> None:
    paths = [write(tmp_path / "a.nc", dataset(range(6))), write(tmp_path / "b.nc", dataset(range(4, 9), add=0.5))]
    with pytest.raises(InputError, match=r"2020-02-28T04:00Z differs from that of a.nc by up to 0.5 K") as caught:
        collect({"x": source(*paths)})
    assert caught.value.file == paths[1]
    with pytest.raises(InputError, match="the file itself"):
        both = xr.concat([dataset([1]), dataset([1], add=1.0)], dim="time")
        collect({"x": source(write(tmp_path / "c.nc", both))})


def test_same_points_in_another_order_are_put_in_order(tmp_path: Path) -> None:
    one = write(tmp_path / "a.nc", dataset(range(3)))
    west = np.array([-180.0, -90.0, 0.0, 90.0])
    two = write(tmp_path / "b.nc", dataset(range(3), "msl", latitude=LATITUDE[::-1], longitude=west))
    state, hours = collect({"one": source(one), "two": source(two)}, "t2m", "msl")
    assert state.grid.longitude.tolist() == LONGITUDE.tolist() and state.grid.periodic == (False, True)
    np.testing.assert_array_equal(state.channel("msl"), field(hours, "msl").astype(np.float32))


def test_different_grids_are_an_error(tmp_path: Path) -> None:
    one = write(tmp_path / "a.nc", dataset(range(3)))
    for latitude in (LATITUDE + 1, LATITUDE[:2]):
        two = write(tmp_path / "b.nc", dataset(range(3), "msl", latitude=latitude))
        with pytest.raises(InputError, match="on another grid") as caught:
            collect({"one": source(one), "two": source(two)}, "t2m", "msl")
        assert caught.value.file == two and "a.nc" in str(caught.value)


def test_truth_on_the_points_and_times_of_an_archive(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "a.nc", dataset(range(6))))
    part = Grid.regular(LATITUDE[:0:-1], np.array([-90.0, 0.0]))
    wanted = START + np.array([1, 4, 77]) * HOUR
    (state,) = read_gridded(source("x"), ("t2m", "msl"), [path], grid=part, times=wanted)
    expected = field(np.array([1, 4]), "t2m", LATITUDE[:0:-1], np.array([270.0, 0.0]))
    np.testing.assert_array_equal(state.values[:, 0], expected.astype(np.float32))
    assert state.grid is part and len(state.channels) == 1
    with pytest.raises(InputError, match="than the archive"):
        list(read_gridded(source("x"), ("t2m",), [path], grid=Grid.regular(LATITUDE, np.array([1.0]))))


def test_missing_channel_file_and_source(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nc", dataset(range(3)))
    with pytest.raises(InputError, match="nothing that is channel 'msl' in the file; it has t2m") as caught:
        collect({"era5": source(path)}, "t2m", "msl")
    assert caught.value.key == "archive.sources.era5.variables.msl"
    with pytest.raises(InputMissing) as missing:
        collect({"era5": source(path, "no.nc")})
    assert missing.value.key == "archive.sources.era5.files"
    with pytest.raises(InputError, match="no gridded source"):
        collect({})
    (state,) = read_gridded(source("x"), ("t2m", "msl"), [Path(path)])  # a truth may have a part
    assert [c.name for c in state.channels] == ["t2m"]
    with pytest.raises(InputError, match="no 'slp'"):  # but not lack what the configuration names
        list(read_gridded(source("x", variables={"msl": "slp"}), ("t2m", "msl"), [Path(path)]))


def test_no_common_time(tmp_path: Path) -> None:
    one, two = write(tmp_path / "a.nc", dataset(range(3))), write(tmp_path / "b.nc", dataset(range(5, 8), "msl"))
    with pytest.raises(InputError, match="t2m 2020-02-28T00:00Z..2020-02-28T02:00Z; msl 2020-02-28T05:00Z"):
        collect({"x": source(one, two)}, "t2m", "msl")


def test_a_curvilinear_grid_is_refused_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where observations have to be interpolated; before any field is read. To look at, it can be read."""
    data = dataset(range(3)).rename(latitude="y", longitude="x").drop_vars(["y", "x"])
    rows, columns = np.meshgrid(LATITUDE, LONGITUDE, indexing="ij")
    data["lat"] = ("y", "x"), rows + columns / 100, {"units": "degrees_north"}
    data["lon"] = ("y", "x"), columns + rows / 100, {"units": "degrees_east"}
    path = write(tmp_path / "a.nc", data.set_coords(["lat", "lon"]))
    (state,) = read_gridded(source(path), ["t2m"], [Path(path)])
    assert not state.grid.is_regular
    monkeypatch.setattr(Layer, "read", lambda *_: pytest.fail("a field was read"))
    for read in (
        lambda: collect({"x": source(path)}),
        lambda: list(read_gridded(source(path), ["t2m"], [Path(path)], regular=True, key="archive.sources.x")),
    ):
        with pytest.raises(InputError) as caught:
            read()
        words = "the grid is curvilinear: latitude and longitude are 2-D fields of 3 x 4 points, not lines"
        hint = "name its projection, a CF grid_mapping, or regrid the files first to rows of latitude and columns of "
        hint += "longitude, by cdo remapbil or xesmf"
        assert str(caught.value) == f"{words} - file={path} key=archive.sources.x; hint: {hint}"


def test_plane_and_periodic(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nc", dataset(range(3)))
    grid = collect({"x": source(path)}, plane=True, periodic=(True, True))[0].grid
    assert grid.plane and grid.periodic == (True, True)


def test_progress_is_told_of_files_and_times(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    paths = [write(tmp_path / f"{n}.nc", dataset(h)) for n, h in (("a", range(3)), ("b", range(3, 6)))]
    collect({"x": source(*paths)}, progress=lambda *a: told.append(a))
    assert told == [("files", 1, 2), ("files", 2, 2), ("times", 6, 6)]


# --- Zarr ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [2, 3])
@pytest.mark.parametrize("consolidated", [True, False])
@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_zarr(tmp_path: Path, form: Literal[2, 3], consolidated: bool, recwarn: pytest.WarningsRecorder) -> None:
    path = tmp_path / "a.zarr"
    dataset(range(6)).to_zarr(
        path, zarr_format=form, consolidated=consolidated, encoding={"t2m": {"chunks": (4, 3, 2)}}
    )
    recwarn.clear()
    state, hours = collect({"x": source(str(path), kind="zarr")})
    np.testing.assert_array_equal(state.values[:, 0], field(hours, "t2m").astype(np.float32))
    assert not recwarn.list


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_lost_chunk_of_a_zarr_store(tmp_path: Path) -> None:
    """Where the fill value is a number, the store reads zeros: a wind of 0 m s-1 looks like data."""
    data = dataset(range(6)).rename(t2m="u10")
    data["u10"] = (data["u10"] - 280).assign_attrs(units="m s-1")
    for fill in (0.0, np.nan):
        path = tmp_path / "a.zarr"
        data.to_zarr(path, zarr_format=2, mode="w", encoding={"u10": {"chunks": (2, 3, 4), "_FillValue": None}})
        if np.isnan(fill):
            data.to_zarr(path, zarr_format=3, mode="w", encoding={"u10": {"chunks": (2, 3, 4)}})
        chunks = sorted(p for p in (path / "u10").rglob("*") if p.is_file() and not p.name.startswith((".", "zarr")))
        assert len(chunks) == 3
        chunks[1].unlink()
        with pytest.raises(InputError, match="lacks 1 chunk|missing values"):
            collect({"x": source(str(path), kind="zarr")}, "u10")
        shutil.rmtree(path)


def test_what_is_no_zarr_store(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "x").write_text("hello")
    with pytest.raises(InputError, match="not a Zarr store") as caught:
        collect({"x": source(str(tmp_path / "a.zarr"), kind="zarr")})
    assert caught.value.file == str(tmp_path / "a.zarr")
    (tmp_path / "a.nc").write_text("hello")
    with pytest.raises(InputError, match="a file where a folder is expected"):
        collect({"x": source(str(tmp_path / "a.nc"), kind="zarr")})
