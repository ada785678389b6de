"""Humidity in the ways that reports tell it, as relative humidity over water and specific humidity.

    e_s(T) = 611.2 Pa exp(17.67 (T - 273.15) / (T - 29.65))        saturation vapour pressure over water
    r = e_s(T_d) / e_s(T)                                          relative humidity from temperature and dew point
    q = w / (1 + w)                                                specific humidity from the mixing ratio

Source: Bolton, "The computation of equivalent potential temperature", Monthly Weather Review 108, 1980, equation 10:
within 0.1 % between -30 and 35 degC. WMO (Guide to Instruments, WMO-No. 8) asks for humidity over water at all
temperatures.
"""

__all__ = ["relative_humidity", "specific_humidity"]

import numpy as np

from stormda.types import Array

_COLDEST, _WARMEST = 150.0, 340.0  # K: beyond is no reading, and the formula has a pole at 29.65 K


def _saturation(temperature: Array) -> Array:
    kelvin = np.where((temperature >= _COLDEST) & (temperature <= _WARMEST), temperature, np.nan)
    return np.asarray(611.2 * np.exp(17.67 * (kelvin - 273.15) / (kelvin - 29.65)))


def relative_humidity(temperature: Array, dew_point: Array) -> Array:
    """Relative humidity [1] over water; NaN where one of them [K] is missing or no reading."""
    return np.asarray(_saturation(dew_point) / _saturation(temperature))


def specific_humidity(mixing_ratio: Array) -> Array:
    """Specific humidity [kg kg-1] from a mixing ratio [kg kg-1]; NaN where that is negative or missing."""
    ratio = np.where(mixing_ratio >= 0.0, mixing_ratio, np.nan)
    return np.asarray(ratio / (1.0 + ratio))
