"""Worlds of twin experiments: a truth to observe and an archive to learn from, never of the same times.

`archive` takes the run's own archive. `lorenz96` and `sqg` simulate: seed 0 of nature writes the archive, once; truth
number s is another trajectory, from seed 1000 + s.
"""

__all__ = ["World", "world_config", "world_of"]

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from stormda.config import Config, Harmonics, LorenzWorld, Period, SqgWorld
from stormda.errors import ConfigError, InputError
from stormda.grid import Grid
from stormda.pipeline import build
from stormda.state import State
from stormda.store.archive import Archive, write_archive
from stormda.time import format_time
from stormda.types import Array, Progress, silent

EPOCH = np.datetime64("2001-01-01T00", "s")
SIX_HOURS = np.timedelta64(6 * 3600, "s")


@dataclass(frozen=True, eq=False)
class World:
    """A truth of one seed.

    Args:
        times: analysis times [T].
        values: the truth in physical units [T, C, H, W].
        grid: H x W points.
    """

    times: Array
    values: Array
    grid: Grid


def world_config(config: Config) -> Config:
    """The configuration with the channels and steps that a simulated world dictates."""
    world = config.twin.world
    if not isinstance(world, (LorenzWorld, SqgWorld)):
        return config
    channels = ("x0",) if isinstance(world, LorenzWorld) else ("theta0", "theta1")
    archive = config.archive.model_copy(
        update={"plane": True, "step": SIX_HOURS, "climatology": Harmonics(annual=0, diurnal=0), "train": None}
    )
    assimilate = config.assimilate.model_copy(update={"step": SIX_HOURS})
    changed = config.model_copy(update={"channels": channels, "archive": archive, "assimilate": assimilate})
    changed._folder = config._folder
    return changed


def _simulate(config: Config, seed: int, steps: int, progress: Progress) -> Iterator[State]:
    """`steps` states six hours apart (0.05 time units of Lorenz-96), after spin-up."""
    simulator = build.nature(config)
    assert simulator is not None
    x = simulator.spin_up(simulator.initial(1, seed))
    shape = (1, len(simulator.channels), *simulator.grid().shape)
    states = (x.reshape(shape) for x in simulator.run(x, steps))
    chunk: list[torch.Tensor] = []
    for k, x in enumerate(states):
        chunk.append(x)
        if len(chunk) == 256 or k == steps - 1:
            first = k + 1 - len(chunk)
            times = EPOCH + (first + np.arange(len(chunk))) * SIX_HOURS
            fields = torch.cat(chunk).to(torch.float32).numpy()
            yield State(fields, simulator.channels, simulator.grid(), times)
            chunk = []
            progress("nature run", k + 1, steps)


def simulated_archive(config: Config, progress: Progress) -> Archive:
    """The archive of a simulated world, written at the first call."""
    path = config.below_run(config.archive.path)
    facts = {"world": config.twin.world.model_dump(mode="json"), "seed": 0, "steps": config.twin.train_steps}
    if path.exists():
        archive = Archive.open(path)
        names = tuple(c.name for c in archive.channels)
        if names != config.channels or len(archive.times) != config.twin.train_steps:
            raise InputError(
                "the archive in the run folder belongs to another world",
                file=path,
                key="run_dir",
                hint="run it in a folder of its own, or with run_dir=FOLDER",
            )
        return archive
    return write_archive(
        path,
        _simulate(config, 0, config.twin.train_steps, progress),
        step=SIX_HOURS,
        harmonics=config.archive.climatology,
        train=None,
        provenance=facts,
    )


def world_of(config: Config, seed: int, progress: Progress = silent) -> World:
    """The truth of one seed for all cycles of the experiment.

    Raises:
        ConfigError: an archive world without `twin.start`.
        InputError: the archive does not hold every time, or the period was learned from.
    """
    twin = config.twin
    if isinstance(twin.world, (LorenzWorld, SqgWorld)):
        states = list(_simulate(config, 1000 + seed, twin.cycles, progress))
        return World(
            np.concatenate([s.times for s in states]), np.concatenate([s.values for s in states]), states[0].grid
        )
    archive = build.archive(config)
    if twin.start is None:
        raise ConfigError("the first analysis time is not given", key="twin.start", hint="twin.start=2014-07-10T00Z")
    times = twin.start + np.arange(twin.cycles) * config.assimilate.step
    index = archive.find(times)
    if (index < 0).any():
        first = format_time(times[int(np.argmax(index < 0))])
        raise InputError(f"the archive has no {first}, of {int((index < 0).sum())} times that lack", key="twin.start")
    if config.archive.train is not None and _overlap(times, config.archive.train):
        raise ConfigError(
            "the twin experiment is scored on times that the priors learn from",
            key="archive.train",
            hint="end it earlier",
        )
    return World(times, archive.read(index).values, archive.grid)


def _overlap(times: Array, train: Period) -> bool:
    return bool(((times >= train.start) & (times <= train.end)).any())
