"""Streams of fields as one: complete times only, in order, whatever the streams' order and pace."""

import logging
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stormda.errors import InputError
from stormda.grid import Grid
from stormda.pipeline.merge import merge
from stormda.state import State
from stormda.variables import Channel

GRID = Grid.regular(np.array([50.0, 40.0]), np.array([0.0, 5.0, 10.0]))
T0 = np.datetime64("2000-01-01", "s")
NUMBERS = {"msl": 1e5, "z500": 5e4, "t850": 270.0}


def stream(channels: list[str], days: list[int], chunk: int = 2, grid: Grid = GRID) -> Iterator[State]:
    """Fields whose value tells channel and day."""
    for first in range(0, len(days), chunk):
        part = np.array(days[first : first + chunk])
        values = np.stack([np.stack([np.full(grid.shape, NUMBERS[c] + d) for c in channels]) for d in part])
        times = T0 + part * np.timedelta64(86400, "s")
        yield State(values, tuple(Channel.parse(c) for c in channels), grid, times)


def days(states: list[State]) -> list[int]:
    times = np.concatenate([s.times for s in states])
    values = np.concatenate([s.values for s in states])
    found = ((times - T0) / np.timedelta64(86400, "s")).astype(int)
    for c, channel in enumerate(states[0].channels):
        assert (values[:, c, 0, 0] == NUMBERS[channel.name] + found).all()
    return [int(d) for d in found]


def test_one_stream_goes_through() -> None:
    states = list(merge([stream(["t850", "msl"], [0, 1, 2])], ["msl", "t850"]))
    assert days(states) == [0, 1, 2]
    assert [c.name for c in states[0].channels] == ["msl", "t850"]


def test_channels_from_two_streams(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert days(
            list(merge([stream(["msl"], [0, 1, 2, 4]), stream(["t850"], [1, 2, 3, 4], 3)], ["msl", "t850"]))
        ) == [1, 2, 4]
    assert "2 times lack a channel" in caplog.text


def test_periods_from_two_streams() -> None:
    assert days(list(merge([stream(["msl"], [5, 6, 7]), stream(["msl"], [0, 1, 2, 3])], ["msl"]))) == [
        0,
        1,
        2,
        3,
        5,
        6,
        7,
    ]


def test_a_field_that_comes_twice_counts_once() -> None:
    assert days(list(merge([stream(["msl"], [0, 1]), stream(["msl"], [1, 2])], ["msl"]))) == [0, 1, 2]


def test_what_is_not_wanted_is_left_out() -> None:
    assert list(merge([stream(["msl", "z500"], [0])], ["msl"]))[0].channels == (Channel("msl"),)


subsets = st.sets(st.integers(0, 12), min_size=1).map(sorted)


@given(one=subsets, two=subsets, three=subsets, chunks=st.tuples(*[st.integers(1, 5)] * 3))
def test_times_are_the_intersection_in_order(
    one: list[int], two: list[int], three: list[int], chunks: tuple[int, int, int]
) -> None:
    streams = [stream([c], d, k) for c, d, k in zip(NUMBERS, (one, two, three), chunks, strict=True)]
    common = sorted(set(one) & set(two) & set(three))
    if common:
        assert days(list(merge(streams, list(NUMBERS)))) == common
    else:
        with pytest.raises(InputError, match="no time has all channels"):
            list(merge(streams, list(NUMBERS)))


def test_little_waits() -> None:
    """A stream is never read further ahead than one chunk of the one that lags."""
    read = {"msl": 0, "t850": 0}

    def counted(channel: str) -> Iterator[State]:
        for state in stream([channel], list(range(40)), 1):
            read[channel] += 1
            yield state

    for _ in merge([counted("msl"), counted("t850")], ["msl", "t850"]):
        assert abs(read["msl"] - read["t850"]) <= 1


def test_a_channel_that_no_stream_has() -> None:
    with pytest.raises(InputError, match="give no t850"):
        list(merge([stream(["msl"], [0])], ["msl", "t850"]))


def test_different_grids() -> None:
    other = Grid.regular(np.array([50.0, 41.0]), np.array([0.0, 5.0, 10.0]))
    with pytest.raises(InputError, match="different grids"):
        list(merge([stream(["msl"], [0]), stream(["t850"], [0], grid=other)], ["msl", "t850"]))
