"""ZIP archives of the Climate Data Store are files like any others."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stormda.config import GriddedSource
from stormda.errors import InputError
from stormda.sources.gridded import read_gridded, read_sources

GRIB = "grib/era5-2mt-2019-03-uk.grib"
TIMES = np.datetime64("2019-03-01T00", "ns") + np.arange(3) * np.timedelta64(1, "h")


def part(name: str, value: float, latitude: np.ndarray, longitude: np.ndarray) -> bytes:
    values = np.full((3, len(latitude), len(longitude)), value, np.float32)
    unit = {"sp": "Pa", "tp": "m"}[name]
    data = xr.Dataset(
        {name: (("valid_time", "latitude", "longitude"), values, {"units": unit})},
        {
            "valid_time": TIMES,
            "latitude": ("latitude", latitude, {"units": "degrees_north"}),
            "longitude": ("longitude", longitude, {"units": "degrees_east"}),
            "expver": ("valid_time", np.array(["0001", "0001", "0005"])),
            "number": 0,
        },
    )
    return bytes(data.to_netcdf())


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in members.items():
            out.writestr(name, data)
    return path


LATITUDE, LONGITUDE = np.array([60.0, 50.0]), np.array([0.0, 10.0, 20.0])


def test_instants_and_amounts_in_one_archive(tmp_path: Path) -> None:
    instant, amount = (part(n, v, LATITUDE, LONGITUDE) for n, v in (("sp", 1e5), ("tp", 0.001)))
    names = ("../data_stream-oper_stepType-instant.nc", "x/data_stream-oper_stepType-accum.nc")
    path = archive(tmp_path / "download.zip", **dict(zip(names, (instant, amount), strict=True)), readme=b"words")
    (state,) = read_sources({"x": GriddedSource(files=(str(path),))}, ("sp", "tp"), Path)
    assert state.values.shape == (3, 2, 2, 3) and state.values[0, :, 0, 0].tolist() == pytest.approx([1e5, 0.001])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["download.zip"]  # nothing was written beside, or above


def test_months_in_one_archive(tmp_path: Path) -> None:
    whole = xr.load_dataset(write(tmp_path / "a.nc", part("sp", 1e5, LATITUDE, LONGITUDE)))
    later = whole.assign_coords(valid_time=TIMES + np.timedelta64(3, "h"))
    path = archive(tmp_path / "m.zip", **{"1.nc": bytes(whole.to_netcdf()), "2.nc": bytes(later.to_netcdf())})
    (state,) = read_gridded(GriddedSource(files=("x",)), ("sp",), [path])
    assert len(state.times) == 6


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.realdata
def test_grib_in_an_archive(tmp_path: Path, data_dir: Path) -> None:
    path = archive(tmp_path / "g.zip", **{"data.grib": (data_dir / GRIB).read_bytes()})
    first = next(iter(read_gridded(GriddedSource(files=("x",)), ("t2m",), [path])))
    plain = next(iter(read_gridded(GriddedSource(kind="grib", files=("x",)), ("t2m",), [data_dir / GRIB])))
    np.testing.assert_array_equal(first.values, plain.values)


def test_archives_that_are_none(tmp_path: Path) -> None:
    source = GriddedSource(files=("x",))
    good = archive(tmp_path / "a.zip", **{"a.nc": part("sp", 1e5, LATITUDE, LONGITUDE)}).read_bytes()
    for name, data, what in (
        ("cut.zip", good[: len(good) // 2], "damaged"),
        ("words.zip", archive(tmp_path / "b.zip", readme=b"words").read_bytes(), "no NetCDF"),
    ):
        with pytest.raises(InputError, match=what) as error:
            list(read_gridded(source, ("sp",), [write(tmp_path / name, data)], key="archive.sources.x"))
        assert error.value.file == str(tmp_path / name) and error.value.key == "archive.sources.x.files"


def test_a_region_across_the_edge_of_the_file(tmp_path: Path) -> None:
    """-15..15 of a file from 0 to 350: its last columns come first, and nothing else is read."""
    latitude, longitude = np.arange(90.0, -91.0, -10.0), np.arange(0.0, 360.0, 10.0)
    path = write(tmp_path / "a.nc", part("sp", 1e5, latitude, longitude))
    data = xr.load_dataset(path)
    data["sp"] = (data["sp"] + data["longitude"] + data["latitude"] / 8).assign_attrs(units="Pa")
    path = write(tmp_path / "b.nc", bytes(data.to_netcdf()))
    source = GriddedSource.model_validate({"files": ["x"], "region": {"latitude": [30, 50], "longitude": [-20, 15]}})
    (state,) = read_gridded(source, ("sp",), [path])
    assert state.grid.longitude.tolist() == [-20.0, -10.0, 0.0, 10.0]
    wanted = 1e5 + np.array([340.0, 350.0, 0.0, 10.0]) + state.grid.latitude[:, None] / 8
    # 1e5 needs 17 of float32's 24 bits before the point: 7 bits, 1/128, remain; 1/8 of tens of degrees is exact
    np.testing.assert_array_equal(state.values[1, 0], wanted.astype(np.float32))
    assert sorted(state.grid.latitude) == [30.0, 40.0, 50.0]
    empty = source.model_copy(update={"region": source.region.model_copy(update={"latitude": (41.0, 44.0)})})  # type: ignore[union-attr]
    with pytest.raises(InputError, match="no point in the region"):
        list(read_gridded(empty, ("sp",), [path]))


def test_a_member_without_a_name(tmp_path: Path) -> None:
    """The library that reads archives looks at the last letter of a name, whether there is one or not."""
    whole = archive(tmp_path / "era.zip", a=b"nothing").read_bytes()
    begin = whole.index(b"PK\x01\x02")  # the directory: its name's length at 28, its extra field's at 30
    nameless = whole[: begin + 28] + b"\x00\x00\x01\x00" + whole[begin + 32 :]
    (tmp_path / "nameless.zip").write_bytes(nameless)
    with pytest.raises(InputError, match="damaged"):
        list(read_gridded(GriddedSource(files=("x",)), ("sp",), [tmp_path / "nameless.zip"]))
