"""Where METAR stations are: the National Weather Service's list by ICAO identifier, which the package `metar` carries.

    AGGH;91;520;Honiara / Henderson;;Solomon Islands;5;09-25S;160-03E;;;8;9;P

Identifier, WMO block and station, name, state, country, WMO region, latitude, longitude (degrees-minutes[-seconds]), of
the upper-air station, elevation [m] of the station, of the upper-air station, a mark. Minutes of arc are 1.9 km. The
list is of 2005: newer stations are in a table of the user's own (`stations:` in the configuration).
"""

__all__ = ["national_weather_service"]

import re
from functools import cache
from importlib.resources import files

import numpy as np
import pandas as pd

_ANGLE = re.compile(r"(\d{2,3})-(\d{2})(?:-(\d{2}))?([NSEW])")


@cache
def national_weather_service() -> pd.DataFrame:
    """`latitude`, `longitude`, `elevation` by ICAO identifier; NaN where the list has none."""
    lines = files("metar").joinpath("nsd_cccc.txt").read_text(encoding="latin-1").splitlines()
    rows = [fields for line in lines if len(fields := line.split(";")) >= 12]
    places = pd.DataFrame(
        {
            "latitude": [_degrees(r[7]) for r in rows],
            "longitude": [_degrees(r[8]) for r in rows],
            "elevation": pd.to_numeric(pd.Series([r[11] for r in rows]), errors="coerce").to_numpy(),
        },
        index=[r[0] for r in rows],
    )
    return places[~places.index.duplicated()]


def _degrees(text: str) -> float:
    match = _ANGLE.fullmatch(text.strip())
    if not match:
        return np.nan
    value = int(match[1]) + int(match[2]) / 60 + int(match[3] or 0) / 3600
    return -value if match[4] in "SW" else value
