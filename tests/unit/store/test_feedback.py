"""Feedback files: every column, code and member comes back to the last digit."""

from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import xarray as xr

from stormda.errors import InputError, InputMissing
from stormda.observations import QC, SCHEMA, Observations
from stormda.store.feedback import read_feedback, write_feedback


def table(n: int = 9) -> Observations:
    rng = np.random.default_rng(0)
    names = np.array([f"station {i}" for i in range(n)], dtype=object)
    columns: dict[str, Any] = {}
    for field in SCHEMA:
        if str(field.type) == "string":
            columns[field.name] = names + field.name
        elif str(field.type).startswith("int"):
            columns[field.name] = rng.integers(-5, 50, n)
        elif str(field.type) == "bool":
            columns[field.name] = rng.random(n) < 0.5
        elif field.name != "time":
            columns[field.name] = rng.standard_normal(n) * 1e5
    columns["time"] = np.datetime64("2019-02-17T11:59:59.123456", "us") + rng.integers(0, 10**10, n)
    columns["level"][::2] = np.nan
    columns["qc"] = rng.choice([int(c) for c in QC], n)
    columns["station_id"][0] = "Zürich-Flughafen"
    columns["station_id"][1] = ""
    return Observations.of(columns)


def members(n: int, seed: int) -> Any:
    values = np.random.default_rng(seed).standard_normal((4, n))
    values[:, 0] = np.nan
    return values


@pytest.mark.parametrize("n", [9, 1, 0])
@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_round_trip_is_exact(tmp_path: Path, n: int, precision: type) -> None:
    observations = table(9).take(np.arange(n))
    background, analysis = (np.resize(members(9, s).astype(precision), (4, 9))[:, :n] for s in (1, 2))
    write_feedback(tmp_path / "f.nc", observations, background, analysis, {"method": "gaussian", "seed": "0"})
    back = read_feedback(tmp_path / "f.nc")
    assert len(back.observations) == n
    for name in SCHEMA.names:
        np.testing.assert_array_equal(back.observations[name], observations[name], err_msg=name)
    np.testing.assert_array_equal(back.background, background)
    np.testing.assert_array_equal(back.analysis, analysis)
    assert back.background.dtype == precision
    assert back.background.shape == (4, n)
    assert back.attributes == {"method": "gaussian", "seed": "0"}


def test_a_time_that_is_missing_stays_missing(tmp_path: Path) -> None:
    observations = table()
    times = observations["time"].copy()
    times[3] = np.datetime64("NaT")
    observations = observations.replace(time=times)
    write_feedback(tmp_path / "f.nc", observations, members(9, 1), members(9, 2), {})
    np.testing.assert_array_equal(read_feedback(tmp_path / "f.nc").observations["time"], observations["time"])


def test_groups_hold_what_ioda_says(tmp_path: Path) -> None:
    observations = table().replace(qc=np.array([0, 0, 20, 0, 40, 0, 0, 3, 0], dtype=np.int32))
    observations = observations.replace(withheld=np.arange(9) == 3)
    background, analysis = members(9, 1), members(9, 2)
    path = tmp_path / "f.nc"
    write_feedback(path, observations, background, analysis, {})
    groups = {}
    for name in ("MetaData", "ObsValue", "ObsError", "PreQC", "EffectiveQC", "EffectiveError", "hofx", "ombg", "oman"):
        with xr.open_dataset(path, group=name) as file:
            groups[name] = file.load()
    value = observations["value"]
    np.testing.assert_array_equal(groups["ObsValue"]["value"], value)
    np.testing.assert_array_equal(groups["hofx"]["value"], background.mean(axis=0))
    np.testing.assert_array_equal(groups["ombg"]["value"], value - background.mean(axis=0))
    np.testing.assert_array_equal(groups["oman"]["value"], value - analysis.mean(axis=0))
    used = np.array([1, 1, 0, 0, 0, 1, 1, 0, 1], dtype=bool)
    expected = np.where(used, observations["error"], np.nan)
    np.testing.assert_array_equal(groups["EffectiveError"]["value"], expected)
    assert groups["MetaData"]["stationIdentification"].values[0] == "Zürich-Flughafen"
    np.testing.assert_array_equal(
        groups["MetaData"]["dateTime"].values.astype("datetime64[us]"), observations["time"].astype("datetime64[us]")
    )
    with netCDF4.Dataset(path) as file:
        assert file._ioda_layout == "ObsGroup"
        assert list(file.dimensions) == ["Location", "realization"]
        qc = file["EffectiveQC/value"]
        meanings = dict(zip(qc.flag_values.tolist(), qc.flag_meanings.split(), strict=True))
    assert meanings[int(QC.BACKGROUND)] == "background"
    assert len(meanings) == len(QC)


def test_missing_truncated_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(InputMissing):
        read_feedback(tmp_path / "none.nc")
    path = tmp_path / "f.nc"
    write_feedback(path, table(), members(9, 1), members(9, 2), {})
    data = path.read_bytes()
    (tmp_path / "half.nc").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="truncated"):
        read_feedback(tmp_path / "half.nc")
    xr.Dataset({"a": ("x", np.arange(3))}).to_netcdf(tmp_path / "foreign.nc", engine="netcdf4")
    with pytest.raises(InputError, match="not stormda.s layout .feedback"):
        read_feedback(tmp_path / "foreign.nc")
