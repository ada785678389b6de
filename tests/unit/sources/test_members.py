"""Members of ensembles: along a dimension, one a file, control beside perturbed; what cannot be is said."""

from pathlib import Path
from typing import Any

import eccodes
import numpy as np
import pytest
import xarray as xr

from stormda.config import GriddedSource
from stormda.errors import InputError, InputMissing
from stormda.sources.members import read_means, read_members
from stormda.state import State
from stormda.types import Array

TIME = np.datetime64("2020-02-29T06", "s")
PLAIN = GriddedSource(files=("-",))
VALUES = 270 + np.arange(12.0)
LAT, LON = np.array([60.0, 50.0, 40.0]), np.array([-10.0, 0.0, 10.0, 20.0])


def message(values: Array, **keys: Any) -> bytes:
    """A field of t2m on 60..40N, 10W..20E, packed in 24 bits."""
    handle = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib2")
    grid = {
        "Ni": 4,
        "Nj": 3,
        "latitudeOfFirstGridPointInDegrees": 60,
        "longitudeOfFirstGridPointInDegrees": 350,
        "latitudeOfLastGridPointInDegrees": 40,
        "longitudeOfLastGridPointInDegrees": 20,
        "iDirectionIncrementInDegrees": 10,
        "jDirectionIncrementInDegrees": 10,
    }
    what = {"dataDate": 20200229, "dataTime": 600, "shortName": "2t"}
    for key, value in ({"bitsPerValue": 24} | grid | keys | what | keys).items():
        eccodes.codes_set(handle, key, value)
    eccodes.codes_set_values(handle, values)
    data = bytes(eccodes.codes_get_message(handle))
    eccodes.codes_release(handle)
    return data


def read(*paths: Path, time: np.datetime64 = TIME, channels: tuple[str, ...] = ("t2m",), **keys: Any) -> State:
    return read_members(paths, channels, [PLAIN.model_copy(update=keys)], time, key="assimilate.prior")


def netcdf(
    path: Path, values: Array, dim: str | None = "realization", hours: tuple[int, ...] = (6,), **also: Array
) -> Path:
    """Values [(M), T, H, W] of t2m, and other variables."""
    dims = (*((dim,) if dim else ()), "time", "latitude", "longitude")
    coords = {
        "time": ("time", np.asarray(hours), {"units": "hours since 2020-02-29"}),
        "latitude": ("latitude", LAT, {"units": "degrees_north"}),
        "longitude": ("longitude", LON, {"units": "degrees_east"}),
    }
    variables = {"t2m": (dims, values, {"units": "K"})}
    variables |= {name: (dims[-x.ndim :], x, {"units": "Pa"}) for name, x in also.items()}
    xr.Dataset(variables, coords).to_netcdf(path)
    return path


def fields(*shape: int) -> Array:
    return 270.0 + np.random.default_rng(0).normal(size=(*shape, 3, 4))


@pytest.mark.parametrize("dim", ["realization", "number", "member", "ens"])
def test_a_dimension_of_members(tmp_path: Path, dim: str) -> None:
    values = fields(5, 2)
    state = read(netcdf(tmp_path / "x.nc", values, dim, (0, 6)))
    np.testing.assert_array_equal(state.values[:, 0], values[:, 1].astype(np.float32))
    assert state.times == TIME


def test_a_dimension_of_another_name_that_cf_calls_realization(tmp_path: Path) -> None:
    netcdf(tmp_path / "x.nc", fields(3, 1), "k")
    with xr.open_dataset(tmp_path / "x.nc", decode_times=False) as file:
        file.assign_coords(k=("k", [1, 2, 3], {"standard_name": "realization"})).to_netcdf(tmp_path / "y.nc")
    assert len(read(tmp_path / "y.nc").values) == 3
    with pytest.raises(InputError, match="3 entries of 'k'"):
        read(tmp_path / "x.nc")


def test_files_of_one_member_follow_each_other_and_others_are_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    values = fields(3, 1)
    paths = [netcdf(tmp_path / f"m{m}.nc", values[m], None, (6 if m < 2 else 12,)) for m in range(3)]
    np.testing.assert_array_equal(read(*paths).values[:, 0], values[:2, 0].astype(np.float32))
    assert "1 of 3 files have no state of 2020-02-29T06:00Z" in caplog.text


def test_the_control_forecast_is_a_member_too(tmp_path: Path) -> None:
    ensemble = {"productDefinitionTemplateNumber": 1}
    parts = [message(VALUES, dataType="cf", **ensemble, number=0)]
    parts += [message(VALUES + m, dataType="pf", **ensemble, number=m) for m in (1, 2)]
    (tmp_path / "x.grib").write_bytes(b"".join(parts))
    values = read(tmp_path / "x.grib").values[:, 0]
    # 24 bits over a range of 11 and single precision at 280: 3e-5.
    np.testing.assert_allclose(values.mean(axis=(1, 2)) - VALUES.mean(), [0, 1, 2], atol=3e-5)


def test_one_of_several_forecasts_for_a_time_is_chosen_by_keys(tmp_path: Path) -> None:
    parts = [
        message(VALUES + step, dataDate=20200229, dataTime=600 - 100 * step, stepUnits="h", forecastTime=step)
        for step in (3, 6)
    ]
    (tmp_path / "x.grib").write_bytes(b"".join(parts))
    with pytest.raises(InputError, match="several forecasts for one time"):
        read(tmp_path / "x.grib")
    assert read(tmp_path / "x.grib", filter={"step": 6}).values.mean() == pytest.approx(VALUES.mean() + 6, abs=1e-4)


def test_the_mean_of_every_time(tmp_path: Path) -> None:
    values = fields(4, 3)
    one = netcdf(tmp_path / "a.nc", values[:, :2], "number", (0, 6))
    two = netcdf(tmp_path / "b.nc", values[:, 2:], "number", (12,))
    state = read_means([two, one], ("t2m",), [PLAIN], lambda t: t > TIME - np.timedelta64(1, "h"), key="nwp.past")
    assert state.times.tolist() == [TIME.item(), (TIME + np.timedelta64(6, "h")).item()]
    # Sums of four single-precision numbers of 270 in double precision.
    np.testing.assert_allclose(state.values[:, 0], values.astype(np.float32).mean(axis=0, dtype=float)[1:], rtol=1e-12)
    with pytest.raises(InputMissing, match="none of 2 files"):
        read_means([one, two], ("t2m",), [PLAIN], lambda t: t < t, key="nwp.past")


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    path = netcdf(tmp_path / "x.nc", fields(5, 1), "number", msl=1e5 + fields(1))
    with pytest.raises(InputError, match="'msl' has no dimension 'number', other fields of the file have 5"):
        read(path, channels=("t2m", "msl"))
    with pytest.raises(InputError, match="nothing that is channel 'z500'") as missing:
        read(path, channels=("t2m", "z500"))
    assert missing.value.key == "nwp.variables.z500" and missing.value.file == str(path)
    with pytest.raises(InputMissing, match=r"no state of 2020-03-01T00:00Z: x.nc has 2020-02-29T06:00Z"):
        read(path, time=np.datetime64("2020-03-01T00", "s"))
    broken = fields(2, 1)
    broken[1, 0, 1, 2] = np.nan
    with pytest.raises(InputError, match="missing values"):
        read(netcdf(tmp_path / "y.nc", broken))
    other = xr.open_dataset(path, decode_times=False).assign_coords(latitude=LAT - 1)
    other.to_netcdf(tmp_path / "z.nc")
    with pytest.raises(InputError, match="another grid"):
        read(path, tmp_path / "z.nc")
    assert len(read(path, filter={"number": 3}).values) == 1


@pytest.mark.realdata
def test_ten_members_of_era5(data_dir: Path) -> None:
    """Levels and members of several times in one GRIB file; the mean of a few, and their spread, are known weather."""
    path = data_dir / "grib" / "era5-levels-members.grib"
    state = read(path, time=np.datetime64("2017-01-01T12", "s"), channels=("z500", "t850"))
    assert state.values.shape == (10, 2, 61, 120)
    z, t = (state.channel(name) for name in ("z500", "t850"))
    assert 45000 < z.min() < z.max() < 60000 and 220 < t.min() < t.max() < 320
    # Ensemble data assimilation of ERA5: 0.1 to 1 K at 850 hPa, some tens of m2 s-2 at 500 hPa.
    assert 0.1 < t.std(axis=0).mean() < 1.0 and 10 < z.std(axis=0).mean() < 100
