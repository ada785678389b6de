"""MADIS: descriptors become codes, every kind of report has its variables, and files of other kinds are told apart."""

import gzip
from collections.abc import Mapping
from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd
import pytest

from stormda.config import MadisSource
from stormda.errors import InputError
from stormda.observations import QC
from stormda.sources.humidity import relative_humidity, specific_humidity
from stormda.sources.madis import read_madis
from stormda.sources.standard_atmosphere import pressure

SECONDS = 1125014400.0  # 2005-08-26T00Z
FILL = 99999.0


def write(path: Path, variables: Mapping[str, object], pack: bool = False) -> Path:
    """A classic NetCDF file as MADIS writes them: numbers with a fill value, words as rows of characters."""
    with netCDF4.Dataset(path, "w", format="NETCDF3_CLASSIC") as file:
        file.createDimension("recNum", None)
        for name, values in variables.items():
            array = np.asarray(values)
            shape = ["recNum"]
            if array.dtype.kind == "U":
                width = max(int(array.dtype.itemsize / 4), 1)
                array = array.astype(f"S{width}").view("S1").reshape(len(array), -1)
                array = array[:, 0] if name.endswith("DD") or width == 1 else array
            for axis, length in enumerate(array.shape[1:]):
                file.createDimension(f"{name}{axis}", length)
                shape.append(f"{name}{axis}")
            fill = FILL if array.dtype.kind == "f" else None
            file.createVariable(name, array.dtype.str[1:], shape, fill_value=fill)[:] = array
    if pack:
        path.write_bytes(gzip.compress(path.read_bytes()))
    return path


def metar(**more: object) -> dict[str, object]:
    names = ["temperature", "dewpoint", "windDir", "windSpeed", "seaLevelPress", "altimeter", "precip1Hour"]
    numbers = [[290.0, 291.0, 400.0], [280.0, FILL, 281.0], [270.0] * 3, [5.0, 0.0, 7.0], [101000.0] * 3]
    numbers += [[101325.0] * 3, [0.001, FILL, 0.0]]
    out: dict[str, object] = {"stationName": ["KJFK", "KEWR", "KLGA"], "timeObs": [SECONDS] * 3}
    out |= {"latitude": [40.6, 40.7, 40.8], "longitude": [-73.8, -74.2, -73.9], "elevation": [0.0, 5.0, 6.0]}
    out |= {n: np.array(v, dtype=np.float32) for n, v in zip(names, numbers, strict=True)}
    out |= {f"{n}DD": ["V", "V", "X"] for n in names} | {"windDirDD": ["V", "Q", "S"]}
    return out | {"tempFromTenths": np.array([290.2, FILL, FILL], dtype=np.float32)} | more


def read(path: Path, report: str) -> pd.DataFrame:
    config = MadisSource.model_validate({"files": [str(path)], "report": report})
    return pd.DataFrame(read_madis(config, "obs", Path).table.to_pandas())


@pytest.mark.parametrize("pack", [False, True])
def test_metar(tmp_path: Path, pack: bool) -> None:
    table = read(write(tmp_path / "x", metar(), pack), "metar").set_index(["station_id", "variable"])
    # Values were packed as float32: half a unit in the last place of 290 is 1.5e-5.
    assert table["value"].loc[("KJFK", "t2m")] == pytest.approx(290.2, abs=2e-5)  # tenths, where there are any
    assert table["value"].loc[("KEWR", "t2m")] == 291.0
    assert ("KEWR", "d2m") not in table.index
    assert table["value"].loc[("KJFK", "sp")] == pytest.approx(101325.0, abs=0.01)
    assert table["value"].loc[("KJFK", "tp")] == pytest.approx(1e-3, rel=1e-6)
    assert table["interval"].loc[("KJFK", "tp")] == 3600.0
    assert set(table["time"]) == {pd.Timestamp("2005-08-26")}
    # X and Q are rejected; a wind is as bad as the worse of its two numbers; the letter stays readable.
    assert table["qc"].loc[("KLGA", "t2m")] == QC.PROVIDER
    assert table["qc"].loc[[("KEWR", "u10"), ("KLGA", "u10")]].tolist() == [QC.PROVIDER, QC.PROVIDER]
    assert table["pre_qc"].loc[[("KEWR", "u10"), ("KLGA", "u10")]].tolist() == [ord("Q"), ord("X")]
    assert table["qc"].loc[("KJFK", "u10")] == QC.USED


def acars() -> dict[str, object]:
    n = 6
    out: dict[str, object] = {"en_tailNumber": ["FSL1", "FSL2", "FSL3", "FSL4", "FSL5", "FSL6"]}
    out |= {"latitude": [40.0] * n, "longitude": [10.0] * n, "timeObs": [SECONDS] * n}
    out |= {"altitude": np.array([5000.0] * 5 + [FILL], dtype=np.float32)}
    for name, value in {"temperature": 255.0, "windDir": 270.0, "windSpeed": 30.0, "dewpoint": 245.0}.items():
        out[name] = np.full(n, value, dtype=np.float32)
    out["waterVaporMR"] = np.array([0.002, -1.0, 0.002, -1.0, -1.0, -1.0])
    out |= {f"{v}DD": ["V"] * n for v in (*out, "timeObs") if v != "en_tailNumber"}
    flags = {"errorType": ["-", "-", "B", "W", "-", "-"], "dataDescriptor": ["T", "T", "X", "X", "T", "T"]}
    flags |= {"rollFlag": ["N", "B", "N", "N", "N", "N"], "waterVaporQC": ["0", "-", "5", "-", "-", "-"]}
    flags |= {"speedError": ["p", "p", "p", "p", "F", "p"], "bounceError": ["p"] * n}
    return out | flags


def test_acars(tmp_path: Path) -> None:
    table = read(write(tmp_path / "x.nc", acars()), "acars").set_index(["station_id", "variable"])
    assert set(table["level"].dropna()) == {np.round(pressure(np.array([5000.0])), 2)[0]}
    codes = {s: {v: int(table["qc"].loc[(s, v)]) for v in ("t", "u")} for s in ("FSL1", "FSL2", "FSL3", "FSL4", "FSL5")}
    assert codes == {
        "FSL1": {"t": 0, "u": 0},
        "FSL2": {"t": 0, "u": 1},  # it rolled: its wind is wrong
        "FSL3": {"t": 1, "u": 1},  # both are
        "FSL4": {"t": 0, "u": 1},  # the wind is
        "FSL5": {"t": 1, "u": 1},  # it was elsewhere
    }
    assert table["qc"].loc[("FSL6", "t")] == QC.MISSING  # no altitude
    q = specific_humidity(np.array([0.002]))[0]
    assert table["value"].loc[("FSL1", "q")] == pytest.approx(q, rel=1e-12) and ("FSL1", "r") not in table.index
    assert table["qc"].loc[("FSL3", "q")] == QC.PROVIDER
    r = relative_humidity(np.array([255.0]), np.array([245.0]))[0]
    assert table["value"].loc[("FSL2", "r")] == pytest.approx(r, rel=1e-12)


def test_rawin(tmp_path: Path) -> None:
    scale, surface = 8000.0, 1000.0  # an isothermal atmosphere: ln p is linear in z, the interpolation exact
    heights = np.array([[0.0, 1500.0, 5500.0]])
    levels = (surface * np.exp(-heights / scale)).astype(np.float32)
    variables: dict[str, object] = {"wmoStaNum": np.array([6181], dtype=np.int32), "synTime": [SECONDS]}
    variables |= {"staLat": [55.7], "staLon": [12.5], "staElev": [40.0], "prMan": levels, "htMan": heights}
    for prefix, value in {"tp": 270.0, "td": 5.0, "wd": 180.0, "ws": 10.0}.items():
        variables[f"{prefix}Man"] = np.full((1, 3), value)
    variables |= {"prSigT": [[800.0]], "tpSigT": [[265.0]], "tdSigT": [[FILL]], "htSigW": [[3000.0, 9000.0]]}
    variables |= {"wdSigW": [[180.0, 180.0]], "wsSigW": [[20.0, 30.0]]}
    table = read(write(tmp_path / "x.nc", variables), "rawin")
    assert set(table["station_id"]) == {"06181"}
    assert table.query("variable == 'z'")["value"].tolist() == pytest.approx([0.0, 1500 * 9.80665, 5500 * 9.80665])
    assert table.query("variable == 't'").shape[0] == 4 and table.query("variable == 'r'").shape[0] == 3
    strong = table.query("variable == 'v' and value > 15")
    assert strong["level"].iloc[0] == pytest.approx(surface * np.exp(-3000 / scale), abs=0.01)
    assert np.isnan(strong["level"].iloc[1]) and strong["qc"].tolist() == [QC.USED, QC.MISSING]


def test_humidity() -> None:
    assert relative_humidity(np.array([290.0]), np.array([290.0])) == pytest.approx(1.0, rel=1e-15)
    # WMO, Guide to Instruments (2008): 23.37 hPa at 20 degC and 6.112 hPa at 0 degC; the formula is good to 0.1 %.
    assert 1 / relative_humidity(np.array([293.15]), np.array([273.15])) == pytest.approx(23.37 / 6.112, rel=2e-3)
    assert np.isnan(relative_humidity(np.array([29.65, np.nan]), np.array([280.0, 280.0]))).all()
    assert specific_humidity(np.array([0.25, -1.0])) == pytest.approx([0.2, np.nan], nan_ok=True)


def test_files_of_other_kinds(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello world")
    with pytest.raises(InputError, match="not a NetCDF file"):
        read(tmp_path / "text", "metar")
    path = write(tmp_path / "x.nc", metar())
    with pytest.raises(InputError, match="not a MADIS file of rawin: the file has no variable 'prMan'"):
        read(path, "rawin")
    data = path.read_bytes()
    path.write_bytes(data[:-20])
    with pytest.raises(InputError, match="shorter than its header"):
        read(path, "metar")
    path.write_bytes(gzip.compress(data)[:-20])
    with pytest.raises(InputError, match="damaged or truncated"):
        read(path, "metar")


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("report", "rows", "rejected"), [("metar", 17765, 360), ("marine", 3823, 77), ("acars", 28498, 1559)]
)
def test_real_files(data_dir: Path, report: str, rows: int, rejected: int) -> None:
    table = read(data_dir / "obs" / "madis" / f"2005082600_{report}.nc.gz", report)
    assert (len(table), int((table["qc"] == QC.PROVIDER).sum())) == (rows, rejected)
    assert table["value"].notna().all()
    assert table["time"].between("2005-08-25T23:45", "2005-08-26T01:00").all()


@pytest.mark.realdata
def test_real_soundings_come_from_the_whole_world(data_dir: Path) -> None:
    table = read(data_dir / "obs" / "madis" / "2005082600_rawin.nc.gz", "rawin")
    assert table["station_id"].nunique() == 555 + 2  # two of the 557 have no mandatory level
    assert table["latitude"].notna().all()
    z500 = table.query("variable == 'z' and level == 500 and latitude > 30")["value"] / 9.80665
    assert z500.between(5200, 6000).mean() > 0.99  # a northern summer
