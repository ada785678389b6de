"""States of a centre's own model at an analysis time, on the grid of the analysis.

Files that hold the points of the grid give them as they are; others are interpolated between their four nearest points,
which a grid much finer than the analysis' does not average.
"""

__all__ = ["files_at", "nwp_inputs", "on_grid", "past_states", "states_at", "told_rim"]

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import torch

from stormda.assimilation.prior import Prior
from stormda.assimilation.storm_prior import StormPrior, bounded
from stormda.config import Config, GriddedSource, files_of
from stormda.errors import ConfigError, InputError
from stormda.grid import Grid
from stormda.operators.interpolate import vector_weights, weights_of
from stormda.pipeline.inputs import resolver
from stormda.sources.files import expand
from stormda.sources.members import read_means, read_members
from stormda.state import State
from stormda.store.provenance import digest
from stormda.types import Array


def files_at(config: Config, text: str, time: np.datetime64, key: str) -> list[Path]:
    """The files that a path of the configuration names at a time, `%Y%m%d%H` filled in; raises InputMissing."""
    filled = datetime.fromisoformat(str(time.astype("datetime64[s]"))).strftime(text)
    return expand([filled], resolver(config), key=key)


def states_at(config: Config, text: str, time: np.datetime64, key: str, grid: Grid | None) -> State:
    """The members of an ensemble, or the one state, that files have at a time.

    Args:
        config: the run; its section `nwp` says how files are read.
        text: the files.
        time: valid time.
        key: of `text`, for messages.
        grid: give the fields on its points; None: as they are.

    Raises:
        InputMissing: no such file, or none of that time.
        InputError: a channel that is not there, missing values, a grid that does not cover the analysis'.
    """
    paths = files_at(config, text, time, key)
    state = read_members(paths, config.channels, _ways(config), time, key=key)
    return state if grid is None else on_grid(state, grid, paths[0], key)


def past_states(config: Config, paths: Sequence[Path], wanted: Callable[[Array], Array]) -> State:
    """The states of files at all of their times that are wanted, of ensembles the mean; raises as `states_at`."""
    return read_means(paths, config.channels, _ways(config), wanted, key="nwp.past")


def on_grid(state: State, grid: Grid, path: Path, key: str) -> State:
    """The same states on the points of another grid; raises InputError where theirs does not cover it."""
    try:
        rows, columns = grid.within(state.grid)
        return State(state.values[..., rows[:, None], columns], state.channels, grid, state.times)
    except InputError:
        pass  # Not its points: they are between its points.
    if not state.grid.is_regular and state.grid.projection is None:
        what = f"the grid has 2-D latitudes and longitudes ({state.grid}) and is not that of the analysis ({grid})"
        raise InputError(what, file=path, key=key, hint="regrid the files to rows of latitude, by cdo remapbil")
    latitude, longitude = (field.ravel() for field in grid.fields)
    index, weight = weights_of(state.grid, latitude, longitude)
    vector = vector_weights(state.grid, latitude, weight)
    weight_CNJ = np.stack([vector if c.info.is_vector else weight for c in state.channels])
    outside = int(np.isnan(weight).any(axis=1).sum())
    if outside:
        what = f"{outside} points of the analysis ({grid}) lie outside the files' grid ({state.grid})"
        raise InputError(what, file=path, key=key, hint="files of a larger region")
    flat = state.values.reshape(*state.values.shape[:2], -1)
    values: Array = np.zeros((*flat.shape[:2], len(index)))
    for corner in range(index.shape[1]):  # four, one at a time: memory stays that of the result
        values += flat[..., index[:, corner]] * weight_CNJ[:, :, corner]
    return State(
        values.reshape(*flat.shape[:2], *grid.shape).astype(state.values.dtype), state.channels, grid, state.times
    )


def nwp_inputs(config: Config, time: np.datetime64) -> dict[str, dict[str, str]]:
    """Hashes of the files of the given prior, of the background and at the rim at a time, by their names."""
    prior, a = config.assimilate.prior, config.assimilate
    named = {"prior": None if prior is None else files_of(prior), "background": a.background, "rim": a.rim}
    return {
        name: {path.name: digest(path) for path in files_at(config, text, time, f"assimilate.{name}")}
        for name, text in named.items()
        if text is not None
    }


def told_rim(config: Config, prior: Prior, text: str | None, time: np.datetime64, key: str) -> Prior:
    """The prior of a time, told what the files of a coarser model say of the rim of its domain; of members the mean.

    Raises:
        ConfigError: no network, or one that takes no such field.
        InputMissing, InputError: as `states_at`.
    """
    if text is None:
        return prior
    if not isinstance(prior, StormPrior):
        hint = "--method storm, or leave it out"
        raise ConfigError("only the network of method storm takes a field at its rim", key=key, hint=hint)
    values = states_at(config, text, time, key, prior.grid).values.mean(axis=0)
    return bounded(prior, torch.as_tensor(prior.normaliser.encode(values[None], np.asarray([time]))[0]))


def _ways(config: Config) -> Sequence[GriddedSource]:
    """How a channel is found: by the names of `nwp` and of the archive's sources, else by those of `nwp` alone."""
    named = {c: name for source in config.archive.sources.values() for c, name in source.variables.items()}
    own = config.nwp
    plain = GriddedSource(files=("-",), variables=own.variables, units=own.units, filter=own.filter)
    return [plain.model_copy(update={"variables": named | own.variables}), plain]
