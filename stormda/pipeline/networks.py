"""Observing networks of twin experiments: what reports of the truth a cycle gets.

Random grid points, drawn anew each cycle, with one error: the channels there, arctan of them, the wind's speed, or
means over blocks of points. Or the real places, variables and errors of one cycle's observations in the store, for
which only the values are simulated: H(truth) plus a draw of the error.
"""

__all__ = ["Network", "Reports", "describe", "network_of"]

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stormda.assimilation.baselines.localisation import Places
from stormda.config import Config
from stormda.errors import ConfigError, InputMissing
from stormda.grid import Grid
from stormda.operators.build import build_operator
from stormda.operators.gridpoint import GridPoints
from stormda.operators.interpolate import Affine
from stormda.operators.wind import COMPONENTS, WindSpeed
from stormda.pipeline import build
from stormda.pipeline.inputs import resolver
from stormda.random import normal, stream, uniform
from stormda.time import Window, format_time
from stormda.types import Array, Mapping2
from stormda.variables import Channel


@dataclass(frozen=True, eq=False)
class Reports:
    """Observations of one cycle: H on physical fields, values [N], error variances [N] and where they are."""

    operator: Mapping2
    y: Tensor
    variance: Tensor
    places: Places


Network = Callable[[int, Array], Reports]
"""(number of the cycle, truth [C, H, W]) -> its reports."""


def describe(config: Config) -> str:
    """In words."""
    n = config.twin.network
    if n.stations is not None:
        return f"the places of the observations of {format_time(n.stations)}"
    what = {"wind_speed": "winds a level", "block_mean": f"blocks of {n.block} x {n.block} points a channel"}
    return f"{n.count} {what.get(n.operator, 'points a channel')}, error {n.error:g}, {n.operator}"


def network_of(config: Config, grid: Grid, channels: tuple[Channel, ...], seed: int) -> Network:
    """The network of an experiment.

    Raises:
        ConfigError: a state without wind, or blocks larger than the grid.
        InputMissing: `twin.network.stations` names a time without usable observations.
    """
    stations = config.twin.network.stations
    return (
        _random(config, grid, channels, seed) if stations is None else _stations(config, stations, grid, channels, seed)
    )


def _random(config: Config, grid: Grid, channels: tuple[Channel, ...], seed: int) -> Network:
    network = config.twin.network
    sites = _SITES[network.operator](config, grid, channels)

    def observe(cycle: int, truth_CHW: Array) -> Reports:
        drawn = cycle if network.redrawn else 0
        layers, places = torch.arange(sites.layers), torch.arange(len(sites.places.latitude))
        order = uniform(seed, stream("network", drawn), layers, places).argsort(dim=1)
        count = min(network.count, len(places))
        index = (order[:, :count] + layers[:, None] * len(places)).flatten().sort().values
        layer, place = (index // len(places)).numpy(), (index % len(places)).numpy()
        where = Places(sites.places.latitude[place], sites.places.longitude[place])
        return _report(sites.operator(layer, place), where, truth_CHW, network.error, seed, cycle, index)

    return observe


@dataclass(frozen=True, eq=False)
class _Sites:
    """What can be observed: each of some layers at each place; the operator of chosen layers [N] and places [N]."""

    layers: int
    places: Places
    operator: Callable[[Array, Array], Mapping2]


def _grid_points(config: Config, grid: Grid, channels: tuple[Channel, ...]) -> _Sites:
    """Every channel at every point."""
    points = grid.shape[0] * grid.shape[1]

    def operator(layer: Array, place: Array) -> GridPoints:
        return GridPoints(torch.as_tensor(layer * points + place), config.twin.network.operator)

    return _Sites(len(channels), _flat(grid), operator)


def _wind_speeds(config: Config, grid: Grid, channels: tuple[Channel, ...]) -> _Sites:
    """The speed of every wind of the state at every point."""
    pairs = np.array(
        [
            (i, channels.index(Channel(v, c.level)))
            for i, c in enumerate(channels)
            for u, v in COMPONENTS.values()
            if c.variable == u and Channel(v, c.level) in channels
        ]
    )
    if not len(pairs):
        names = ", ".join(c.name for c in channels)
        what = f"the state has no wind: {names}"
        hint = "channels with u and v of one level, or another operator"
        raise ConfigError(what, key="twin.network.operator", hint=hint)
    points = grid.shape[0] * grid.shape[1]

    def operator(layer: Array, place: Array) -> WindSpeed:
        one = np.ones((len(place), 1))
        u, v = (Affine.of(pairs[layer, i], place[:, None], one, points) for i in (0, 1))
        return WindSpeed(u, v)

    return _Sites(len(pairs), _flat(grid), operator)


def _block_means(config: Config, grid: Grid, channels: tuple[Channel, ...]) -> _Sites:
    """The mean by area of every channel over every block of points; the rest at the end of an axis is not seen."""
    side, (rows, columns) = config.twin.network.block, grid.shape
    if side > min(rows, columns):
        what = f"a block of {side} x {side} points does not fit on {rows} x {columns}"
        raise ConfigError(what, key="twin.network.block", hint=f"at most {min(rows, columns)}")
    numbers = np.arange(rows * columns).reshape(rows, columns)[: rows // side * side, : columns // side * side]
    blocks = numbers.reshape(rows // side, side, columns // side, side).swapaxes(1, 2).reshape(-1, side**2)
    weight = grid.weights.ravel()[blocks]
    weight = weight / weight.sum(axis=1, keepdims=True)
    latitude, longitude = _flat(grid)
    centres = Places(latitude[blocks].mean(axis=1), longitude[blocks].mean(axis=1))

    def operator(layer: Array, place: Array) -> Affine:
        return Affine.of(layer, blocks[place], weight[place], rows * columns)

    return _Sites(len(channels), centres, operator)


def _flat(grid: Grid) -> Places:
    latitude, longitude = (field.ravel() for field in grid.fields)
    return Places(latitude, longitude)


_SITES: dict[str, Callable[[Config, Grid, tuple[Channel, ...]], _Sites]] = {
    "identity": _grid_points,
    "arctan": _grid_points,
    "wind_speed": _wind_speeds,
    "block_mean": _block_means,
}


def _stations(config: Config, time: np.datetime64, grid: Grid, channels: tuple[Channel, ...], seed: int) -> Network:
    window = Window.around(time, config.observations.before, config.observations.after)
    observations = build.store(config).read(window)
    observations = observations.replace(time=np.full(len(observations), time))
    operator, observations, rows = build_operator(
        observations, grid, channels, config.operators, time, resolve=resolver(config)
    )
    if len(rows) == 0:
        what = f"the store has no usable observation in {window}"
        raise InputMissing(what, key="twin.network.stations", hint="stormda ingest, or another time")
    used = observations.take(rows)
    error = torch.as_tensor(np.asarray(used["error"], dtype=np.float64))
    places = Places(used["latitude"], used["longitude"])

    def observe(cycle: int, truth_CHW: Array) -> Reports:
        return _report(operator, places, truth_CHW, error, seed, cycle, torch.arange(len(rows)))

    return observe


def _report(
    operator: Mapping2,
    places: Places,
    truth_CHW: Array,
    error: float | Tensor,
    seed: int,
    cycle: int,
    numbers: Tensor,
) -> Reports:
    clean = operator(torch.as_tensor(truth_CHW, dtype=torch.float64)[None])[0]
    noise = normal(seed, stream("observation error", cycle), torch.zeros(1, dtype=torch.int64), numbers)[0]
    sd = torch.as_tensor(error, dtype=clean.dtype).expand_as(clean)
    return Reports(operator, clean + sd * noise, sd.square(), places)
