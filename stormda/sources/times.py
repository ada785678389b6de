"""Times in tables: ISO 8601, digits run together, seconds since 1970, or a column a part. All are UTC.

A time without an offset is UTC; one with an offset is brought to UTC. Anything that can be read two ways (`02/03/2019`)
is no time.
"""

__all__ = ["read_times"]

import numpy as np
import pandas as pd

from stormda.types import Array

_DIGITS = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_FIRST, _LAST = np.datetime64("1800-01-01", "us"), np.datetime64("2200-01-01", "us")


def read_times(frame: pd.DataFrame, columns: str | tuple[str, ...]) -> Array:
    """The time of every row.

    Args:
        frame: a table of n rows.
        columns: one column, or those of year, month, day, hour and, if there is one, minute.

    Returns:
        datetime64[us] [n]; NaT where there is no time, or none between 1800 and 2200.
    """
    times = _from_one(frame[columns]) if isinstance(columns, str) else _from_parts(frame, columns)
    sane = (times >= _FIRST) & (times < _LAST)  # False for NaT
    return np.where(sane, times, np.datetime64("NaT", "us"))


def _utc(times: pd.Series) -> Array:
    return np.asarray(times.dt.tz_localize(None).to_numpy(), dtype="datetime64[us]")


def _from_one(column: pd.Series) -> Array:
    if pd.api.types.is_datetime64_any_dtype(column):
        aware = column.dt.tz is not None
        return _utc(column.dt.tz_convert("UTC") if aware else column)
    if pd.api.types.is_numeric_dtype(column):
        return _from_numbers(column)
    text = column.astype("string").str.strip().str.replace(r"\s*UTC$", "", regex=True)
    if text.str.fullmatch(r"\d+(?:\.0)?").fillna(True).all():
        return _from_numbers(pd.to_numeric(text, errors="coerce"))
    return _utc(pd.to_datetime(text, utc=True, format="ISO8601", errors="coerce"))


def _from_numbers(column: pd.Series) -> Array:
    """`20190217`, `2019021712`, ... where every number is such a date; else seconds (or milliseconds) since 1970."""
    number = pd.to_numeric(column, errors="coerce").astype("float64")
    whole = number.dropna()
    digits = {len(f"{value:.0f}") for value in (whole.min(), whole.max())} if len(whole) else set()
    if len(digits) == 1 and (form := _DIGITS.get(digits.pop())):
        words = number.round().astype("Int64").astype("string")
        times = pd.to_datetime(words, format=form, errors="coerce", utc=True)
        if times.notna().sum() == len(whole):
            return _utc(times)
    milliseconds = len(whole) > 0 and whole.abs().max() > 1e11
    seconds = number / 1000.0 if milliseconds else number
    return _since_1970(seconds.where(seconds.abs() < 1e10))


def _since_1970(seconds: pd.Series) -> Array:
    microseconds = (seconds * 1e6).round()
    known = microseconds.notna().to_numpy()
    times = np.full(len(seconds), np.datetime64("NaT", "us"))
    times[known] = microseconds[known].to_numpy().astype("int64").astype("datetime64[us]")
    return times


def _span(number: pd.Series, seconds: int) -> pd.Series:
    return pd.to_timedelta(number * seconds, unit="s")


def _from_parts(frame: pd.DataFrame, columns: tuple[str, ...]) -> Array:
    """Year, month and day make a date, hour and minute are added: 24 h is the next day's midnight."""
    numbers = [pd.to_numeric(frame[name], errors="coerce") for name in columns]
    parts = dict(zip(("year", "month", "day"), numbers[:3], strict=True))
    times = pd.to_datetime(pd.DataFrame(parts), errors="coerce", utc=True)
    for number, seconds, most in zip(numbers[3:], (3600, 60), (24, 59), strict=False):
        times = times + _span(number.where((number >= 0) & (number <= most)), seconds)
    return _utc(times)
