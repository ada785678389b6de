"""Times of tables: what is read, and what is refused because it can be read two ways."""

import numpy as np
import pandas as pd
import pytest

from stormda.sources.times import read_times

NOON = np.datetime64("2019-02-17T12:00:00", "us")


@pytest.mark.parametrize(
    "written",
    [
        "2019-02-17T12:00:00Z",
        "2019-02-17 12:00",
        "2019-02-17T12:00:00.000",
        "2019-02-17T13:00:00+01:00",
        "2019-02-17T07:00:00-0500",
        "2019-02-17 12:00:00 UTC",
        "2019021712",
        "201902171200",
        "20190217120000",
        2019021712,
        1550404800,  # seconds since 1970
        1550404800000,  # milliseconds
        np.datetime64("2019-02-17T12:00"),
        pd.Timestamp("2019-02-17T13:00", tz="Europe/Paris"),
    ],
)
def test_one_column(written: object) -> None:
    assert read_times(pd.DataFrame({"time": [written]}), "time").tolist() == [NOON.astype(object)]


@pytest.mark.parametrize("written", ["17/02/2019 12:00", "02/03/2019", "noon", "", None, "0001-01-01", "2019-02-30"])
def test_what_is_no_time(written: object) -> None:
    frame = pd.DataFrame({"time": ["2019-02-17T12:00", written]})
    times = read_times(frame, "time")
    assert times[0] == NOON
    assert np.isnat(times[1])


def test_a_date_alone_is_midnight() -> None:
    assert read_times(pd.DataFrame({"t": [20190217, 20190218]}), "t")[0] == np.datetime64("2019-02-17")


def test_numbers_with_a_gap() -> None:
    times = read_times(pd.DataFrame({"t": [2019021712.0, np.nan]}), "t")
    assert times[0] == NOON
    assert np.isnat(times[1])


def test_seconds_are_kept() -> None:
    assert read_times(pd.DataFrame({"t": [1550404801.5]}), "t")[0] == np.datetime64("2019-02-17T12:00:01.500")


def test_a_column_a_part() -> None:
    frame = pd.DataFrame(
        {
            "year": [2019, 2019, 2019, 2019, 2019],
            "month": [2, 2, 2, 13, 2],
            "day": [17, 17, 28, 1, 17],
            "hour": [12, 25, 24, 0, np.nan],
            "minute": [0, 0, 0, 0, 0],
        }
    )
    times = read_times(frame, ("year", "month", "day", "hour"))
    assert times[0] == NOON
    assert np.isnat(times[[1, 3, 4]]).all()
    assert times[2] == np.datetime64("2019-03-01T00")  # 24 h is the next day's midnight
    assert read_times(frame.assign(minute=30), ("year", "month", "day", "hour", "minute"))[0] == NOON + np.timedelta64(
        30, "m"
    )
