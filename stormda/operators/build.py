"""From the observation table to one operator over its usable rows.

Every row is matched with a channel, given its four grid points and, between two frames, its share of the previous one.
A row that cannot be used is flagged, never dropped: `missing` (value, time or place), `outside grid`, `outside window`
(at or before the previous frame, whose analysis has seen it), `no operator`, `station height`.
"""

__all__ = ["build_operator", "surface_height"]

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from stormda.config import OperatorConfig
from stormda.errors import ConfigError
from stormda.grid import Grid
from stormda.observations import QC, Observations
from stormda.operators.base import Operator
from stormda.operators.censored import Censored
from stormda.operators.height import height_shift, read_orography
from stormda.operators.interpolate import Affine, vector_weights, weights_of
from stormda.operators.match import Match, match
from stormda.operators.radar import Reflectivity, radial_velocity
from stormda.operators.stack import Stack
from stormda.operators.time_linear import Frames
from stormda.operators.wind import WindSpeed
from stormda.types import Array
from stormda.variables import Channel


def build_operator(
    observations: Observations,
    grid: Grid,
    channels: tuple[Channel, ...],
    configs: Mapping[str, OperatorConfig],
    time: np.datetime64,
    previous: tuple[np.datetime64, Array] | None = None,
    previous_error: Array | None = None,
    *,
    resolve: Callable[[str], Path] = Path,
) -> tuple[Stack, Observations, Array]:
    """Build H for the observations of one window.

    Args:
        observations: any rows; only those that no check has flagged get an operator, withheld ones too.
        grid, channels: of the state, C x H x W.
        configs: by variable, where the operator is not plain interpolation.
        time: of the state.
        previous: an earlier frame, its time and fields [C, H, W] in physical units, for observations between the two.
        previous_error: standard deviation of the error of that frame, [C, H, W].
        resolve: turns a path of the configuration into a path.

    Returns:
        The operator over N rows, all observations with their QC codes, and the numbers of the N rows, int64.

    Raises:
        ConfigError: an operator that cannot be, or an observation error that is not given.
        InputError, InputMissing: a grid with 2-D coordinates and no projection, or an orography that does not fit.
    """
    frames = Frames(time) if previous is None else Frames(time, *previous, previous_error)
    index, weight = weights_of(grid, observations["latitude"], observations["longitude"])
    observations = _flag_places(observations, weight, frames)
    found = match(observations, channels, configs, observations["qc"] == QC.USED)
    observations = observations.flag(found.nothing, QC.NO_OPERATOR)
    wind = found.speed | found.radial | np.isin(found.first, [i for i, c in enumerate(channels) if c.info.is_vector])
    weight = np.where(wind[:, None], vector_weights(grid, observations["latitude"], weight), weight)
    observations = _correct_heights(found, observations, grid, configs, (index, weight), resolve)
    rows = np.flatnonzero(observations["qc"] == QC.USED)
    _check_errors(observations, rows)
    used = observations.take(rows)
    return _stack(found.take(rows), index[rows], weight[rows], frames, used, configs, grid), observations, rows


def _flag_places(observations: Observations, weight: Array, frames: Frames) -> Observations:
    """Rows without a value, a time or a place, beyond the grid, or of the window of the frame before."""
    times = observations["time"]
    missing = np.isnat(times) | ~np.isfinite([observations[n] for n in ("value", "latitude", "longitude")]).all(axis=0)
    beyond = np.asarray(np.isnan(weight).any(axis=1))
    observations = observations.flag(missing, QC.MISSING).flag(beyond, QC.OUTSIDE_GRID)
    return observations if frames.time is None else observations.flag(times <= frames.time, QC.OUTSIDE_WINDOW)


def _correct_heights(
    found: Match,
    observations: Observations,
    grid: Grid,
    configs: Mapping[str, OperatorConfig],
    places: tuple[Array, Array],
    resolve: Callable[[str], Path],
) -> Observations:
    """Shift `found` by the lapse rate where an orography is configured; a row of unknown height is flagged."""
    variables, elevation = observations["variable"], observations["elevation"]
    for name, config in configs.items():
        rows = np.flatnonzero((variables == name) & (observations["qc"] == QC.USED))
        if config.kind != "height" or config.orography is None or rows.size == 0:
            continue
        surface = read_orography(resolve(config.orography), grid, key=f"operators.{name}.orography")
        model = _at(surface, places[0][rows], places[1][rows])
        found.shift[rows] += height_shift(elevation[rows], model, config.lapse_rate)
    return observations.flag(np.isnan(found.shift), QC.STATION_HEIGHT)


def surface_height(
    observations: Observations,
    grid: Grid,
    configs: Mapping[str, OperatorConfig],
    resolve: Callable[[str], Path] = Path,
) -> Array | None:
    """Height of the model's surface at each row, m [N], from the first orography that is configured; None: none is.

    Raises:
        InputError, InputMissing: an orography that does not fit.
    """
    named = ((name, config.orography) for name, config in configs.items() if config.orography is not None)
    name, path = next(named, ("", None))
    if path is None:
        return None
    surface = read_orography(resolve(path), grid, key=f"operators.{name}.orography")
    return _at(surface, *weights_of(grid, observations["latitude"], observations["longitude"]))


def _at(surface: Array, index: Array, weight: Array) -> Array:
    """The surface at places, from the points of the grid around them."""
    return np.asarray((surface.ravel()[index] * weight).sum(axis=1))


def _check_errors(observations: Observations, rows: Array) -> None:
    """An observation whose error is unknown cannot be weighed."""
    error = observations["error"][rows]
    bad = np.flatnonzero(~(np.isfinite(error) & (error > 0)))
    if bad.size:
        source, variable = (observations[n][rows[bad[0]]] for n in ("source", "variable"))
        raise ConfigError(
            f"source '{source}' gives no observation error for {variable} ({bad.size} values)",
            key=f"observations.sources.{source}.errors.{variable}",
            hint="its standard deviation in the unit of the variable, or a check that excludes it; then stormda ingest",
        )


def _stack(
    found: Match,
    index: Array,
    weight: Array,
    frames: Frames,
    used: Observations,
    configs: Mapping[str, OperatorConfig],
    grid: Grid,
) -> Stack:
    """The operators of rows that all have their channels."""
    points, times, variables = grid.shape[0] * grid.shape[1], used["time"], used["variable"]
    variance = torch.zeros(len(times), dtype=torch.float64)

    def component(channel: Array, at: Array) -> Affine:
        h = Affine.of(channel[at], index[at], weight[at], points).scaled(found.factor[at], found.shift[at])
        return blended(h, at)

    def blended(h: Affine, at: Array) -> Affine:
        h, extra = frames.blend(h, times[at])
        rows = torch.as_tensor(at)
        variance[rows] = torch.maximum(variance[rows], extra)  # of u and v the larger: speed varies no more than that
        return h

    other = found.speed | found.rain | found.radial
    plain, speed, radial = np.flatnonzero(~other), np.flatnonzero(found.speed), np.flatnonzero(found.radial)
    parts: list[tuple[Operator, Array]] = [(component(found.first, plain), plain)]
    if speed.size:
        parts.append((WindSpeed(component(found.first, speed), component(found.second, speed)), speed))
    if radial.size:
        azimuth, elevation = (used[n].astype(np.float64)[radial] for n in ("azimuth", "elevation_angle"))
        between = found.beam[radial], found.share[radial]
        h = radial_velocity(*between, azimuth, elevation, index[radial], weight[radial], points)
        parts.append((blended(h, radial), radial))
    for name in np.unique(variables[found.rain].astype(str)):
        rain, config = np.flatnonzero(found.rain & (variables == name)), configs[name]
        a, b = config.z_r
        parts.append((Reflectivity(component(found.first, rain), a, b, config.floor), rain))
    return Stack(tuple(_censor(parts, used, configs)), variance)


def _censor(
    parts: list[tuple[Operator, Array]], used: Observations, configs: Mapping[str, OperatorConfig]
) -> list[tuple[Operator, Array]]:
    """The same rows, those that say only `no more than this` by a censored operator."""
    limit = np.full(len(used), -np.inf)
    for name, config in configs.items():
        if config.zero is not None:
            limit[used["variable"] == name] = config.zero
    dry = used["value"] <= limit
    if not dry.any():
        return parts
    out: list[tuple[Operator, Array]] = []
    for operator, at in parts:
        out.append((operator.subset(~dry[at]), at[~dry[at]]))
        rows = at[dry[at]]
        numbers = (torch.as_tensor(c[rows], dtype=torch.float64) for c in (used["value"], limit, used["error"]))
        out.append((Censored(operator.subset(dry[at]), *numbers), rows))
    return out
