"""A centre's own state as one more piece of knowledge: N(b, B), with B learned from earlier states and kept.

    past files --mean of members, at times with a truth--> differences --NwpError.fit--> <run_dir>/background_error.nc

It is learned once, at the first analysis that has a background, and again where the files, the truth, the prior's units
or the settings of `nwp` change. Beside it lies a JSON file that says what it was learned from.
"""

__all__ = ["elsewhere"]

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import torch

from stormda import config as configuration
from stormda.assimilation.methods import FILTERS
from stormda.assimilation.nwp_error import NwpError
from stormda.assimilation.prior import Prior
from stormda.config import Config
from stormda.diffusion.gaussian import Gaussian
from stormda.errors import ConfigError, InputError, InputMissing
from stormda.pipeline import build
from stormda.pipeline.inputs import located, resolver, texts_of
from stormda.pipeline.nwp import on_grid, past_states, states_at
from stormda.sources.files import expand
from stormda.sources.gridded import read_gridded
from stormda.state import State
from stormda.store.netcdf import create, open_netcdf
from stormda.store.provenance import digest, provenance
from stormda.store.publish import write_json
from stormda.time import format_time
from stormda.types import Array

_LAYOUT = "background-error"
_HINT = "remove it: it is learned again from nwp.past"

log = logging.getLogger(__name__)


def elsewhere(config: Config, prior: Prior, method: str, time: np.datetime64) -> Gaussian | None:
    """The state of `assimilate.background` at a time with its error, standardised; None where there is none.

    Raises:
        ConfigError: the method takes none, there is nothing to learn its error from, or it was learned from this time.
        InputMissing, InputError: files that are not there, or not what they should be.
    """
    text, key = config.assimilate.background, "assimilate.background"
    if text is None:
        return None
    if method in FILTERS:
        hint = "method storm, gaussian, kf or oi; members for the prior of a filter: --prior ensemble:PATH"
        raise ConfigError(f"method {method} takes no state beside its members", key=key, hint=hint)
    error, times = _error(config, prior)
    if time in times:
        hint = "nwp.period without the times that are analysed"
        raise ConfigError(f"the error was learned from {format_time(time)} too", key="nwp.period", hint=hint)
    state = states_at(config, text, time, key, prior.grid)
    mean = state.values.mean(axis=0, keepdims=True, dtype=np.float64)
    return error.around(torch.as_tensor(prior.normaliser.encode(mean, np.asarray([time])))[0])


def _error(config: Config, prior: Prior) -> tuple[NwpError, Array]:
    """The error of the background and the times that it was learned from, read where it is known and still right."""
    path = config.below_run(config.nwp.error)
    if not config.nwp.past:
        if not path.exists():
            hint = "nwp.past=[EARLIER_FILES]"
            raise ConfigError("nothing to learn the error of the background from", key="nwp.past", hint=hint)
        return _read(path, prior)[:2]
    paths = expand(config.nwp.past, resolver(config), key="nwp.past")
    mark = _mark(config, prior, paths)
    if path.exists():
        error, times, known = _read(path, prior)
        if known == mark:
            return error, times
        log.warning("what the error of the background follows from has changed: it is learned again")
    error, times = _learn(config, prior, paths)
    _write(path, prior, error, times, mark)
    facts = {
        "background_error": {
            "times": [format_time(t) for t in times],
            "modes": len(error.modes),
            "share": {c.name: float(a) for c, a in zip(prior.channels, error.share, strict=True)},
            "rms_bias": _by_channel(prior, error.bias.numpy()),
            "rms_error": _by_channel(prior, error.sd.numpy()),
        },
        "inputs": {p.name: digest(p) for p in paths},
    }
    write_json(path.with_suffix(".json"), provenance(configuration.dump(config), **facts))
    shares = ", ".join(f"{c} {a:.2f}" for c, a in zip(prior.channels, error.share.tolist(), strict=True))
    log.info(
        "error of the background: %d EOFs from %d times; share of the truth: %s", len(error.modes), len(times), shares
    )
    return error, times


def _learn(config: Config, prior: Prior, paths: list[Path]) -> tuple[NwpError, Array]:
    """From past states where there is a truth."""
    known = _truth_times(config)
    period = config.nwp.period

    def wanted(times: Array) -> Array:
        keep = np.ones(len(times), dtype=bool) if known is None else np.isin(times, known)
        if period is not None:
            days = [day.astype("datetime64[D]") for day in period.exclude]
            keep &= (times >= period.start) & (times <= period.end) & ~np.isin(times.astype("datetime64[D]"), days)
        return keep

    past = on_grid(past_states(config, paths, wanted), prior.grid, paths[0], "nwp.past")
    truth = _truth(config, prior, past.times)
    times, mine, other = np.intersect1d(past.times, truth.times, return_indices=True)
    x, b = (prior.normaliser.encode(state.values[chosen], times) for state, chosen in ((truth, other), (past, mine)))
    return NwpError.fit(torch.as_tensor(b), torch.as_tensor(x), config.nwp.modes), times


def _truth_times(config: Config) -> Array | None:
    """Those of the archive; None where the truth is other files, which are asked later."""
    return build.archive(config).times if config.nwp.truth is None else None


def _truth(config: Config, prior: Prior, times: Array) -> State:
    """What past states are compared with, at those of their times that it has."""
    source = config.nwp.truth
    if source is None:
        archive = build.archive(config)
        rows, columns = prior.grid.within(archive.grid)
        state = archive.read(archive.find(times))
        return State(state.values[..., rows[:, None], columns], state.channels, prior.grid, state.times)
    files = located(config, texts_of(config, source), key="nwp.truth.files", folders=source.kind == "zarr")
    parts = list(
        read_gridded(source, config.channels, files, times=times, grid=prior.grid, regular=True, key="nwp.truth")
    )
    if not parts:
        raise InputMissing("the truth has none of the times of the past states", file=files[0], key="nwp.truth")
    if [c.name for c in parts[0].channels] != list(config.channels):
        raise InputError("the truth lacks a channel", file=files[0], key="nwp.truth.variables")
    whole = np.concatenate([p.values for p in parts])
    return State(whole, parts[0].channels, prior.grid, np.concatenate([p.times for p in parts]))


def _by_channel(prior: Prior, z_CHW: Array) -> dict[str, float]:
    """Root mean squares in physical units (of the transform, where a variable has one)."""
    rms = np.sqrt((z_CHW**2 * prior.grid.weights).mean(axis=(1, 2))) * prior.normaliser.sd
    return {c.name: float(value) for c, value in zip(prior.channels, rms, strict=True)}


def _mark(config: Config, prior: Prior, paths: list[Path]) -> str:
    """A hash of what the error follows from; of files their names, sizes and times."""
    files = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in paths]
    units = [hashlib.sha256(a.tobytes()).hexdigest() for a in prior.normaliser.arrays().values()]
    truth = build.archive(config).provenance if config.nwp.truth is None else None
    facts = [config.nwp.model_dump(mode="json"), config.channels, files, units, truth]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def _write(path: Path, prior: Prior, error: NwpError, times: Array, mark: str) -> None:
    shape = (len(prior.channels), *prior.grid.shape)
    with create(path) as file:
        names = " ".join(c.name for c in prior.channels)
        title = "error of a background, standardised"
        file.setncatts({"title": title, "stormda_layout": _LAYOUT, "channels": names, "learned_from": mark})
        for name, size in (("mode", len(error.modes)), ("channel", shape[0]), ("y", shape[1]), ("x", shape[2])):
            file.createDimension(name, size)
        file.createDimension("time", len(times))
        _variable(file, "share", ("channel",), error.share.numpy())
        _variable(file, "bias", ("channel", "y", "x"), error.bias.numpy())
        _variable(file, "pattern", ("mode", "channel", "y", "x"), error.modes.numpy().reshape(-1, *shape))
        _variable(file, "variance", ("mode",), error.variances.numpy())
        _variable(file, "residual", (), np.asarray(error.residual))
        seconds = _variable(file, "time", ("time",), times.astype("datetime64[s]").astype(np.float64))
        seconds.units = "seconds since 1970-01-01"


def _variable(file: netCDF4.Dataset, name: str, dimensions: tuple[str, ...], values: Array) -> Any:
    variable = file.createVariable(name, "f8", dimensions, fill_value=False)
    variable[...] = values
    return variable


def _read(path: Path, prior: Prior) -> tuple[NwpError, Array, str]:
    shape = (len(prior.channels), *prior.grid.shape)
    with open_netcdf(path, hint=_HINT, layout=_LAYOUT) as file:
        share, bias = (torch.as_tensor(np.array(file[name][...])) for name in ("share", "bias"))
        if file.channels.split() != [c.name for c in prior.channels] or tuple(bias.shape) != shape:
            what = "the error of the background is of other channels or another grid than the prior"
            raise InputError(what, file=path, key="nwp.error", hint=_HINT)
        pattern, variances = (torch.as_tensor(np.array(file[name][...])) for name in ("pattern", "variance"))
        times = np.array(file["time"][...]).astype(np.int64).astype("datetime64[s]")
        residual, mark = float(file["residual"][...]), str(file.learned_from)
    return (
        NwpError(share, bias, pattern.reshape(len(pattern), bias.numel()), variances, residual, len(times)),
        times,
        mark,
    )
