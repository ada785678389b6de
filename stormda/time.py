"""Time: UTC everywhere, `numpy.datetime64[s]` inside, ISO 8601 at the borders.

A window is half-open, (start, end]: adjoining windows share no observation and miss none.
"""

__all__ = ["Window", "format_time", "hours", "parse_duration", "parse_time", "stamp"]

import re
from dataclasses import dataclass

import numpy as np

from stormda.errors import ConfigError

_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}


def parse_time(text: object) -> np.datetime64:
    """Read `2019-02-17T12Z`, `2019-02-17T12:30Z`, `2019-02-17` or a datetime as UTC; raises ConfigError."""
    if isinstance(text, np.datetime64):
        time: np.datetime64 = text.astype("datetime64[s]")
        return time
    word = str(text).strip().replace(" ", "T")
    word = re.sub(r"(Z|[+-]00:?00)$", "", word)
    word = re.sub(r"(T\d{2})$", r"\1:00", word)
    if not re.match(r"\d{4}-\d{2}-\d{2}", word):
        raise ConfigError(f"'{text}' is not a time", hint="write it as 2019-02-17T12Z")
    try:
        return np.datetime64(word, "s")
    except ValueError:
        raise ConfigError(f"'{text}' is not a time", hint="write it as 2019-02-17T12Z") from None


def format_time(time: np.datetime64) -> str:
    """Write a time as `2019-02-17T12:00Z`, with seconds only where there are any."""
    text = str(time.astype("datetime64[s]"))
    return (text[:-3] if text.endswith(":00") else text) + "Z"


def stamp(time: np.datetime64) -> str:
    """Write a time for a file name: `20190217T1200Z`."""
    return format_time(time).replace("-", "").replace(":", "")


def parse_duration(text: object) -> np.timedelta64:
    """Read `6h`, `90min`, `1d` or `30s`; raises ConfigError."""
    if isinstance(text, np.timedelta64):
        span: np.timedelta64 = text.astype("timedelta64[s]")
        return span
    match = re.fullmatch(r"(-?\d+(?:\.\d+)?)\s*(s|min|h|d)", str(text).strip())
    if not match:
        raise ConfigError(f"'{text}' is not a duration", hint="write it as 6h, 90min or 1d")
    return np.timedelta64(round(float(match[1]) * _UNITS[match[2]]), "s")


def hours(span: np.timedelta64) -> float:
    """A duration as a number of hours."""
    return float(span / np.timedelta64(1, "s")) / 3600.0


@dataclass(frozen=True)
class Window:
    """The half-open time span (start, end] whose observations belong to one analysis."""

    start: np.datetime64
    end: np.datetime64

    def __post_init__(self) -> None:
        if not self.start < self.end:
            raise ConfigError(f"the window ({self.start}, {self.end}] is empty")

    @classmethod
    def around(cls, cycle: np.datetime64, before: np.timedelta64, after: np.timedelta64) -> "Window":
        """The window (cycle - before, cycle + after]."""
        return cls(cycle - before, cycle + after)

    def __contains__(self, time: np.datetime64) -> bool:
        return bool(self.start < time <= self.end)

    def __str__(self) -> str:
        return f"({format_time(self.start)}, {format_time(self.end)}]"
