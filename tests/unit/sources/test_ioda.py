"""IODA v3: what is written is read again, the provider's marks and errors count, and a real file is read."""

from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd
import pytest

from stormda.config import IodaSource
from stormda.errors import InputError
from stormda.observations import QC, Observations
from stormda.sources.ioda import read_ioda
from stormda.store.ioda import NAMES, write_ioda
from stormda.variables import VOCABULARY, LevelType


def read(path: Path, **options: object) -> pd.DataFrame:
    config = IodaSource.model_validate({"files": [str(path)], "level": "surface", **options})
    return pd.DataFrame(read_ioda(config, "obs", Path).table.to_pandas())


def foreign(path: Path, temperature: str = "airTemperature") -> Path:
    """A file as another centre writes it: other units, marks, times from another start, no elevation."""
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("Location", 4)
        file.createDimension("Channel", 2)
        for name, values, unit in (
            ("latitude", [50.0, 51.0, 52.0, 9.96921e36], "degree_north"),
            ("longitude", [8.0, 9.0, 10.0, 11.0], "degree_east"),
            ("pressure", [85000.0, 50000.0, 30000.0, 20000.0], "Pa"),
        ):
            variable = file.createVariable(f"MetaData/{name}", "f4", ("Location",))
            variable[:] = values
            variable.units = unit
        time = file.createVariable("MetaData/dateTime", "i8", ("Location",), fill_value=-1)
        time.units = "minutes since 2021-12-11T00:00:00Z"
        time[:] = [0, 90, -1, 60]
        for group, values in (("ObsValue", [10.0, 11.0, 12.0, 13.0]), ("ObsError", [1.0, 9.96921e36, 1.5, -1.0])):
            variable = file.createVariable(f"{group}/{temperature}", "f4", ("Location",))
            variable[:] = values
            variable.units = "degC"
        file.createVariable(f"PreQC/{temperature}", "i4", ("Location",))[:] = [2, 9, 0, 0]
        file.createVariable(f"EffectiveQC/{temperature}", "i4", ("Location",))[:] = [0, 0, 12, 0]
        file.createVariable("ObsValue/brightnessTemperature", "f4", ("Location", "Channel"))[:] = 1.0
    return path


def test_a_file_of_another_centre(tmp_path: Path) -> None:
    path = foreign(tmp_path / "x.nc4")
    table = read(path)
    assert table["variable"].tolist() == ["t2m"] * 4
    assert table["value"].tolist() == [283.15, 284.15, 285.15, 286.15]
    assert table["error"].tolist() == pytest.approx([1.0, np.nan, 1.5, np.nan], nan_ok=True)  # a degree is a kelvin
    assert table["qc"].tolist() == [QC.USED, QC.PROVIDER, QC.MISSING, QC.MISSING]
    assert table["pre_qc"].tolist() == [2, 9, 0, 0]
    assert table["time"].tolist()[:2] == [pd.Timestamp("2021-12-11T00:00"), pd.Timestamp("2021-12-11T01:30")]
    upper = read(path, level="pressure", accept=9, errors={"t": 0.7})
    assert upper["level"].tolist() == [850.0, 500.0, 300.0, 200.0]
    assert upper["qc"].tolist()[:2] == [QC.USED, QC.USED]
    assert set(upper["error"]) == {0.7}  # the configuration's own goes before


def test_names(tmp_path: Path) -> None:
    path = foreign(tmp_path / "x.nc4")
    assert set(read(path, names={"d2m": "airTemperature"})["variable"]) == {"t2m", "d2m"}
    with pytest.raises(InputError, match="no variable 'dew'"):
        read(path, names={"d2m": "dew"})
    with pytest.raises(InputError, match="ObsValue has tendency, bright.* and none of pressureReducedToMeanSeaLevel"):
        read(foreign(tmp_path / "y.nc4", "tendency"))


@pytest.mark.parametrize("surface", [True, False])
def test_what_is_written_is_read_again(tmp_path: Path, surface: bool) -> None:
    rng = np.random.default_rng(5)
    n = 200
    names = [v for v in NAMES if (VOCABULARY[v].level_type is LevelType.SURFACE) == surface]
    variable = rng.choice(names, n)
    station = rng.choice(["01001", "KJFK", "62.00N005.00E"], n)
    observations = Observations.of(
        {
            "report_id": np.char.add(station.astype(str), "/x"),
            "station_id": station,
            "platform": "synop",
            "source": "obs",
            "variable": variable,
            "level_type": "surface" if surface else "pressure",
            "level": np.nan if surface else rng.choice([850.0, 500.0], n),
            "time": np.datetime64("2019-02-17T12") + rng.integers(0, 3, n).astype("timedelta64[h]"),
            "latitude": np.round(rng.uniform(-90, 90, n), 4),
            "longitude": 5.0,
            "elevation": np.where(station == "KJFK", np.nan, 9.0),
            "value": [float(rng.uniform(VOCABULARY[v].minimum, VOCABULARY[v].maximum)) for v in variable],
            "error": rng.choice([0.5, np.nan], n),
            "pre_qc": rng.integers(0, 3, n).astype(np.int32),
            "qc": np.where(rng.random(n) < 0.2, int(QC.PROVIDER), 0).astype(np.int32),
        }
    )
    twice = Observations.concat([observations, observations])  # duplicates keep their rows
    write_ioda(tmp_path / "out.nc4", twice, {"title": "test"})
    columns = ["station_id", "variable", "level", "time", "latitude", "elevation", "value", "error", "pre_qc", "qc"]
    order = ["value", "variable"]
    back = read(tmp_path / "out.nc4", level="surface" if surface else "pressure").sort_values(order)
    there = twice.table.to_pandas().sort_values(order)
    pd.testing.assert_frame_equal(
        back[columns].reset_index(drop=True), there[columns].reset_index(drop=True), check_dtype=False, rtol=1e-14
    )


def test_a_report_shares_its_location(tmp_path: Path) -> None:
    one = {"report_id": "a/1", "station_id": "a", "platform": "synop", "source": "obs", "time": "2019-02-17T12"}
    both = Observations.of(
        one
        | {"variable": ["t2m", "msl"], "value": [280.0, 1e5], "latitude": 1.0, "longitude": 2.0}
        | {"time": np.full(2, np.datetime64("2019-02-17T12"))}
    )
    assert write_ioda(tmp_path / "x.nc4", both, {}) == 1
    with netCDF4.Dataset(tmp_path / "x.nc4") as file:
        assert file["ObsValue/airTemperatureAt2M"][:].tolist() == [280.0]
        assert file["ObsValue/pressureReducedToMeanSeaLevel"].units == "Pa"
        assert file["MetaData/dateTime"][:].tolist() == [1550404800]
        assert file["MetaData/stationElevation"][:].mask.all()
    assert write_ioda(tmp_path / "none.nc4", Observations.empty(), {}) == 0


def test_files_of_other_kinds(tmp_path: Path) -> None:
    with netCDF4.Dataset(tmp_path / "flat.nc", "w") as file:
        file.createDimension("x", 1)
    with pytest.raises(InputError, match="not an IODA v3 file: it has no groups MetaData and ObsValue"):
        read(tmp_path / "flat.nc")
    path = foreign(tmp_path / "x.nc4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="damaged or not of this kind"):
        read(path)


@pytest.mark.realdata
def test_a_real_scatterometer(data_dir: Path) -> None:
    table = read(data_dir / "obs" / "ioda_scatwind.20211211T210000Z.nc4")
    assert table["variable"].value_counts().to_dict() == {"u10": 8413, "v10": 8413}
    assert (set(table["qc"]), set(table["error"]), set(table["pre_qc"])) == ({0}, {2.0}, {2})
    # Ocean winds: a mean of some 8 m s-1, and below 40 m s-1 but in the strongest storms.
    assert table["value"].abs().max() < 40.0
