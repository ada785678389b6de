"""Which channel each observation sees: by variable and level, or as the configuration says.

Kinds of operators:

    interpolate   the channel of the same variable and level, or the one that is named
    height        the same, for 2-metre temperature at the station's height (height.py)
    level         the nearest channel of the variable within a tolerance in pressure (level.py)
    wind_speed    the two components at the observation's level (wind.py)

Anything else has no operator.
"""

__all__ = ["Match", "match"]

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stormda.config import OperatorConfig
from stormda.errors import ConfigError
from stormda.observations import Observations
from stormda.operators.level import level_factor, level_shift
from stormda.operators.wind import COMPONENTS
from stormda.types import Array
from stormda.variables import VOCABULARY, Channel, LevelType

_SAME = 1e-3  # two level values closer than this are one level


@dataclass(frozen=True, eq=False)
class Match:
    """What each of N observations sees of the state.

    Args:
        speed: bool [N], whether the wind's speed is seen.
        first, second: int64 [N], channel numbers; -1 where there is none; `second` is v beside u for wind speed.
        factor, shift: float64 [N], of the interpolated value: y = factor x + shift.
    """

    speed: Array
    first: Array
    second: Array
    factor: Array
    shift: Array

    @property
    def nothing(self) -> Array:
        """Bool [N], whether nothing maps the state to the observation."""
        return np.asarray((self.first < 0) | (self.speed & (self.second < 0)))

    def take(self, rows: Array) -> "Match":
        """The rows of the given numbers."""
        return Match(self.speed[rows], self.first[rows], self.second[rows], self.factor[rows], self.shift[rows])


def match(
    observations: Observations, channels: tuple[Channel, ...], configs: Mapping[str, OperatorConfig], usable: Array
) -> Match:
    """Find the channels of the rows where `usable`; raises ConfigError for an operator that cannot be."""
    n = len(observations)
    found = Match(np.zeros(n, dtype=bool), np.full(n, -1), np.full(n, -1), np.ones(n), np.zeros(n))
    variables = observations["variable"]
    for name in np.unique(variables[usable].astype(str)):
        config = configs.get(name, OperatorConfig())
        _check(name, config, channels)
        rows = np.flatnonzero(usable & (variables == name))
        level = _levels(observations, rows, name)
        if config.kind == "wind_speed":
            found.speed[rows] = True
            found.first[rows], found.second[rows] = (_nearest(c, level, channels, _SAME) for c in COMPONENTS[name])
        else:
            found.first[rows] = _channel(name, config, level, channels)
        if config.kind == "level":
            _correct(found, rows, level, channels)
    return found


def _channel(name: str, config: OperatorConfig, level: Array, channels: tuple[Channel, ...]) -> Array:
    """The channel of each row: the one that is named, where its level fits, or the nearest of the same variable."""
    reach = max(_SAME, config.tolerance) if config.kind == "level" else _SAME
    if config.channel is None:
        return _nearest(name, level, channels, reach)
    only = Channel.parse(config.channel)
    fits = np.isnan(level) | (only.level is None) | (np.abs(level - (only.level or 0.0)) <= reach)
    return np.where(fits, channels.index(only), -1)


def _correct(found: Match, rows: Array, level: Array, channels: tuple[Channel, ...]) -> None:
    """From the channel's pressure to the observation's, where both have one."""
    for number in np.unique(found.first[rows][found.first[rows] >= 0]):
        channel = channels[number]
        if channel.level is None:
            continue
        hit = (found.first[rows] == number) & np.isfinite(level)
        own = np.full(hit.sum(), channel.level)
        found.factor[rows[hit]] = level_factor(channel.variable, level[hit], own)
        found.shift[rows[hit]] = level_shift(channel.variable, level[hit], own)


def _levels(observations: Observations, rows: Array, variable: str) -> Array:
    """Level values [N]: NaN for a variable without levels, infinite where the level is missing or of another type."""
    kind = VOCABULARY[variable].level_type
    if kind is LevelType.SURFACE:
        return np.full(len(rows), np.nan)
    of_another = ~np.isin(observations["level_type"][rows].astype(str), (kind, LevelType.SURFACE))
    level = observations["level"][rows]
    return np.where(of_another | ~np.isfinite(level), np.inf, level)


def _nearest(variable: str, level: Array, channels: tuple[Channel, ...], reach: float) -> Array:
    """The number of the variable's channel nearest to each level, -1 where none is within reach."""
    numbers = np.array([i for i, c in enumerate(channels) if c.variable == variable], dtype=np.int64)
    if numbers.size == 0:
        return np.full(len(level), -1)
    own = np.array([np.nan if channels[i].level is None else channels[i].level for i in numbers], dtype=np.float64)
    distance = np.nan_to_num(np.abs(level[:, None] - own[None, :]), nan=0.0)  # NaN: neither has a level
    return np.where(distance.min(axis=1) <= reach, numbers[distance.argmin(axis=1)], -1)


def _check(name: str, config: OperatorConfig, channels: tuple[Channel, ...]) -> None:
    """An operator that is named in the configuration must fit the variable and the state."""
    names = [c.name for c in channels]
    if config.channel is not None and config.channel not in names:
        raise ConfigError(
            f"the state has no channel '{config.channel}'",
            key=f"operators.{name}.channel",
            hint=f"channels: {', '.join(names)}",
        )
    if config.kind == "height" and VOCABULARY[name].unit != "K":
        raise ConfigError(
            f"'{name}' is not a temperature", key=f"operators.{name}.kind", hint="kind height corrects t2m"
        )
    if config.kind != "wind_speed":
        return
    if name not in COMPONENTS:
        raise ConfigError(
            f"'{name}' is not a wind speed",
            key=f"operators.{name}.kind",
            hint=f"kind wind_speed is for {' and '.join(COMPONENTS)}",
        )
    if config.channel is not None:
        u, v = COMPONENTS[name]
        raise ConfigError(
            f"wind speed is made of {u} and {v}", key=f"operators.{name}.channel", hint="leave the key out"
        )
