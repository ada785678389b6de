"""ISD and GHCN-hourly: packed fields, quality codes, names of stations, and rows that are wrong."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stormda.config import GhcnhSource, IsdSource
from stormda.errors import InputError
from stormda.observations import QC
from stormda.sources.ghcnh import read_ghcnh
from stormda.sources.isd import read_isd


def lines(separator: str, quote: str, rows: list[dict[str, str]]) -> str:
    """A table with the columns of all rows; what a row has not is empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([row.get(name, "") for name in names] for row in rows)]
    return "".join(separator.join(f"{quote}{c}{quote}" for c in row) + "\n" for row in cells)


KENNEDY = {"STATION": "74486094789", "DATE": "2020-01-01T00:51:00", "LATITUDE": "40.63915", "LONGITUDE": "-73.76401"}
KENNEDY |= {"ELEVATION": "2.7", "NAME": "JFK, NY US", "CALL_SIGN": "KJFK ", "WND": "310,1,N,0041,1", "TMP": "+0056,1"}
KENNEDY |= {"DEW": "-0011,5", "SLP": "10132,1", "AA1": "01,0005,9,1", "AA2": "06,0020,9,3", "MA1": "10136,1,10126,1"}
BERLIN = {"STATION": "10384099999", "DATE": "2020-01-01T01:00:00", "LATITUDE": "52.4675", "LONGITUDE": "13.402083"}
BERLIN |= {"ELEVATION": "48.0", "NAME": "BERLIN, GM", "CALL_SIGN": "99999", "WND": "999,9,V,0010,1", "TMP": "+0031,2"}
BERLIN |= {"DEW": "+9999,9", "SLP": "99999,9", "MA1": "10200,1,99999,9"}
NOWHERE = {"STATION": "A0735500241", "DATE": "2020-01-01T02:00:00", "ELEVATION": "9999.9", "WND": "000,1,C,0000,1"}
NOWHERE |= {"TMP": "-0105,C", "DEW": "-0200,1", "SLP": "10250,1", "AA1": "99,9999,9,9"}
ISD = lines(",", '"', [KENNEDY, BERLIN, NOWHERE])

YEAR = {"Year": "2020", "Month": "1", "Day": "1", "Hour": "1", "Minute": "0"}
WMO = YEAR | {"Station_ID": "GMM00010384", "Station_name": 'BERLIN "TEMPELHOF', "Latitude": "52.4675"}
WMO |= {"Longitude": "13.4021", "Elevation": "48.0", "temperature": "3.1", "temperature_Quality_Code": "S"}
WMO |= {"temperature_Source_Code": "380", "dew_point_temperature": "2.0", "dew_point_temperature_Quality_Code": "C"}
WMO |= {"dew_point_temperature_Source_Code": "335", "wind_direction": "310", "wind_direction_Quality_Code": "5"}
WMO |= {"wind_speed": "4.1", "sea_level_pressure": "1013.2", "station_level_pressure": "1008.1"}
WMO |= {"station_level_pressure_Quality_Code": "3", "precipitation": "0.5", "precipitation_6_hour": "2.0"}
WMO |= {"relative_humidity": "80", "remarks": 'say "hello'}
PLACE = {"Latitude": "40.64", "Longitude": "-73.76", "Elevation": "2.7"}
WBAN = YEAR | PLACE | {"Station_ID": "USW00094789", "temperature": "5.6", "temperature_Quality_Code": "1"}
WBAN |= {"temperature_Source_Code": "335", "dew_point_temperature": "-1.1", "dew_point_temperature_Quality_Code": "C"}
WBAN |= {
    "dew_point_temperature_Source_Code": "380",
    "wind_direction": "999",
    "wind_speed": "1.0",
    "precipitation": "-9999",
}
ICAO = YEAR | PLACE | {"Station_ID": "GMI0000EDDF", "altimeter": "1013.25"}
GHCNH = lines("|", "", [WMO, WBAN, ICAO])


def isd(folder: Path, text: str = ISD) -> pd.DataFrame:
    (folder / "x.csv").write_text(text)
    return pd.DataFrame(read_isd(IsdSource(files=(str(folder / "x.csv"),)), "obs", Path).table.to_pandas())


def ghcnh(folder: Path, text: str = GHCNH, name: str = "x.psv") -> pd.DataFrame:
    (folder / name).write_text(text)
    return pd.DataFrame(read_ghcnh(GhcnhSource(files=(str(folder / name),)), "obs", Path).table.to_pandas())


def test_isd_values(tmp_path: Path) -> None:
    table = isd(tmp_path)
    york = table[(table["station_id"] == "KJFK") & (table["variable"] != "tp")].set_index("variable")
    expected = {"t2m": 278.75, "d2m": 272.05, "msl": 101320.0, "sp": 101260.0}
    assert york["value"].loc[list(expected)].to_dict() == pytest.approx(expected, rel=1e-12)
    speed, angle = 4.1, np.deg2rad(310.0)
    assert york["value"].loc["u10"] == pytest.approx(-speed * np.sin(angle), rel=1e-12)
    assert set(york["time"]) == {pd.Timestamp("2020-01-01T00:51")}
    rain = table[table["variable"] == "tp"].set_index("interval")
    assert rain["value"].to_dict() == pytest.approx({3600.0: 5e-4, 21600.0: 2e-3}, rel=1e-12)
    assert rain["qc"].to_dict() == {3600.0: QC.USED, 21600.0: QC.PROVIDER}


def test_isd_missing_flagged_and_nowhere(tmp_path: Path) -> None:
    table = isd(tmp_path)
    berlin = table[table["station_id"] == "10384"].set_index("variable")  # its WMO number
    assert set(berlin.index) == {"t2m", "sp"}  # all else is missing: 9999, and a wind without direction
    assert (berlin["qc"].loc["t2m"], berlin["pre_qc"].loc["t2m"]) == (QC.PROVIDER, ord("2"))
    # From the altimeter setting: 48 m below 12.1 Pa a metre.
    assert berlin["value"].loc["sp"] == pytest.approx(102000 - 48 * 12.1, abs=10.0)
    nowhere = table[table["station_id"] == "A0735500241"].set_index("variable")
    assert set(nowhere["qc"]) == {QC.MISSING} and nowhere["elevation"].isna().all()
    assert nowhere["value"].loc[["u10", "v10"]].tolist() == [0.0, 0.0]  # a calm


def test_isd_without_optional_columns(tmp_path: Path) -> None:
    few = {k: KENNEDY[k] for k in ("STATION", "DATE", "LATITUDE", "LONGITUDE", "ELEVATION", "TMP")}
    table = isd(tmp_path, lines(",", '"', [few, few | {"STATION": "1"}]))
    assert table[["station_id", "variable"]].to_numpy().tolist() == [["74486", "t2m"], ["00000000001", "t2m"]]


def test_ghcnh(tmp_path: Path) -> None:
    table = ghcnh(tmp_path)
    assert set(table["station_id"]) == {"10384", "USW00094789", "EDDF"}
    berlin = table[(table["station_id"] == "10384") & (table["variable"] != "tp")].set_index("variable")
    expected = {"t2m": 276.25, "d2m": 275.15, "rh2m": 0.8, "msl": 101320.0, "sp": 100810.0}
    assert berlin["value"].loc[list(expected)].to_dict() == pytest.approx(expected, rel=1e-12)
    codes = berlin["qc"].loc[["t2m", "d2m", "u10", "sp", "msl"]].tolist()
    # A letter of GHCN-hourly; one of ISD; passed; erroneous; none.
    assert codes == [QC.PROVIDER, QC.USED, QC.USED, QC.PROVIDER, QC.USED]
    rain = table[table["variable"] == "tp"].set_index("interval")["value"].to_dict()
    assert rain == pytest.approx({3600.0: 5e-4, 21600.0: 2e-3}, rel=1e-12)
    york = table[table["station_id"] == "USW00094789"].set_index("variable")
    assert set(york.index) == {"t2m", "d2m"}  # a variable wind has no components
    assert york["qc"].tolist() == [QC.USED, QC.PROVIDER]
    assert table[table["station_id"] == "EDDF"]["variable"].tolist() == ["sp"]


def test_ghcnh_of_2025(tmp_path: Path) -> None:
    text = (
        "STATION|DATE|LATITUDE|LONGITUDE|ELEVATION|temperature\nUSW00094789|2025-01-15T12:00:00|40.6|-73.8|2.7|10.6\n"
    )
    table = ghcnh(tmp_path, text)
    assert table["value"].tolist() == [pytest.approx(283.75, rel=1e-12)]
    assert table["time"].tolist() == [pd.Timestamp("2025-01-15T12:00")]


def test_files_of_other_kinds(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no column 'STATION'"):
        isd(tmp_path, "a,b\n1,2\n")
    with pytest.raises(InputError, match="no column 'Station_ID'"):
        ghcnh(tmp_path, "a|b\n1|2\n")
    with pytest.raises(InputError):
        isd(tmp_path, ISD[:-20])  # a row was cut


@pytest.mark.parametrize("kind", ["isd", "ghcnh"])
def test_mutated_files_give_an_error_or_sane_rows(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(11)
    clean = (ISD if kind == "isd" else GHCNH).encode()
    for _ in range(60):
        data = bytearray(clean)
        for place in rng.integers(len(data), size=int(rng.integers(1, 40))):
            data[place] = int(rng.integers(32, 127))
        try:
            table = (isd if kind == "isd" else ghcnh)(tmp_path, data.decode("latin-1"))
        except InputError:
            continue
        assert np.isfinite(table["value"]).all()
        assert (table["time"].notna() & table["latitude"].notna() | (table["qc"] == QC.MISSING)).all()
