"""Static checks: each sets its code where none is set yet, and never touches a value."""

import numpy as np
import pytest

from stormda.config import CheckConfig
from stormda.errors import ConfigError
from stormda.observations import QC, Observations
from stormda.quality.report import counts
from stormda.quality.static import run_static


def table(**columns: object) -> Observations:
    """Three or more rows of one station an hour apart, with columns changed."""
    n = max(len(c) for c in columns.values() if hasattr(c, "__len__") and not isinstance(c, str))
    base: dict[str, object] = {
        "report_id": np.full(n, "r", dtype=object),
        "station_id": np.full(n, "A", dtype=object),
        "platform": np.full(n, "synop", dtype=object),
        "source": np.full(n, "s", dtype=object),
        "variable": np.full(n, "t2m", dtype=object),
        "time": np.datetime64("2019-02-17T12", "s") + np.arange(n) * np.timedelta64(3600, "s"),
        "latitude": np.full(n, 50.0),
        "longitude": np.full(n, 5.0),
        "value": np.full(n, 280.0),
    }
    return Observations.of(base | {k: np.array(v, dtype=object if k in _WORDS else None) for k, v in columns.items()})


_WORDS = ("station_id", "platform", "source", "variable")


def codes(observations: Observations, *checks: CheckConfig) -> list[int]:
    checked = run_static(observations, checks)
    assert np.array_equal(checked["value"], observations["value"], equal_nan=True)
    return [int(c) for c in checked["qc"]]


def test_range_uses_the_vocabulary_and_narrower_limits() -> None:
    observations = table(
        variable=["t2m", "t2m", "msl", "msl", "u10"],
        value=[365.0, 280.0, 1010.0, 101000.0, np.nan],  # 365 K; 1010 Pa had its unit or decimal point lost
    )
    assert codes(observations, CheckConfig(check="range")) == [3, 0, 3, 0, 3]
    narrow = CheckConfig(check="range", variables=("t2m",), ranges={"t2m": (285.0, 300.0)})
    assert codes(observations, narrow) == [3, 3, 0, 0, 0]


def test_limits_belong_to_the_range() -> None:
    assert codes(table(value=[180.0, 335.0, 179.9]), CheckConfig(check="range")) == [0, 0, 3]


def test_duplicates_keep_the_first() -> None:
    time = np.array(["2019-02-17T12", "2019-02-17T12", "2019-02-17T13", "2019-02-17T12"], dtype="datetime64[s]")
    observations = table(time=time, value=[1.0, 2.0, 3.0, 4.0], source=["a", "b", "b", "b"])
    assert codes(observations, CheckConfig(check="duplicates")) == [0, 4, 0, 4]


@pytest.mark.parametrize(
    ("column", "different"),
    [("station_id", ["A", "B"]), ("variable", ["t", "u"]), ("level", [500.0, 850.0]), ("interval", [3600.0, 21600.0])],
)
def test_what_differs_is_no_duplicate(column: str, different: list[object]) -> None:
    time = np.full(2, np.datetime64("2019-02-17T12", "s"))
    assert codes(table(time=time, **{column: different}), CheckConfig(check="duplicates")) == [0, 0]


def test_rows_without_level_are_duplicates_too() -> None:
    time = np.full(2, np.datetime64("2019-02-17T12", "s"))
    assert codes(table(time=time, level=[np.nan, np.nan]), CheckConfig(check="duplicates")) == [0, 4]


def test_a_bad_first_does_not_hide_a_good_second() -> None:
    time = np.full(3, np.datetime64("2019-02-17T12", "s"))
    observations = table(time=time, value=[365.0, 280.0, 280.0])
    assert codes(observations, CheckConfig(check="range"), CheckConfig(check="duplicates")) == [3, 0, 4]


def test_the_first_reason_stays() -> None:
    observations = table(value=[365.0, 280.0]).replace(qc=np.array([int(QC.PROVIDER), 0], dtype=np.int32))
    assert codes(observations, CheckConfig(check="range"), CheckConfig(check="blacklist", stations=("A",))) == [1, 6]


def test_station_height() -> None:
    observations = table(elevation=[699.0, 701.0, np.nan, -50.0])
    assert codes(observations, CheckConfig(check="station_height")) == [0, 5, 5, 0]
    assert codes(observations, CheckConfig(check="station_height", limit=10.0)) == [5, 5, 5, 5]
    assert codes(observations, CheckConfig(check="station_height", platforms=("temp",))) == [0, 0, 0, 0]


def test_blacklist_knows_a_station_however_it_is_padded() -> None:
    observations = table(station_id=["01027", "01028", "KJFK"])
    assert codes(observations, CheckConfig(check="blacklist", stations=("1027", "KJFK"))) == [6, 0, 6]


def test_a_check_of_the_background_is_no_static_one() -> None:
    with pytest.raises(ConfigError, match="needs a background") as error:
        run_static(Observations.empty(), [CheckConfig(check="range"), CheckConfig(check="background")])
    assert error.value.key == "quality.static.1.check"


def test_no_rows() -> None:
    checks = [CheckConfig(check=c) for c in ("range", "duplicates", "station_height", "blacklist")]
    assert len(run_static(Observations.empty(), checks)) == 0
    assert counts(Observations.empty()) == {}


def test_counts() -> None:
    observations = table(source=["b", "a", "a", "a"], value=[280.0, 365.0, 280.0, 281.0])
    checked = run_static(observations, [CheckConfig(check="range")])
    assert counts(checked) == {"a": {"used": 2, "range": 1}, "b": {"used": 1}}
    assert list(counts(checked)["a"]) == ["used", "range"]
