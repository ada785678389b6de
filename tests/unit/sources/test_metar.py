"""METAR: every form in which reports come, the month that they do not tell, and texts that are no reports."""

import logging
import os
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stormda.config import MetarSource
from stormda.errors import InputError
from stormda.observations import QC
from stormda.sources.metar import _nearest, read_metar
from stormda.sources.standard_atmosphere import pressure, station_pressure

KJFK = "KJFK 010551Z 31016G21KT 10SM FEW043 11/M02 A2992 RMK AO2 SLP132 P0003 60009 T01061022"
EDDF = "METAR EDDF 010550Z AUTO 23008MPS 9999 BKN014 08/07 Q1008"


def write(folder: Path, text: str, name: str = "20201001.txt", **options: object) -> MetarSource:
    (folder / name).write_bytes(text.encode("latin-1"))
    return MetarSource.model_validate({"files": [str(folder / name)], **options})


def read(folder: Path, text: str, name: str = "20201001.txt", **options: object) -> pd.DataFrame:
    return pd.DataFrame(read_metar(write(folder, text, name, **options), "obs", Path).table.to_pandas())


def test_values_and_units(tmp_path: Path) -> None:
    table = read(tmp_path, KJFK + "\n" + EDDF)
    york = table[table["station_id"] == "KJFK"].drop_duplicates("variable").set_index("variable")
    # Tenths of the remark replace the whole degrees of the body; hundredths of an inch are 0.254 mm.
    expected = {"t2m": 283.75, "d2m": 270.95, "msl": 101320.0, "tp": 0.03 * 0.0254}
    assert york["value"].loc[list(expected)].to_dict() == pytest.approx(expected, rel=1e-9)
    speed = 16 * 1852 / 3600
    angle = np.deg2rad(310.0)
    # The package's knot is 0.51444 m s-1, that of the definition 1852/3600: 6 parts in 10^6.
    wind = {"u10": -speed * np.sin(angle), "v10": -speed * np.cos(angle)}
    assert york["value"].loc[["u10", "v10"]].to_dict() == pytest.approx(wind, rel=1e-3)
    assert york["elevation"].iloc[0] == 3.0
    assert (york["platform"].iloc[0], york["time"].iloc[0]) == ("metar", pd.Timestamp("2020-10-01T05:51"))
    assert sorted(table[table["variable"] == "tp"]["interval"]) == [3600.0, 6 * 3600.0]
    frankfurt = table[table["station_id"] == "EDDF"].set_index("variable")
    # 111 m of the standard atmosphere near the ground: about 12 Pa a metre.
    assert frankfurt["value"].loc["sp"] == pytest.approx(100800 - 111 * 12, abs=0.02 * 111 * 12)
    assert "msl" not in frankfurt.index
    assert frankfurt.loc["v10", "value"] == pytest.approx(8.0 * np.cos(np.deg2rad(50.0)), rel=1e-9)


@pytest.mark.parametrize("elevation", [-400.0, 0.0, 1655.0, 5000.0])
def test_station_pressure_inverts_the_standard_atmosphere(elevation: float) -> None:
    height = np.array([elevation])
    assert station_pressure(np.array([1013.25]), height) == pytest.approx(pressure(height), rel=1e-12)
    assert np.isnan(station_pressure(np.array([-1.0, 1013.0]), np.array([0.0, np.nan]))).all()


@pytest.mark.parametrize(
    ("day", "reference", "expected"),
    [
        (31, "2020-01-01T00:05", "2019-12-31"),
        (1, "2020-12-31T23:50", "2021-01-01"),
        (29, "2020-03-01T01:00", "2020-02-29"),
        (31, "2021-03-02T00:00", "2021-03-31"),  # February has no 31st
        (15, "2020-06-15T12:00", "2020-06-15"),
        (40, "2020-06-15T12:00", None),
        (0, "2020-06-15T12:00", None),
    ],
)
def test_the_month_is_the_nearest(day: int, reference: str, expected: str | None) -> None:
    found = _nearest(day, 0, 0, datetime.fromisoformat(reference))
    assert found == (None if expected is None else datetime.fromisoformat(expected))


def test_what_tells_the_month(tmp_path: Path) -> None:
    report = EDDF.replace("010550Z", "312350Z")
    december = pd.Timestamp("2019-12-31T23:50")
    assert set(read(tmp_path, report, "metars", reference="2020-01-01")["time"]) == {december}
    assert set(read(tmp_path, report, "metars_2020-01-01.txt")["time"]) == {december}
    assert set(read(tmp_path, f"2020/01/01 00:00\n{report}\n", "00Z.TXT")["time"]) == {december}
    config = write(tmp_path, report, "metars", reference="received")
    os.utime(tmp_path / "metars", (1577840000, 1577840000))  # 2020-01-01T00:53:20Z
    assert set(read_metar(config, "obs", Path)["time"]) == {december}
    with pytest.raises(InputError, match="month and year") as error:
        read(tmp_path, report, "metars")
    assert error.value.key == "observations.sources.obs.reference"


def test_cycle_files_and_bulletins(tmp_path: Path) -> None:
    assert len(read(tmp_path, EDDF.replace(" 08/07", "\n     08/07\n    "))) == len(read(tmp_path, EDDF))
    cycle = f"2020/10/01 05:51\n{KJFK}\n\n2020/10/31 23:50\nEDDF 010020Z 23008KT CAVOK 08/07 Q1008\n\n"
    times = read(tmp_path, cycle, "06Z.TXT").drop_duplicates("report_id")["time"].tolist()
    assert times == [pd.Timestamp("2020-10-01T05:51"), pd.Timestamp("2020-11-01T00:20")]
    bulletin = (
        "\x01\r\r\n123\r\r\nSAEU31 EDZW 010550\r\r\nMETAR\r\r\nEDDF 010550Z 23008KT\r\r\n      CAVOK 08/07 Q1008=\r\r\n"
        "EDDM 010550Z NIL=\r\r\nEDDH 010550Z 24010KT 9999 08/07 Q1007= EDDK NIL=\r\r\n\x03\r\r\nNNNN\r\r\n"
    )
    table = read(tmp_path, bulletin)
    assert set(table["station_id"]) == {"EDDF", "EDDH"}
    assert table[table["variable"] == "sp"].shape[0] == 2  # also the one on a second line


def test_places_of_the_table_of_stations_and_of_nobody(tmp_path: Path) -> None:
    (tmp_path / "places.csv").write_text("id,lat,lon,h\nEDDF,50.05,8.6,100\n")
    places = {"file": str(tmp_path / "places.csv"), "station_id": "id", "latitude": "lat", "longitude": "lon"}
    table = read(tmp_path, EDDF + "\n" + KJFK, stations=places | {"elevation": "h"})
    assert set(table[table["station_id"] == "EDDF"]["elevation"]) == {100.0}
    lost = table[table["station_id"] == "KJFK"]
    assert len(lost) > 0 and set(lost["qc"]) == {QC.MISSING}  # nobody knows where it is: kept, and says why


def test_a_table_of_reports(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"raw": [KJFK, EDDF, "", "EDDK 010550Z NIL"], "when": 1601530260, "lat": 1.0, "lon": 2.0, "h": 5}
    )
    frame.to_parquet(tmp_path / "reports.parquet")
    columns = {"text": "raw", "time": "when", "latitude": "lat", "longitude": "lon", "elevation": "h"}
    config = MetarSource.model_validate({"files": [str(tmp_path / "reports.parquet")], "columns": columns})
    table = read_metar(config, "obs", Path).table.to_pandas()
    assert set(table["station_id"]) == {"KJFK", "EDDF"}
    assert set(table["latitude"]) == {1.0} and set(table["elevation"]) == {5.0}
    assert set(table["time"]) == {pd.Timestamp("2020-10-01T05:51"), pd.Timestamp("2020-10-01T05:50")}


def test_what_cannot_be_decoded_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        table = read(tmp_path, KJFK + "\nhello world\nEDDF 45\n" + EDDF)
    assert "2 of 4 METAR reports cannot be decoded, such as 'hello world'" in caplog.text
    assert set(table["station_id"]) >= {"KJFK", "EDDF"}
    for text in ("hello world", "\n\n", "EDDF NIL=\n"):
        with pytest.raises(InputError, match="no METAR report"):
            read(tmp_path, text)


def test_a_word_before_the_temperature(tmp_path: Path) -> None:
    table = read(tmp_path, "KAUM 010535Z AUTO 28007KT 10SM SCT085 120 08/M06 A2995 RMK AO2 11/12")
    assert table.set_index("variable")["value"][["t2m", "d2m"]].tolist() == pytest.approx([281.15, 267.15], abs=1e-9)


def test_mutated_text_gives_an_error_or_sane_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    clean = bytes(f"2020/10/01 06:00\n{KJFK}\n\n{EDDF}=\n" * 3, "ascii")
    for _ in range(100):
        data = bytearray(clean)
        for place in rng.integers(len(data), size=int(rng.integers(1, 30))):
            data[place] = int(rng.integers(256))
        data = data[: int(rng.integers(1, len(data) + 1))]
        try:
            table = read(tmp_path, data.decode("latin-1"))
        except InputError:
            continue
        assert np.isfinite(table["value"]).all()
        assert (table["time"].notna() & table["latitude"].notna() | (table["qc"] == QC.MISSING)).all()


@pytest.mark.realdata
def test_real_reports_agree_with_their_table(data_dir: Path) -> None:
    """8 353 reports beside what another decoder, of the National Center for Atmospheric Research, made of them."""
    path = data_dir / "obs" / "metar" / "2020100106_metars.csv"
    columns = {
        "text": "Raw",
        "time": "Unix_time",
        "latitude": "Latitude",
        "longitude": "Longitude",
        "elevation": "Elev",
    }
    table = read_metar(MetarSource.model_validate({"files": [str(path)], "columns": columns}), "obs", Path)
    ours = table.table.to_pandas().query("variable == 't2m'").drop_duplicates("report_id").set_index("report_id")
    theirs = pd.read_csv(path)
    stamps = pd.to_datetime(theirs["Unix_time"], unit="s").dt.strftime("%Y%m%dT%H%M%SZ")
    theirs = theirs.assign(report_id=theirs["ICAO"] + "/" + stamps).drop_duplicates("report_id").set_index("report_id")
    both = theirs.join(ours["value"])
    assert (both["Temp"].notna() & both["value"].isna()).sum() <= 1  # one station has no group of temperature
    # Both read the same digits; tenths of the remark against tenths.
    assert (both["value"] - 273.15 - both["Temp"]).abs().max() < 0.51
    assert (table["qc"] == QC.USED).all()
