"""What analyses and forecasts are compared with: fields of the truth and of the climatology by time, and regions."""

__all__ = ["Fields", "Reference", "on_grid", "optional", "read_reference", "scoring_of", "tell"]

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from stormda.config import Config, GriddedSource
from stormda.errors import InputError, InputMissing
from stormda.grid import Grid
from stormda.pipeline import build
from stormda.pipeline.inputs import located, texts_of
from stormda.sources.gridded import read_gridded
from stormda.state import State
from stormda.store.archive import Archive
from stormda.types import Array
from stormda.verification.compare import Scoring
from stormda.verification.regions import region

log = logging.getLogger(__name__)

T = TypeVar("T")

Fields = dict[str, tuple[Grid, Array]]
"""By channel name: a grid and a field [H, W] on it."""


@dataclass(frozen=True, eq=False)
class Reference:
    """Truth by time; times that it lacks are left out. And the archive, whose climatology anomalies are taken from."""

    truth: Mapping[np.datetime64, Fields]
    archive: Archive | None

    def climatology(self, time: np.datetime64) -> Fields:
        """The climatology of day and hour; empty without an archive."""
        if self.archive is None:
            return {}
        channels, grid = self.archive.channels, self.archive.grid
        x = self.archive.normaliser.decode(np.zeros((1, len(channels), *grid.shape)), time)[0]
        return {c.name: (grid, field) for c, field in zip(channels, x, strict=True)}


def read_reference(config: Config, times: Sequence[np.datetime64], missing: list[str]) -> Reference:
    """Truth from `verify.truth` or else from the archive.

    Args:
        config: the run.
        times: wanted.
        missing: gets a sentence for what is not there.
    """
    if "truth" not in config.verify.against or not times:
        return Reference({}, None)
    source = config.verify.truth
    archive: Archive | None = None
    try:
        archive = build.archive(config)
    except (InputError, InputMissing) as error:
        if source is None:
            tell(str(error), missing)
    found: dict[np.datetime64, Fields] | None = {}
    if source is not None:
        found = optional(lambda: _read(config, source, times), missing)
    elif archive is not None:
        opened = archive
        found = optional(lambda: _archived(opened, times), missing)
    return Reference(found or {}, archive)


def on_grid(fields: Mapping[str, tuple[Grid, Array]], grid: Grid) -> dict[str, Array]:
    """Fields at the points of an ensemble's grid; raises InputError where they lack some."""
    there = {}
    for name, (own, field) in fields.items():
        rows, columns = grid.within(own)
        there[name] = np.asarray(field[np.ix_(rows, columns)])
    return there


def scoring_of(config: Config) -> Scoring:
    """Events, scales and regions of the configuration; raises InputMissing or InputError for the file of a mask."""
    own = config.verify
    regions = {
        name: region(wanted, None if wanted.mask is None else config.path(wanted.mask), f"verify.regions.{name}")
        for name, wanted in own.regions.items()
    }
    return Scoring(frozenset(own.variables), own.thresholds, own.scales, regions)


def optional(read: Callable[[], T], missing: list[str]) -> T | None:
    """What `read` gives, or None and a sentence about what is wrong."""
    try:
        return read()
    except (InputError, InputMissing) as error:
        tell(str(error), missing)
        return None


def tell(line: str, missing: list[str]) -> None:
    """Say what is missing, once, and keep the sentence for the report."""
    if line not in missing:
        log.warning(line)
        missing.append(line)


def _read(config: Config, source: GriddedSource, times: Sequence[np.datetime64]) -> dict[np.datetime64, Fields]:
    truth: dict[np.datetime64, Fields] = {}
    key, wanted = "verify.truth", np.asarray(times)
    files = located(config, texts_of(config, source), key=f"{key}.files", folders=source.kind == "zarr")
    for state in read_gridded(source, config.channels, files, times=wanted, regular=True, key=key):
        for index in np.flatnonzero(np.isin(state.times, wanted)):
            truth.setdefault(state.times[index], {}).update(_fields(state, int(index)))
    return truth


def _archived(archive: Archive, times: Sequence[np.datetime64]) -> dict[np.datetime64, Fields]:
    index = archive.find(np.asarray(times))
    there = [(time, int(i)) for time, i in zip(times, index, strict=True) if i >= 0]
    return {time: _fields(archive.read(np.asarray([i])), 0) for time, i in there}


def _fields(state: State, index: int) -> Fields:
    return {c.name: (state.grid, state.values[index, i]) for i, c in enumerate(state.channels)}
