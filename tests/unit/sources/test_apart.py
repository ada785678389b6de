"""Gridded files in the worker: what a broken one does to its reader is an error of that file, and nothing else."""

import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stormda.config import GriddedSource, ReaderLimits
from stormda.errors import InputError
from stormda.sources import apart, worker
from stormda.sources.apart import open_fields
from stormda.sources.gridded import read_gridded

KEY = "archive.sources.x"


class Dies:
    """Ends the worker that receives it, as a library does that meets a length which a damaged header invented."""

    def __reduce__(self) -> tuple[object, tuple[()]]:
        return os.abort, ()


def write(path: Path, value: float = 280.0, size: int = 4) -> Path:
    times = np.datetime64("2020-01-01", "ns") + np.arange(2) * np.timedelta64(1, "h")
    axes = {"time": times, "latitude": np.linspace(60, 40, size), "longitude": np.linspace(0, 20, size)}
    rows = np.arange(size)[None, :, None] / size + np.zeros((2, 1, size))
    data = xr.DataArray((value + rows).astype(np.float32), axes, tuple(axes), attrs={"units": "K"})
    data.to_dataset(name="t2m").to_netcdf(path)
    return path


def read(path: Path) -> np.ndarray:
    (state,) = read_gridded(GriddedSource(files=("x",)), ("t2m",), [path], key=KEY)
    return state.values


def test_large_fields_come_back_whole(tmp_path: Path) -> None:
    """2 x 600 x 600 float32 are 2.9 MB: through the memory that both processes have; 4 x 4 through the pipe."""
    for size in (600, 4, 600):
        rows = 280.0 + np.arange(size, dtype=np.float32) / size
        values = read(write(tmp_path / f"{size}.nc", size=size))
        assert values.shape == (2, 1, size, size)
        # Latitudes of a state go up or down as in the file; a float32 near 280 is exact to 1.6e-5.
        np.testing.assert_allclose(values[1, 0, :, 0], rows, atol=4e-5)


@pytest.mark.parametrize("step", ["_described", "_read"])
def test_a_reader_that_dies_is_an_error_of_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    good, bad = write(tmp_path / "good.nc"), write(tmp_path / "bad.nc")
    with monkeypatch.context() as patch:
        patch.setattr(apart, step, Dies())
        with pytest.raises(InputError, match="crashed .SIGABRT.") as error:
            read(bad)
    assert (error.value.file, error.value.key) == (str(bad), KEY)
    assert read(good).mean() > 280.0


def test_a_reader_that_hangs_is_stopped(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.nc")  # to open it waits for somebody who writes
    source = GriddedSource(files=("x",), limits=ReaderLimits(seconds=0.3))
    with pytest.raises(InputError, match="longer than 0.3 s"), open_fields(tmp_path / "x.nc", source, KEY):
        pass


def test_a_new_worker_opens_the_file_again(tmp_path: Path) -> None:
    path = write(tmp_path / "x.nc")
    with open_fields(path, GriddedSource(files=("x",)), KEY) as (field,):
        worker._forget()
        assert field.read((0, slice(None), slice(None))).shape == (4, 4)
