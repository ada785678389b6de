"""Which channel each observation sees: by variable and level, or as the configuration says.

Kinds of operators:

    interpolate   the channel of the same variable and level, or the one that is named
    height        the same, for 2-metre temperature at the station's height (height.py)
    level         the nearest channel of the variable within a tolerance in pressure (level.py)
    wind_speed    the two components at the observation's level (wind.py)
    reflectivity  of the rain rate, the channel that is named, or rr (radar.py)
    radial_velocity   the two components at the height of a radar's beam (radar.py)

Anything else has no operator.
"""

__all__ = ["Match", "match"]

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from stormda.config import OperatorConfig
from stormda.errors import ConfigError
from stormda.observations import Observations
from stormda.operators.level import level_factor, level_shift
from stormda.operators.radar import standard_height, vertical
from stormda.operators.wind import COMPONENTS
from stormda.types import Array
from stormda.variables import VOCABULARY, Channel, LevelType

RAIN = "rr"
"""The channel whose reflectivity is seen where the configuration names none."""
_SAME = 1e-3  # two level values closer than this are one level


@dataclass(frozen=True, eq=False)
class Match:
    """What each of N observations sees of the state.

    Args:
        speed: bool [N], whether the wind's speed is seen.
        first, second: int64 [N], channel numbers; -1 where there is none; `second` is v beside u for wind speed.
        factor, shift: float64 [N], of the interpolated value: y = factor x + shift.
        rain: bool [N], whether the reflectivity of the interpolated value is seen.
        radial: bool [N], whether the wind along a beam is seen.
        beam: int64 [N, 4], channels of u below and above the beam, v below and above it; -1 where there is none.
        share: float64 [N], of the level above.
    """

    speed: Array
    first: Array
    second: Array
    factor: Array
    shift: Array
    rain: Array
    radial: Array
    beam: Array
    share: Array

    @classmethod
    def none(cls, n: int) -> "Match":
        """N observations that see nothing yet."""
        no, nowhere = np.zeros(n, dtype=bool), np.full(n, -1)
        return cls(
            no, nowhere, nowhere.copy(), np.ones(n), np.zeros(n), no.copy(), no.copy(), np.full((n, 4), -1), np.zeros(n)
        )

    @property
    def nothing(self) -> Array:
        """Bool [N], whether nothing maps the state to the observation."""
        wind = np.where(self.radial, (self.beam < 0).any(axis=1), self.first < 0)
        return np.asarray(wind | (self.speed & (self.second < 0)))

    def take(self, rows: Array) -> "Match":
        """The rows of the given numbers."""
        return Match(*(getattr(self, field.name)[rows] for field in fields(self)))


def match(
    observations: Observations, channels: tuple[Channel, ...], configs: Mapping[str, OperatorConfig], usable: Array
) -> Match:
    """Find the channels of the rows where `usable`; raises ConfigError for an operator that cannot be."""
    found = Match.none(len(observations))
    variables = observations["variable"]
    for name in np.unique(variables[usable].astype(str)):
        config = configs.get(name, OperatorConfig())
        _check(name, config, channels)
        rows = np.flatnonzero(usable & (variables == name))
        level = _levels(observations, rows, name)
        if config.kind == "wind_speed":
            found.speed[rows] = True
            found.first[rows], found.second[rows] = (_nearest(c, level, channels, _SAME) for c in COMPONENTS[name])
        elif config.kind == "radial_velocity":
            found.radial[rows] = True
            found.beam[rows], found.share[rows] = _around(level, channels, config.reach)
        elif config.kind == "reflectivity":
            found.rain[rows], found.factor[rows] = True, config.factor
            found.first[rows] = channels.index(Channel.parse(config.channel or RAIN))
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


def _around(height: Array, channels: tuple[Channel, ...], reach: float) -> tuple[Array, Array]:
    """Channels of u and v below and above each height [N, 4], and the share of those above [N]."""
    pairs = []
    for component in COMPONENTS["ws"]:
        own = np.array([i for i, c in enumerate(channels) if c.variable == component])
        levels = standard_height(np.array([channels[i].level for i in own], dtype=np.float64))
        pair, share = vertical(height, levels, reach)
        pairs.append(np.where(pair < 0, -1, own[pair]))
    return np.concatenate(pairs, axis=1), share


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
    if config.kind == "reflectivity":
        _check_reflectivity(name, config, names)
    if config.kind == "radial_velocity":
        _check_radial(name, config, channels)
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


def _check_reflectivity(name: str, config: OperatorConfig, names: list[str]) -> None:
    if VOCABULARY[name].unit != "dBZ":
        raise ConfigError(
            f"'{name}' is not a reflectivity",
            key=f"operators.{name}.kind",
            hint="kind reflectivity is for dbz and dbzc",
        )
    if config.channel is None and RAIN not in names:
        raise ConfigError(
            f"the state has no channel '{RAIN}'",
            key=f"operators.{name}.channel",
            hint=f"name the channel of rain, with `factor` to mm h-1; channels: {', '.join(names)}",
        )


def _check_radial(name: str, config: OperatorConfig, channels: tuple[Channel, ...]) -> None:
    if name != "vr" or config.channel is not None:
        what = f"'{name}' is not a radial velocity" if name != "vr" else "radial velocity is made of u and v"
        hint = "kind radial_velocity is for vr, without `channel`"
        raise ConfigError(what, key=f"operators.{name}.kind", hint=hint)
    levels = [sorted(c.level or 0.0 for c in channels if c.variable == w) for w in COMPONENTS["ws"]]
    if not levels[0] or levels[0] != levels[1]:
        raise ConfigError(
            "radial velocity needs u and v on the same pressure levels",
            key=f"operators.{name}.kind",
            hint="channels such as u850, v850",
        )
