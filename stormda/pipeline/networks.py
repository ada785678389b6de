"""Observing networks of twin experiments: what reports of the truth a cycle gets.

Random grid points, drawn anew each cycle, with one error; or the real places, variables and errors of one cycle's
observations in the store, for which only the values are simulated: H(truth) plus a draw of the error.
"""

__all__ = ["Network", "Reports", "describe", "network_of"]

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stormda.assimilation.baselines.localisation import Places
from stormda.config import Config
from stormda.errors import InputMissing
from stormda.grid import Grid
from stormda.operators.build import build_operator
from stormda.operators.gridpoint import GridPoints
from stormda.pipeline import build
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
    return f"{n.count} points a channel, error {n.error:g}, {n.operator}"


def network_of(config: Config, grid: Grid, channels: tuple[Channel, ...], seed: int) -> Network:
    """The network of an experiment.

    Raises:
        InputMissing: `twin.network.stations` names a time without usable observations.
    """
    stations = config.twin.network.stations
    return _random(config, grid, seed) if stations is None else _stations(config, stations, grid, channels, seed)


def _random(config: Config, grid: Grid, seed: int) -> Network:
    network = config.twin.network
    latitude, longitude = (field.ravel() for field in grid.fields)

    def observe(cycle: int, truth_CHW: Array) -> Reports:
        channels, points = truth_CHW.shape[0], truth_CHW.shape[1] * truth_CHW.shape[2]
        drawn = cycle if network.redrawn else 0
        order = uniform(seed, stream("network", drawn), torch.arange(channels), torch.arange(points)).argsort(dim=1)
        count = min(network.count, points)
        index = (order[:, :count] + torch.arange(channels)[:, None] * points).flatten().sort().values
        point = (index % points).numpy()
        places = Places(latitude[point], longitude[point])
        return _report(GridPoints(index, network.operator), places, truth_CHW, network.error, seed, cycle, index)

    return observe


def _stations(config: Config, time: np.datetime64, grid: Grid, channels: tuple[Channel, ...], seed: int) -> Network:
    window = Window.around(time, config.observations.before, config.observations.after)
    observations = build.store(config).read(window)
    observations = observations.replace(time=np.full(len(observations), time))
    operator, observations, rows = build_operator(
        observations, grid, channels, config.operators, time, resolve=config.path
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
