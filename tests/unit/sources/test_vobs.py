"""VOBS files: two parts, their parameters, and the ways in which a file is cut."""

import os
from pathlib import Path

import numpy as np
import pytest

from stormda.config import TableSource, VobsSource
from stormda.errors import InputError
from stormda.sources.table import read_table
from stormda.sources.vobs import read_vobs

TEXT = """    2   1   4
       8
 DD  0
 FF  0
 TT  0
 TD  0
 RH  0
 PSS 0
 PS  0
 PE6 6
0001001 70.939 -8.669 9.0 133.0000E+00 4.5000E+00 270.2000E+00 -99 50.0 1.0080E+03 1.0092E+03 1.5
0076491 23.000 -99.000 -99 225.0 113.0 365.0 -99 -99 ****** 10092.0 -99.00
    2
    4
 PP 0
 FI 0
 TT 0
 FF 0
 01001 70.940 -8.668 9.0
 1000. 71. 269.1 4.
 500. -99. -99.0 -99.
"""


def write(folder: Path, text: str, name: str = "vobs2019021712") -> VobsSource:
    (folder / name).write_text(text)
    return VobsSource(files=(str(folder / name),))


def test_both_parts(tmp_path: Path) -> None:
    table = read_vobs(write(tmp_path, TEXT), "obs", Path).table.to_pandas()
    assert set(table["time"]) == {np.datetime64("2019-02-17T12")}
    synop = table[(table["station_id"] == "01001") & (table["platform"] == "synop")].set_index("variable")
    assert synop["value"].loc[["t2m", "rh2m", "msl", "sp"]].tolist() == [270.2, 0.5, 100920.0, 100800.0]
    assert "d2m" not in synop.index
    assert synop.loc["tp", "value"] == pytest.approx(0.0015, rel=1e-15)
    assert synop.loc["tp", "interval"] == 6 * 3600
    temp = table[table["platform"] == "temp"].set_index("variable")
    assert temp["level"].tolist() == [
        1000.0,
        1000.0,
    ]  # the level without values has no rows; without DD there is no wind
    assert temp.loc["z", "value"] == 71.0 * 9.80665
    assert temp.loc["z", "level_type"] == "pressure"


def test_absurd_values_are_kept_and_fill_values_are_not(tmp_path: Path) -> None:
    table = read_vobs(write(tmp_path, TEXT), "obs", Path).table.to_pandas()
    mexico = table[table["station_id"] == "76491"].set_index("variable")
    assert mexico["longitude"].iloc[0] == -99.0
    assert np.isnan(mexico["elevation"].iloc[0])
    assert mexico.loc["t2m", "value"] == 365.0
    assert mexico.loc["msl", "value"] == 1009200.0  # a decimal point is missing
    assert "sp" not in mexico.index  # asterisks
    assert mexico.loc[["u10", "v10"], "qc"].tolist() == [3, 3]


def test_one_part(tmp_path: Path) -> None:
    config = write(tmp_path, TEXT)
    parts = {p: read_vobs(config.model_copy(update={"part": p}), "obs", Path) for p in ("surface", "sounding", "both")}
    assert set(parts["surface"]["platform"]) == {"synop"}
    assert set(parts["sounding"]["platform"]) == {"temp"}
    assert len(parts["both"]) == len(parts["surface"]) + len(parts["sounding"])


def test_levels_and_variables(tmp_path: Path) -> None:
    config = write(tmp_path, TEXT).model_copy(update={"levels": (500.0, 1000.0), "keep": ("z",)})
    assert read_vobs(config, "obs", Path)["value"].tolist() == [71.0 * 9.80665]


def test_no_soundings(tmp_path: Path) -> None:
    text = "\n".join(["    1   0   4", " 1", " TT 0", "0001001 70.9 -8.6 9.0 270.2", ""])
    assert len(read_vobs(write(tmp_path, text), "obs", Path)) == 1


@pytest.mark.parametrize("lines", [1, 5, 10, 12, 14, 17, 19, 20])
def test_a_file_that_was_cut(tmp_path: Path, lines: int) -> None:
    text = "\n".join(TEXT.splitlines()[:lines])
    with pytest.raises(InputError, match="truncated"):
        read_vobs(write(tmp_path, text), "obs", Path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("2   1   4", "2   1   3", "version 3"),
        ("2   1   4", "2   1", "3 counts"),
        (" PE6 6", " PE6 six", "no parameter"),
        ("1.5\n", "\n", "not the 12 columns"),
        (" 1000. 71.", " 71.", "not the 5 columns"),
        (" PP 0", " XX 0", "no pressure PP"),
        ("2   1   4", "hello", "3 counts"),
    ],
)
def test_files_that_are_wrong(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        read_vobs(write(tmp_path, TEXT.replace(old, new, 1)), "obs", Path)
    assert error.value.file is not None


@pytest.mark.parametrize("name", ["vobs", "vobs2019021725", "vobs20190217"])
def test_the_name_tells_the_time(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="must end with its time"):
        read_vobs(write(tmp_path, TEXT, name), "obs", Path)


def test_not_text(tmp_path: Path) -> None:
    (tmp_path / "vobs2019021712").write_bytes(b"\xff\x00\x81" * 100)
    with pytest.raises(InputError, match="not text"):
        read_vobs(VobsSource(files=(str(tmp_path / "vobs2019021712"),)), "obs", Path)


@pytest.mark.realdata
def test_real_files_equal_their_conversion() -> None:
    if "STORMDA_DATA" not in os.environ:
        pytest.skip("STORMDA_DATA is not set")
    data = Path(os.environ["STORMDA_DATA"]) / "obs"
    place = {"station_id": "id", "time": "time", "latitude": "lat", "longitude": "lon", "elevation": "elev"}
    surface: dict[str, object] = {
        "t2m": {"column": "TT"},
        "d2m": {"column": "TD"},
        "rh2m": {"column": "RH", "unit": "%"},
    }
    surface |= {"msl": {"column": "PS", "unit": "hPa"}, "sp": {"column": "PSS", "unit": "hPa"}}
    upper: dict[str, object] = {
        "z": {"column": "FI", "unit": "gpm"},
        "t": {"column": "TT"},
        "r": {"column": "RH", "unit": "%"},
    }
    wind = {"direction": "DD", "speed": "FF"}
    level: dict[str, object] = {"column": "PP", "unit": "hPa"}
    cases: list[tuple[str, str, dict[str, dict[str, object]]]] = [
        ("surface", "vobs_synop_2019-02-17_18.parquet", {"variables": surface, "wind": {"10m": wind}}),
        ("sounding", "vobs_temp_2019-02-17_18.parquet", {"variables": upper, "wind": {"level": wind}, "level": level}),
    ]
    for part, twin, mapping in cases:
        keep = [*mapping["variables"], *(("u10", "v10") if part == "surface" else ("u", "v"))]
        files = [str(data / "vobs" / "*")]
        one = read_vobs(VobsSource.model_validate({"files": files, "part": part, "keep": keep}), "obs", Path)
        config = TableSource.model_validate({"files": [str(data / twin)], **place, **mapping})
        two = read_table(config, "obs", Path)
        two = two.where(np.isin(two["time"], one["time"]))
        a, b = (o.table.to_pandas().sort_values(["station_id", "time", "variable", "level"]) for o in (one, two))
        for column in ("station_id", "time", "variable", "latitude", "longitude"):
            assert (a[column].to_numpy() == b[column].to_numpy()).all()
        for column in ("level", "elevation"):
            assert np.array_equal(a[column].to_numpy(), b[column].to_numpy(), equal_nan=True)
        # The conversion holds float32 of the reported numbers: half a unit in the last of 24 bits. A component is
        # rounded twice, in speed and in direction: 360 degrees have 1.5e-5 of rounding, times a speed of 110 m s-1.
        wind_rows = a["variable"].isin(["u", "v", "u10", "v10"]).to_numpy()
        difference = np.abs(a["value"].to_numpy() - b["value"].to_numpy())
        assert (difference[~wind_rows] <= 2.0**-24 * np.abs(a["value"].to_numpy()[~wind_rows]) * 1.000001).all()
        assert difference[wind_rows].max() < 1e-4
