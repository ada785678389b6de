"""Tables of observations for tests of quality control."""

import numpy as np

from stormda.observations import Observations

HOUR = np.timedelta64(3600, "s")
NOON = np.datetime64("2019-02-17T12", "s")
_WORDS = ("station_id", "platform", "source", "variable", "level_type", "report_id")


def reports(**columns: object) -> Observations:
    """Rows with some columns given: else temperatures of 280 K at one place at noon, each of its own station."""
    n = max(len(c) for c in columns.values() if hasattr(c, "__len__") and not isinstance(c, str))
    base: dict[str, object] = {
        "report_id": np.full(n, "r", dtype=object),
        "station_id": np.array([f"{i:05d}" for i in range(10000, 10000 + n)], dtype=object),
        "platform": "synop",
        "source": "synop",
        "variable": "t2m",
        "time": np.full(n, NOON),
        "latitude": np.full(n, 50.0),
        "longitude": np.full(n, 5.0),
        "elevation": np.full(n, 100.0),
        "value": np.full(n, 280.0),
        "error": np.full(n, 1.0),
    }
    given = {
        k: np.array(v, dtype=object)
        if k in _WORDS and not isinstance(v, str)
        else v
        if isinstance(v, str)
        else np.array(v)
        for k, v in columns.items()
    }
    return Observations.of(base | given)


def series(values: list[float], station: str = "10000", hours: float = 1.0, **columns: object) -> Observations:
    """One station's values, some hours apart."""
    n = len(values)
    times = NOON + (np.arange(n) * hours * 3600).astype("timedelta64[s]")
    return reports(value=values, time=times, station_id=[station] * n, **columns)
