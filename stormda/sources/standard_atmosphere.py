"""The ICAO standard atmosphere: pressure altitude and pressure are two names of the same reading.

An aircraft measures pressure and reports the height at which the standard atmosphere has it. Below the tropopause at
11 km temperature falls by L = 6.5 K km-1 from T0 = 288.15 K, above it stays; hydrostatic balance then gives

    p(h) = p0 (1 - L h / T0)^(g / (R L))            h <= 11 km
    p(h) = p(11 km) exp(-g (h - 11 km) / (R T11))   11 km < h <= 20 km

Source: ICAO, Manual of the ICAO Standard Atmosphere, Doc 7488/3, 1993.
"""

__all__ = ["pressure", "station_pressure"]

import numpy as np

from stormda.types import Array

P0, T0, LAPSE, G, R = 1013.25, 288.15, 0.0065, 9.80665, 287.05287
TROPOPAUSE, CEILING = 11000.0, 20000.0


def pressure(height: Array) -> Array:
    """Pressure [hPa] at a pressure altitude [m]; NaN outside -1000..20000 m."""
    h = np.where((height >= -1000.0) & (height <= CEILING), height, np.nan)
    t11 = T0 - LAPSE * TROPOPAUSE
    below = P0 * (1.0 - LAPSE * np.minimum(h, TROPOPAUSE) / T0) ** (G / (R * LAPSE))
    return np.asarray(below * np.exp(-G * np.maximum(h - TROPOPAUSE, 0.0) / (R * t11)))


def station_pressure(altimeter: Array, elevation: Array) -> Array:
    """Pressure [hPa] at a station from its altimeter setting (QNH) [hPa] and elevation [m].

    QNH is the pressure at which the standard atmosphere would have to start so that a station at height h measures p:

        QNH^n = p^n + p0^n L h / T0,    n = R L / g

    Source: ICAO Doc 7488/3; "altimeter setting" in the ASOS User's Guide, NOAA, 1998. A METAR cuts QNH down to a whole
    hPa or a hundredth of an inch. NaN outside -1000..11000 m.
    """
    n = R * LAPSE / G
    h = np.where((elevation >= -1000.0) & (elevation <= TROPOPAUSE), elevation, np.nan)
    start = np.asarray(altimeter, dtype=np.float64)
    powered = np.where(start > 0.0, start, np.nan) ** n - P0**n * LAPSE * h / T0
    return np.asarray(np.where(powered > 0.0, powered, np.nan) ** (1.0 / n))
