"""Station tables: the mapping, its units, and every way in which a file can be wrong."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stormda.config import TableSource
from stormda.errors import ConfigError, InputError, InputMissing
from stormda.observations import Observations
from stormda.sources.table import read_table

CSV = """station,valid,lat,lon,elev,tmpf,drct,sknt,p
KJFK,2019-02-17T12:00Z,40.64,-73.78,4,32.0,270,10,1013.2
KBOS,2019-02-17T12:00Z,42.36,-71.01,6,212.0,90,20,1010.0
KJFK,2019-02-17T13:00Z,40.64,-73.78,4,,M,5,-999
MMUN,2019-02-17T13:00Z,21.04,-99.0,5,68.0,,0,1012.0
"""


def source(path: Path | str, **changes: object) -> TableSource:
    base: dict[str, object] = {
        "files": [str(path)],
        "station_id": "station",
        "time": "valid",
        "latitude": "lat",
        "longitude": "lon",
        "elevation": "elev",
        "variables": {"t2m": {"column": "tmpf", "unit": "degF"}, "msl": {"column": "p", "unit": "hPa"}},
        "wind": {"10m": {"direction": "drct", "speed": "sknt", "unit": "knot"}},
    }
    return TableSource.model_validate(base | changes)


def read(config: TableSource) -> Observations:
    return read_table(config, "airports", Path)


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "stations.csv"
    path.write_text(CSV)
    return path


def test_csv(csv: Path) -> None:
    table = read(source(csv)).table.to_pandas()
    first = table[table["report_id"] == "KJFK/20190217T120000Z"].set_index("variable")
    # Rounding of doubles near 273 and 101320: a few 2^-45, and 2^-36.
    assert first.loc["t2m", "value"] == pytest.approx(273.15, abs=1e-12)
    assert first.loc["msl", "value"] == pytest.approx(101320.0, abs=1e-10)
    assert first.loc["u10", "value"] == pytest.approx(10 * 1852 / 3600, abs=1e-14)
    assert first.loc["v10", "value"] == pytest.approx(0.0, abs=1e-14)
    assert first.loc["t2m", "source"] == "airports"
    assert first.loc["t2m", "elevation"] == 4
    second = table[table["report_id"] == "KBOS/20190217T120000Z"].set_index("variable")
    assert second.loc["t2m", "value"] == pytest.approx(373.15, abs=1e-12)  # absurd, and kept
    assert "KJFK/20190217T130000Z" not in set(table["report_id"])  # every value is missing
    mexico = table[table["station_id"] == "MMUN"].set_index("variable")
    assert mexico.loc["t2m", "longitude"] == -99.0  # a place, no fill value
    assert mexico.loc[["u10", "v10"], "value"].tolist() == [0.0, 0.0]  # calm


@pytest.mark.parametrize("sep", [";", "\t"])
def test_other_separators_and_white_space(tmp_path: Path, sep: str) -> None:
    path = tmp_path / "stations.csv"
    path.write_text("\ufeff" + CSV.replace(",", f"{sep} "), encoding="utf-8")
    assert len(read(source(path))) == 12


def test_parquet_and_csv_are_the_same(csv: Path, tmp_path: Path) -> None:
    path = tmp_path / "stations.parquet"
    frame = pd.read_csv(csv, na_values=["M"])
    frame["valid"] = pd.to_datetime(frame["valid"])
    frame.to_parquet(path)
    one, two = read(source(csv)), read(source(path))
    for name in one.table.column_names:
        assert one.table.column(name).to_pandas().equals(two.table.column(name).to_pandas()), name


def test_compressed(csv: Path, tmp_path: Path) -> None:
    path = tmp_path / "stations.csv.gz"
    pd.read_csv(csv, dtype=str).to_csv(path, index=False)
    assert len(read(source(path))) == 12
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="truncated"):
        read(source(path))


def test_station_ids_keep_their_zeros(tmp_path: Path) -> None:
    path = tmp_path / "synop.csv"
    path.write_text(
        "station,valid,lat,lon,t\n01001,2019-02-17T12:00,70.9,-8.7,270\n1001,2019-02-17T13:00,70.9,-8.7,271\n"
    )
    config = source(path, elevation=None, variables={"t2m": {"column": "t"}}, wind={})
    assert read(config)["station_id"].tolist() == ["01001", "01001"]


def test_places_from_a_table_of_stations(csv: Path, tmp_path: Path) -> None:
    stations = tmp_path / "places.csv"
    stations.write_text("id,y,x,z\nKJFK,40.64,-73.78,4\nKBOS,42.36,-71.01,6\n")
    table = {"file": str(stations), "station_id": "id", "latitude": "y", "longitude": "x", "elevation": "z"}
    out = read(source(csv, stations=table, latitude=None, longitude=None, elevation=None)).table.to_pandas()
    known = out[out["station_id"] == "KBOS"]
    assert known[["latitude", "longitude", "elevation"]].iloc[0].tolist() == [42.36, -71.01, 6.0]
    assert set(out.loc[out["station_id"] == "MMUN", "qc"]) == {2}  # not in the table: MISSING
    stations.write_text("id,y,x\nKJFK,40.64,-73.78\nKJFK,41.0,-73.78\n")
    with pytest.raises(InputError, match="two places"):
        read(source(csv, stations=table | {"elevation": None}))
    stations.write_text("id,y,x\nEDDF,50.0,8.5\n")
    with pytest.raises(InputError, match="no station of the reports"):
        read(source(csv, stations=table | {"elevation": None}))


def test_time_in_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("station,y,m,d,h,lat,lon,t\nA,2019,2,17,12,50,5,280\nA,2019,2,30,12,50,5,281\n")
    config = source(path, time=["y", "m", "d", "h"], elevation=None, variables={"t2m": {"column": "t"}}, wind={})
    out = read(config)
    assert out["qc"].tolist() == [0, 2]
    assert out["time"][0] == np.datetime64("2019-02-17T12")


def test_levels_of_a_sounding(tmp_path: Path) -> None:
    path = tmp_path / "temp.csv"
    path.write_text(
        "station,valid,lat,lon,plev,h,t\nA,2019-02-17T12,50,5,50000,5600,250\nA,2019-02-17T12,50,5,85000,,270\n"
    )
    config = source(
        path,
        elevation=None,
        platform="temp",
        level={"column": "plev", "unit": "Pa"},
        variables={"z": {"column": "h", "unit": "gpm"}, "t": {"column": "t", "unit": "K"}},
        wind={},
    )
    out = read(config).table.to_pandas()
    assert out["level"].tolist() == [500.0, 500.0, 850.0]
    assert out["value"].tolist() == [5600 * 9.80665, 250.0, 270.0]


def test_an_index_level_has_no_unit(tmp_path: Path) -> None:
    path = tmp_path / "sqg.csv"
    path.write_text("station,valid,lat,lon,boundary,th\nA,2030-01-01,50,5,0,1\nA,2030-01-01,50,5,1,2\n")
    config = source(path, elevation=None, level={"column": "boundary"}, variables={"theta": {"column": "th"}}, wind={})
    out = read(config)
    assert out["level"].tolist() == [0.0, 1.0]
    assert set(out["level_type"]) == {"index"}
    assert out["qc"].tolist() == [0, 0]


@given(value=st.one_of(st.sampled_from([-99.0, -999.0, -9999.0]), st.floats(-80.0, 120.0)))
def test_missing_numbers_make_no_row(tmp_path_factory: pytest.TempPathFactory, value: float) -> None:
    path = tmp_path_factory.mktemp("t") / "t.csv"
    path.write_text(f"station,valid,lat,lon,t\nA,2019-02-17T12,50,5,{value!r}\nA,2019-02-17T13,50,5,10\n")
    config = source(path, elevation=None, variables={"t2m": {"column": "t", "unit": "degC"}}, wind={})
    assert len(read(config)) == (1 if value in (-99.0, -999.0, -9999.0) else 2)


def test_missing_numbers_can_be_chosen(csv: Path) -> None:
    kept = read(source(csv, missing=[], wind={}, variables={"msl": {"column": "p", "unit": "hPa"}}))
    assert -99900.0 in kept["value"].tolist()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        (CSV.splitlines()[0] + "\n", "no rows"),
        (CSV.replace("tmpf", "temp"), "no column 'tmpf'"),
        (CSV[: CSV.rindex("20,1010")], "truncated"),
        (CSV.replace("KBOS,", "KBOS,x,y,"), "truncated or no table"),
        (CSV.replace("40.64", "north").replace("42.36", "north").replace("21.04", "n"), "'lat' holds no numbers"),
        (CSV.replace("2019-02-17", "17/02/19"), "no row has a time"),
        ("\x00\x01\x02" * 100, "no column"),
    ],
)
def test_files_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "stations.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read(source(path))
    assert error.value.file == str(path)


def test_the_nearest_column_is_named(csv: Path) -> None:
    with pytest.raises(InputError) as error:
        read(source(csv, latitude="latt"))
    assert error.value.hint == "did you mean 'lat'?"


def test_not_text_not_parquet(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xff\xfe\x00\x81" * 50)
    with pytest.raises(InputError):
        read(source(path))
    path = tmp_path / "t.parquet"
    pd.DataFrame({"a": range(1000)}).to_parquet(path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match="truncated"):
        read(source(path))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputMissing) as error:
        read(source(tmp_path / "no.csv"))
    assert error.value.key == "observations.sources.airports.files"


def test_a_unit_that_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    lines = [f"A,2019-02-17T{h:02d}:00,50,5,{55 + h}" for h in range(24)]
    path.write_text("station,valid,lat,lon,t\n" + "\n".join(lines) + "\n")
    with pytest.raises(InputError, match="unit is wrong"):
        read(source(path, elevation=None, variables={"t2m": {"column": "t"}}, wind={}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time": ["valid", "lat"]}, "time is one column"),
        ({"variables": {"t": {"column": "tmpf"}}}, "t need a level"),
        ({"variables": {"t2m": {"column": "tmpf", "unit": "hPa"}}}, "hPa"),
        ({"variables": {"t2m": {"column": "tmpf", "unit": "furlong"}}}, "furlong"),
    ],
)
def test_mappings_that_are_wrong(csv: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        read(source(csv, **changes))
    assert error.value.key is not None and error.value.key.startswith("observations.sources.airports")


def test_flags_of_the_provider(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(
        "id,time,lat,lon,h,t,tq,d,dq,f,fq,a,aq\n"
        "A,2020-01-01T00:00,50,8,0,280,V,270,S,5,Q,29.92,1\n"
        "B,2020-01-01T00:00,50,9,0,281,X,270,X,5,V,29.92,\n"
        "C,2020-01-01T00:00,50,9,0,282,,270,,5,,29.92,9.0\n"
    )
    mapping = {"station_id": "id", "time": "time", "latitude": "lat", "longitude": "lon", "elevation": "h"}
    wind = {"direction": "d", "speed": "f", "flags": ["dq", "fq"]}
    more = {"variables": {"t2m": {"column": "t", "flag": "tq"}}, "wind": {"10m": wind}, "reject": ["X", "Q", 9]}
    more |= {"altimeter": {"column": "a", "unit": "inHg", "flag": "aq"}}
    config = TableSource.model_validate({"files": [str(tmp_path / "x.csv")], **mapping, **more})
    table = read_table(config, "obs", Path).table.to_pandas().set_index(["station_id", "variable"])
    codes = {s: [int(table["qc"].loc[(s, v)]) for v in ("t2m", "u10", "sp")] for s in "ABC"}
    assert codes == {"A": [0, 1, 0], "B": [1, 1, 0], "C": [0, 0, 1]}
    assert [int(table["pre_qc"].loc[(s, "u10")]) for s in "ABC"] == [ord("Q"), ord("X"), 0]
    assert [int(table["pre_qc"].loc[(s, "sp")]) for s in "ABC"] == [1, 0, 9]
    # 29.92 inHg are 1013.21 hPa; at sea level that is the station's pressure.
    assert table["value"].loc[("A", "sp")] == pytest.approx(29.92 * 3386.389, rel=1e-12)


def test_amounts_have_an_interval_and_heights_a_unit(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("id,time,lat,lon,ft,rain\nA,2020-01-01T06:00,50,8,1000,2.5\n")
    mapping = {"station_id": "id", "time": "time", "latitude": "lat", "longitude": "lon", "elevation": "ft"}
    rain = {"variables": {"tp": {"column": "rain", "unit": "mm", "interval": "6h"}}, "elevation_unit": "ft"}
    config = TableSource.model_validate({"files": [str(tmp_path / "x.csv")], **mapping, **rain})
    table = read_table(config, "obs", Path).table.to_pandas()
    assert table[["variable", "value", "interval"]].to_numpy().tolist() == [["tp", 2.5e-3, 21600.0]]
    assert table["elevation"].tolist() == pytest.approx([304.8], rel=1e-15)  # a foot is 0.3048 m, by definition


@pytest.mark.realdata
def test_real_tables_of_metars(data_dir: Path) -> None:
    mapping: dict[str, object] = {"station_id": "stationName", "time": "timeObs", "latitude": "latitude"}
    mapping |= {"longitude": "longitude", "elevation": "elevation", "reject": ["X", "Q", "B"], "platform": "metar"}
    pairs = {"t2m": "temperature", "d2m": "dewpoint", "msl": "seaLevelPress"}
    mapping["variables"] = {v: {"column": c, "flag": f"{c}DD"} for v, c in pairs.items()}
    mapping["altimeter"] = {"column": "altimeter", "flag": "altimeterDD"}
    mapping["wind"] = {"10m": {"direction": "windDir", "speed": "windSpeed", "flags": ["windDirDD", "windSpeedDD"]}}
    path = data_dir / "obs" / "metar" / "metar_2020-01_madis.parquet"
    config = TableSource.model_validate({"files": [str(path)], **mapping})
    table = read_table(config, "obs", Path).table.to_pandas()
    assert table["value"].notna().all() and table["report_id"].nunique() > 10000
    temperature = table[table["variable"] == "t2m"]
    bad = pd.read_parquet(path)[["temperature", "temperatureDD"]].dropna()["temperatureDD"].isin(["X", "Q", "B"]).sum()
    assert (temperature["qc"] == 1).sum() == bad


def test_metadata_of_a_parquet_file_are_not_needed(tmp_path: Path) -> None:
    """What pandas wrote about the table may be damaged while its columns are whole."""
    columns = {"id": ["A"], "time": ["2020-01-01"], "lat": [50.0], "lon": [8.0], "t": [280.0]}
    pq.write_table(pa.table(columns, metadata={b"pandas": b"\xcc\xff"}), tmp_path / "x.parquet")
    mapping = {"station_id": "id", "time": "time", "latitude": "lat", "longitude": "lon"}
    more: dict[str, object] = {"files": [str(tmp_path / "x.parquet")], "variables": {"t2m": {"column": "t"}}}
    assert len(read_table(TableSource.model_validate(mapping | more), "obs", Path)) == 1
