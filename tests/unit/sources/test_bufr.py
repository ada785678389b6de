"""BUFR: messages made here with ecCodes, read back; broken ones are told apart from those of another kind."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import eccodes
import numpy as np
import pandas as pd
import pytest

from stormda.config import BufrSource, TableSource
from stormda.errors import InputError
from stormda.sources.bufr import read_bufr
from stormda.sources.table import read_table


def message(
    descriptors: list[int],
    category: int,
    values: Mapping[str, object],
    replications: tuple[int, ...] = (),
    subsets: int = 1,
) -> bytes:
    """A BUFR message; where there are several subsets, those of a list of values."""
    handle = eccodes.codes_bufr_new_from_samples("BUFR4")
    if replications:
        eccodes.codes_set_array(handle, "inputDelayedDescriptorReplicationFactor", replications)
    eccodes.codes_set(handle, "masterTablesVersionNumber", 28)
    eccodes.codes_set(handle, "dataCategory", category)
    eccodes.codes_set(handle, "numberOfSubsets", subsets)
    eccodes.codes_set(handle, "compressedData", int(subsets > 1))
    eccodes.codes_set_array(handle, "unexpandedDescriptors", descriptors)
    for key, value in values.items():
        (eccodes.codes_set_array if isinstance(value, list) else eccodes.codes_set)(handle, key, value)
    eccodes.codes_set(handle, "pack", 1)
    data = bytes(eccodes.codes_get_message(handle))
    eccodes.codes_release(handle)
    return data


TIME = {"year": 2019, "month": 2, "day": 17, "hour": 12, "minute": 0}
PLACE = {"latitude": 70.94, "longitude": -8.67}


def temp(station: int = 1) -> bytes:
    head = TIME | PLACE | {"blockNumber": 1, "stationNumber": station, "heightOfStation": 9}
    one = {"#1#pressure": 85000.0, "#1#verticalSoundingSignificance": 32, "#1#nonCoordinateGeopotential": 13000.0}
    one |= {"#1#airTemperature": 261.8, "#1#windDirection": 270, "#1#windSpeed": 10.0}
    two = {"#2#pressure": 50000.0, "#2#verticalSoundingSignificance": 32, "#2#airTemperature": 240.0}
    return message([309007], 2, head | one | two, (2,))


def aircraft(**values: float | str) -> bytes:
    head = TIME | PLACE | {"aircraftFlightNumber": "DLH438", "airTemperature": 222.2}
    return message([1006, 4001, 4002, 4003, 301012, 5002, 6002, 7004, 7002, 11001, 11002, 12001], 4, head | values)


def synop_old() -> bytes:
    values = TIME | PLACE | {"blockNumber": 1, "stationNumber": 1, "heightOfStation": 9, "airTemperatureAt2M": 270.2}
    return message([307005], 0, values | {"pressureReducedToMeanSeaLevel": 100920.0, "nonCoordinatePressure": 100800.0})


def read(tmp_path: Path, data: bytes, report: str, **options: object) -> pd.DataFrame:
    (tmp_path / "x.bufr").write_bytes(data)
    config = BufrSource.model_validate({"files": [str(tmp_path / "x.bufr")], "report": report, **options})
    return pd.DataFrame(read_bufr(config, "obs", Path).table.to_pandas())


def test_temp(tmp_path: Path) -> None:
    table = read(tmp_path, temp(), "temp")
    assert table["variable"].tolist() == ["z", "t", "u", "v", "t"]
    assert table["level"].tolist() == [850.0] * 4 + [500.0]
    assert table["value"].to_numpy() == pytest.approx([13000.0, 261.8, 10.0, 0.0, 240.0], abs=1e-9)
    first = table.iloc[0]
    assert (first["station_id"], first["platform"], first["elevation"]) == ("01001", "temp", 9.0)
    assert first["time"] == np.datetime64("2019-02-17T12:00")
    # BUFR packs a coarse latitude in steps of 0.01 degrees: half a step.
    assert [first["latitude"], first["longitude"]] == pytest.approx([70.94, -8.67], abs=0.005)


def test_aircraft_pressure_or_height(tmp_path: Path) -> None:
    data = aircraft(pressure=25000.0) + aircraft(height=5000.0) + aircraft(pressure=30000.0, height=5000.0) + aircraft()
    table = read(tmp_path, data, "aircraft")
    assert table["level"].tolist()[:3] == [
        250.0,
        540.2,
        300.0,
    ]  # ICAO: 540.199 hPa at 5000 m; what is measured goes first
    assert table["qc"].tolist() == [0, 0, 0, 2]  # neither pressure nor height: the level is missing
    assert set(table["station_id"]) == {"DLH438"}
    assert set(table["platform"]) == {"aircraft"}


def test_synop(tmp_path: Path) -> None:
    table = read(tmp_path, synop_old(), "synop").set_index("variable")
    assert table["value"].to_dict() == pytest.approx({"msl": 100920.0, "sp": 100800.0, "t2m": 270.2}, abs=1e-9)
    assert set(table["station_id"]) == {"01001"}
    assert set(table["elevation"]) == {9.0}


def high_resolution() -> bytes:
    """Two levels of the template of today's soundings, without its words about the instrument."""
    level = [4086, 8042, 7004, 10009, 5015, 6015, 12101, 12103, 11001, 11002]
    head = TIME | {"blockNumber": 10, "stationNumber": 954, "latitude": 47.8341, "longitude": 10.8667}
    head |= {"heightOfStationGroundAboveMeanSeaLevel": 760}
    one = {"timePeriod": 0, "extendedVerticalSoundingSignificance": 131072, "pressure": 94050.0, "windSpeed": 4.0}
    one |= {"nonCoordinateGeopotentialHeight": 760, "latitudeDisplacement": 0.0, "longitudeDisplacement": 0.0}
    one |= {"airTemperature": 280.65, "dewpointTemperature": 280.65, "windDirection": 180}
    two = one | {"timePeriod": 3600, "pressure": 10000.0, "nonCoordinateGeopotentialHeight": 16000}
    two |= {"latitudeDisplacement": 0.5, "longitudeDisplacement": 1.25, "airTemperature": 215.0}
    levels = {f"#{i}#{k}": v for i, values in ((1, one), (2, two)) for k, v in values.items()}
    return message([1001, 1002, 301011, 301012, 301021, 7030, *level, *level], 2, head | levels)


def test_a_high_resolution_sounding_drifts(tmp_path: Path) -> None:
    table = read(tmp_path, high_resolution(), "temp")
    t = table[table["variable"] == "t"]
    assert t["level"].tolist() == [940.5, 100.0]
    assert t["time"].tolist() == [pd.Timestamp("2019-02-17T12:00"), pd.Timestamp("2019-02-17T13:00")]
    # Displacements are packed in 1e-5 degrees.
    assert t["latitude"].tolist() == pytest.approx([47.8341, 48.3341], abs=1e-5)
    assert t["longitude"].tolist() == pytest.approx([10.8667, 12.1167], abs=1e-5)
    assert set(table["report_id"]) == {"10954/20190217T120000Z"}  # one sounding
    assert set(table["elevation"]) == {760.0}
    assert table.query("variable == 'z'")["value"].tolist() == pytest.approx([760 * 9.80665, 16000 * 9.80665])
    assert table.query("variable == 'r'")["value"].iloc[0] == pytest.approx(1.0, rel=1e-12)


def test_subsets_are_reports_of_their_own(tmp_path: Path) -> None:
    """Two hours of one station in one message: the place is the same, the time is not."""
    values = TIME | PLACE | {"hour": [11, 12], "blockNumber": 1, "stationNumber": 1, "heightOfStation": 9}
    values |= {"airTemperatureAt2M": [270.2, 271.3], "pressureReducedToMeanSeaLevel": 100920.0}
    table = read(tmp_path, message([307005], 0, values, subsets=2), "synop")
    t = table[table["variable"] == "t2m"].set_index("time")["value"]
    assert t.to_dict() == {pd.Timestamp("2019-02-17T11:00"): 270.2, pd.Timestamp("2019-02-17T12:00"): 271.3}
    assert len(table) == 4


def test_precipitation_of_fixed_and_told_periods(tmp_path: Path) -> None:
    head = TIME | PLACE | {"blockNumber": 1, "stationNumber": 1}
    fixed = message([301001, 301011, 301012, 301024, 13023, 13022], 0, head | {"totalPrecipitationPast24Hours": 3.0})
    table = read(tmp_path, fixed, "synop")
    assert table[["variable", "value", "interval"]].to_numpy().tolist() == [["tp", 3e-3, 86400.0]]
    trace = message([301001, 301011, 301012, 301024, 13023], 0, head | {"totalPrecipitationPast24Hours": -0.1})
    assert read(tmp_path, trace, "synop")["value"].tolist() == [0.0]
    rain = "totalPrecipitationOrTotalWaterEquivalent"
    told = head | {"#1#timePeriod": -6, f"#1#{rain}": 2.0, "#2#timePeriod": -90, f"#2#{rain}": 0.5}
    both = read(tmp_path, message([301001, 301011, 301012, 301024, 4024, 13011, 4025, 13011], 0, told), "synop")
    # -6 hours and -90 minutes: the template, not the number, tells which.
    assert both.set_index("interval")["value"].to_dict() == pytest.approx({21600.0: 2e-3, 5400.0: 5e-4}, rel=1e-12)


def test_wigos_identifiers(tmp_path: Path) -> None:
    wigos = {"wigosIdentifierSeries": 0, "wigosIssuerOfIdentifier": 705, "wigosIssueNumber": 0}
    values = wigos | TIME | PLACE | {"wigosLocalIdentifierCharacter": "1931", "airTemperatureAt2M": 280.0}
    table = read(tmp_path, message([301150, 301011, 301012, 301023, 12004], 0, values), "synop")
    assert table["station_id"].tolist() == ["0-705-0-1931"]
    values |= {"wigosIssuerOfIdentifier": 20000, "wigosLocalIdentifierCharacter": "01001"}
    table = read(tmp_path, message([301150, 301011, 301012, 301023, 12004], 0, values), "synop")
    assert table["station_id"].tolist() == ["01001"]  # wraps a WMO number
    for key in wigos:
        del values[key]
    table = read(tmp_path, message([301150, 301011, 301012, 301023, 12004], 0, values), "synop")
    assert table["station_id"].tolist() == ["70.94N008.67W"]  # no identifier: named by its place


def test_broken_messages_may_be_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one, two, three = temp(1), temp(2), temp(3)
    with caplog.at_level(logging.WARNING):
        table = read(tmp_path, one + two[: len(two) // 2] + three, "temp", broken="skip")
    assert set(table["station_id"]) == {"01001", "01003"}
    assert "1 of 3 messages are broken" in caplog.text
    with pytest.raises(InputError, match="message 1 is broken"):
        read(tmp_path, one[:-4] + b"6666", "temp", broken="skip")


def test_a_broken_message_is_named(tmp_path: Path) -> None:
    one, two = temp(1), temp(2)
    with pytest.raises(InputError, match="message 2 is broken") as error:
        read(tmp_path, one + two[: len(two) // 2], "temp")
    assert error.value.file == str(tmp_path / "x.bufr")
    with pytest.raises(InputError, match="message 1 is broken"):
        read(tmp_path, one[:-4] + b"6666" + two, "temp")


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no BUFR message"):
        read(tmp_path, b"hello world" * 20, "temp")
    with pytest.raises(InputError, match="no report of this kind"):
        read(tmp_path, temp(), "aircraft")
    with pytest.raises(InputError, match="no report of this kind"):
        read(tmp_path, aircraft(pressure=25000.0), "temp")


@pytest.mark.realdata
def test_real_soundings_equal_their_conversion() -> None:
    if "STORMDA_DATA" not in os.environ:
        pytest.skip("STORMDA_DATA is not set")
    data = Path(os.environ["STORMDA_DATA"]) / "obs"
    mapping = {
        "station_id": "WMO_station_id",
        "time": "data_datetime",
        "latitude": "latitude",
        "longitude": "longitude",
    }
    twin = TableSource.model_validate(
        mapping
        | {
            "files": [str(data / "temp_bufr_2008-12-08_12.parquet")],
            "elevation": "heightOfStation",
            "level": {"column": "pressure", "unit": "Pa"},
            "variables": {"z": {"column": "nonCoordinateGeopotential"}, "t": {"column": "airTemperature"}},
            "wind": {"level": {"direction": "windDirection", "speed": "windSpeed"}},
        }
    )
    two = read_table(twin, "obs", Path)
    one = read_bufr(
        BufrSource(files=(str(data / "bufr" / "temp_small.bufr"),), report="temp", keep=("z", "t", "u", "v")),
        "obs",
        Path,
    )
    two = two.where(np.isin(two["station_id"].astype(str), one["station_id"].astype(str)))
    for column in ("report_id", "variable", "level", "time", "latitude", "longitude", "elevation", "value"):
        assert one.table.column(column).to_pandas().equals(two.table.column(column).to_pandas()), column


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "report", "rows"),
    [
        ("aircraft_small", "aircraft", {"t": 10, "u": 10, "v": 10}),
        ("synop_invalid_wigos_id", "synop", {"tp": 1}),
        ("synop_wigos", "synop", {"t2m": 3, "tp": 3, "d2m": 2, "sp": 1, "u10": 1, "v10": 1}),
        ("synop_multi_subset_uncompressed", "synop", {"t2m": 12, "d2m": 12, "rh2m": 12, "tp": 11, "u10": 3, "v10": 3}),
        ("temp_hires", "temp", {"z": 448, "t": 448, "r": 448, "u": 448, "v": 448}),
    ],
)
def test_real_files(data_dir: Path, name: str, report: str, rows: dict[str, int]) -> None:
    config = BufrSource.model_validate({"files": [str(data_dir / "obs" / "bufr" / f"{name}.bufr")], "report": report})
    table = read_bufr(config, "obs", Path).table.to_pandas()
    assert table["variable"].value_counts().to_dict() == rows
    assert set(table["qc"]) == {0} and table["value"].notna().all()
