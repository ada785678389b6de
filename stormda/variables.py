"""The one vocabulary: what a variable is called, its unit, its CF name, its physical range and its transform.

A *channel* is a variable at a level, written as one word: `msl`, `t2m`, `z500`, `t850`. Levels in names are hPa
(`t850`), or an index for idealised models (`theta0`). Every value inside stormda has the unit of this table.

Ranges are gross limits for quality control: wide enough for every value ever recorded on Earth.
Transforms keep a bounded quantity inside its bounds: the network sees `log` of a humidity, never a negative one.
"""

__all__ = ["VOCABULARY", "Channel", "LevelType", "Transform", "Variable"]

import difflib
import re
from dataclasses import dataclass
from enum import StrEnum

from stormda.errors import ConfigError


class LevelType(StrEnum):
    """Where a value lives: the unit of its level value is given in brackets."""

    SURFACE = "surface"  # [-]: mean sea level, 2 m, 10 m: part of the variable's definition
    PRESSURE = "pressure"  # [hPa]
    SIGMA = "sigma"  # [1]
    HEIGHT = "height"  # [m above mean sea level]
    INDEX = "index"  # [-]: a level of an idealised model


class Transform(StrEnum):
    """Applied before standardisation; values outside the bounds are clamped first, and counted."""

    IDENTITY = "identity"
    LOG = "log"  # log(x + offset) of a non-negative quantity
    SQRT = "sqrt"  # square root of a non-negative quantity
    LOGIT = "logit"  # of a fraction between 0 and 1


@dataclass(frozen=True)
class Variable:
    """A physical quantity: name, unit, CF standard name, gross range in that unit, level type and transform."""

    name: str
    unit: str
    standard_name: str
    long_name: str
    minimum: float
    maximum: float
    level_type: LevelType
    transform: Transform = Transform.IDENTITY
    offset: float = 0.0

    @property
    def is_vector(self) -> bool:
        """Whether it is the eastward or northward component of a vector."""
        return self.standard_name in ("eastward_wind", "northward_wind")


def _table(*rows: Variable) -> dict[str, Variable]:
    return {row.name: row for row in rows}


_S, _P, _H, _I = LevelType.SURFACE, LevelType.PRESSURE, LevelType.HEIGHT, LevelType.INDEX

VOCABULARY: dict[str, Variable] = _table(
    Variable("msl", "Pa", "air_pressure_at_mean_sea_level", "mean sea level pressure", 86000, 110000, _S),
    Variable("sp", "Pa", "surface_air_pressure", "surface pressure", 40000, 110000, _S),
    Variable("t2m", "K", "air_temperature", "2 metre temperature", 180, 335, _S),
    Variable("d2m", "K", "dew_point_temperature", "2 metre dew point temperature", 150, 310, _S),
    Variable("rh2m", "1", "relative_humidity", "2 metre relative humidity", 0, 1.1, _S),
    Variable("u10", "m s-1", "eastward_wind", "10 metre eastward wind", -90, 90, _S),
    Variable("v10", "m s-1", "northward_wind", "10 metre northward wind", -90, 90, _S),
    Variable("ws10", "m s-1", "wind_speed", "10 metre wind speed", 0, 90, _S),
    Variable("tp", "m", "lwe_thickness_of_precipitation_amount", "total precipitation", 0, 1, _S, Transform.LOG, 1e-4),
    Variable("rr", "mm h-1", "lwe_precipitation_rate", "rain rate", 0, 1000, _S, Transform.LOG, 0.1),
    Variable("dbzc", "dBZ", "equivalent_reflectivity_factor", "composite reflectivity", -40, 90, _S),
    Variable("dbz", "dBZ", "equivalent_reflectivity_factor", "radar reflectivity", -40, 90, _H),
    Variable("vr", "m s-1", "radial_velocity_of_scatterers_away_from_instrument", "radial velocity", -150, 150, _H),
    Variable("air", "K", "air_temperature", "air temperature at sigma 0.995", 180, 335, _S),
    Variable("z", "m2 s-2", "geopotential", "geopotential", -6000, 500000, _P),
    Variable("t", "K", "air_temperature", "air temperature", 140, 335, _P),
    Variable("q", "kg kg-1", "specific_humidity", "specific humidity", 0, 0.05, _P, Transform.LOG, 1e-6),
    Variable("r", "1", "relative_humidity", "relative humidity", 0, 1.5, _P),
    Variable("u", "m s-1", "eastward_wind", "eastward wind", -180, 180, _P),
    Variable("v", "m s-1", "northward_wind", "northward wind", -180, 180, _P),
    Variable("ws", "m s-1", "wind_speed", "wind speed", 0, 200, _P),
    Variable("theta", "K", "air_potential_temperature", "potential temperature anomaly at a boundary", -200, 200, _I),
    Variable("x", "1", "", "Lorenz-96 variable", -100, 100, _I),
)


@dataclass(frozen=True, order=True)
class Channel:
    """A variable at a level: one layer of the state.

    Args:
        variable: a name of `VOCABULARY`.
        level: hPa on pressure levels, an index in idealised models, None where the variable defines its level.
    """

    variable: str
    level: float | None = None

    @classmethod
    def parse(cls, name: str) -> "Channel":
        """Read `msl`, `t2m`, `z500` or `theta0`; raises ConfigError, naming the nearest variable."""
        if name in VOCABULARY and VOCABULARY[name].level_type is LevelType.SURFACE:
            return cls(name)
        match = re.fullmatch(r"([a-z]+)(\d+(?:\.\d+)?)", name)
        if match and match[1] in VOCABULARY and VOCABULARY[match[1]].level_type is not LevelType.SURFACE:
            return cls(match[1], float(match[2]))
        near = difflib.get_close_matches(name, VOCABULARY, n=1, cutoff=0.4)
        guess = f"did you mean '{near[0]}'? " if near else ""
        raise ConfigError(f"unknown channel '{name}'", hint=f"{guess}channels look like msl, t2m, z500, t850")

    @property
    def name(self) -> str:
        """The channel as one word, the inverse of `parse`."""
        return self.variable if self.level is None else f"{self.variable}{self.level:g}"

    @property
    def info(self) -> Variable:
        """The variable's row of the vocabulary."""
        return VOCABULARY[self.variable]

    def __str__(self) -> str:
        return self.name
