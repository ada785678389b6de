"""BUFR: messages made here with ecCodes, read back; broken ones are told apart from those of another kind."""

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
    descriptors: list[int], category: int, values: Mapping[str, object], replications: tuple[int, ...] = ()
) -> bytes:
    """A BUFR message of one subset."""
    handle = eccodes.codes_bufr_new_from_samples("BUFR4")
    if replications:
        eccodes.codes_set_array(handle, "inputDelayedDescriptorReplicationFactor", replications)
    eccodes.codes_set(handle, "masterTablesVersionNumber", 28)
    eccodes.codes_set(handle, "dataCategory", category)
    eccodes.codes_set(handle, "numberOfSubsets", 1)
    eccodes.codes_set_array(handle, "unexpandedDescriptors", descriptors)
    for key, value in values.items():
        eccodes.codes_set(handle, key, value)
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


def read(tmp_path: Path, data: bytes, report: str) -> pd.DataFrame:
    (tmp_path / "x.bufr").write_bytes(data)
    config = BufrSource.model_validate({"files": [str(tmp_path / "x.bufr")], "report": report})
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
    one = read_bufr(BufrSource(files=(str(data / "bufr" / "temp_small.bufr"),), report="temp"), "obs", Path)
    two = two.where(np.isin(two["station_id"].astype(str), one["station_id"].astype(str)))
    for column in ("report_id", "variable", "level", "time", "latitude", "longitude", "elevation", "value"):
        assert one.table.column(column).to_pandas().equals(two.table.column(column).to_pandas()), column
