"""A pressure level near a channel's: bring the channel's value to the pressure of the observation.

Aircraft and soundings report at 843 hPa where the state has 850. Within a tolerance the value follows the ICAO standard
atmosphere (Doc 7488) between the two pressures p and p_c, linear in log-pressure to first order:

    t   T(p) = T(p_c) (p / p_c)^(R Gamma / g)            Gamma = 6.5 K km-1: 0.06 K hPa-1 at 850 hPa
    z   z(p) = z(p_c) + z_s(p) - z_s(p_c)                z_s the geopotential of the standard atmosphere

Other variables (wind, humidity) keep the channel's value. R = 287.05287 J kg-1 K-1, g = 9.80665 m s-2; above 226.32 hPa
the standard atmosphere is isothermal, and so Gamma = 0.
"""

__all__ = ["level_factor", "level_shift", "standard_geopotential"]

import numpy as np

from stormda.types import Array

_GAS, _GRAVITY, _LAPSE = 287.05287, 9.80665, 0.0065
_T0, _P0 = 288.15, 1013.25  # K, hPa at mean sea level
_KAPPA = _GAS * _LAPSE / _GRAVITY
_TROPOPAUSE = 226.32  # hPa
_T_TROPOPAUSE = 216.65  # K


def level_factor(variable: str, pressure: Array, level: Array) -> Array:
    """What to multiply the channel's value at `level` hPa with, for observations at `pressure` hPa."""
    if variable != "t":
        return np.ones_like(pressure)
    below = np.maximum(pressure, _TROPOPAUSE) / np.maximum(level, _TROPOPAUSE)
    return np.asarray(below**_KAPPA)


def level_shift(variable: str, pressure: Array, level: Array) -> Array:
    """What to add to the channel's value at `level` hPa, for observations at `pressure` hPa."""
    if variable != "z":
        return np.zeros_like(pressure)
    return standard_geopotential(pressure) - standard_geopotential(level)


def standard_geopotential(pressure: Array) -> Array:
    """Geopotential [m2 s-2] of a pressure [hPa] in the ICAO standard atmosphere, up to 20 km."""
    troposphere = _GRAVITY * _T0 / _LAPSE * (1.0 - (np.maximum(pressure, _TROPOPAUSE) / _P0) ** _KAPPA)
    return np.asarray(troposphere + _GAS * _T_TROPOPAUSE * np.log(_TROPOPAUSE / np.minimum(pressure, _TROPOPAUSE)))
