"""Ensembles on disk: CF NetCDF with a dimension `realization`, written member by member.

    msl(realization, latitude, longitude)     every member
    msl_mean, msl_spread(latitude, longitude) mean and standard deviation (with M - 1) over the stored members
    error_covariance(mode, mode_2)            of the analysis in the EOF coordinates of the Gaussian prior, where known

Fields are 4-byte floats. One member at a time is in memory: mean and sum of squares follow Welford (1962), "Note on a
method for calculating corrected sums of squares and products", https://doi.org/10.1080/00401706.1962.10490022.
"""

__all__ = ["Analysis", "member_count", "read_analysis", "write_analysis"]

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

from stormda import __version__
from stormda.errors import AnalysisRejected
from stormda.grid import Grid
from stormda.state import State
from stormda.store.cf import (
    CONVENTIONS,
    GRID_MAPPING,
    channel_attributes,
    read_grid,
    read_time,
    write_grid,
    write_level,
    write_time,
)
from stormda.store.netcdf import create, open_netcdf
from stormda.types import Array
from stormda.variables import Channel

LAYOUT = "ensemble"
_HINT = "stormda assimilate writes it again"
OWN = ("Conventions", "source", "stormda_layout", "channels", "grid_geometry", "grid_wraps")


@dataclass(frozen=True, eq=False)
class Analysis:
    """An ensemble that was read.

    Args:
        state: the members, [M, C, H, W].
        mean, spread: over the members, [C, H, W].
        time: valid time.
        attributes: what `write_analysis` was given.
        carry: [R, R], error covariance in EOF coordinates; None where it is not known.
    """

    state: State
    mean: Array
    spread: Array
    time: np.datetime64
    attributes: dict[str, str]
    carry: Array | None


def write_analysis(
    path: Path,
    members: Iterable[Array],
    *,
    count: int,
    channels: tuple[Channel, ...],
    grid: Grid,
    time: np.datetime64,
    attributes: Mapping[str, str],
    carry: Array | None = None,
) -> None:
    """Write an ensemble; `path` appears when all of it is there, and replaces what was there before.

    Args:
        path: the file.
        members: `count` fields [C, H, W] in physical units, gone through once.
        count: M, at least 2.
        channels, grid, time: of every member.
        attributes: global attributes.
        carry: [R, R], error covariance in EOF coordinates.

    Raises:
        AnalysisRejected: a value that is not finite, or another number of members.
        OutputError: the file cannot be written.
    """
    with create(path) as file:
        own = (CONVENTIONS, f"stormda {__version__}", LAYOUT, " ".join(c.name for c in channels))
        file.setncatts(dict(attributes) | dict(zip(OWN, own, strict=False)))
        write_time(file, time)
        dimensions = write_grid(file, grid)
        _write_realization(file, count)
        fields = [_create_channel(file, c, dimensions) for c in channels]
        mean, squares, done = np.zeros((len(channels), *grid.shape)), np.zeros((len(channels), *grid.shape)), 0
        for done, member in enumerate(members, start=1):
            x = _checked(member, channels, done, count)
            for c, (field, _, _) in enumerate(fields):
                field[done - 1] = x[c]
            step = x - mean
            mean += step / done
            squares += step * (x - mean)
        if done != count:
            raise AnalysisRejected(f"the ensemble has {done} of {count} members", file=path)
        for c, (_, field_mean, field_spread) in enumerate(fields):
            field_mean[:], field_spread[:] = mean[c], np.sqrt(squares[c] / (count - 1))
        if carry is not None:
            _write_carry(file, carry)


def _write_realization(file: netCDF4.Dataset, count: int) -> None:
    file.createDimension("realization", count)
    variable = file.createVariable("realization", "i4", ("realization",))
    variable.setncatts(
        {"standard_name": "realization", "long_name": "member of the ensemble", "units": "1", "axis": "E"}
    )
    variable[:] = np.arange(count)


def _create_channel(file: netCDF4.Dataset, channel: Channel, dimensions: tuple[str, str]) -> list[Any]:
    """The variables of the members, their mean and their spread."""
    places = "latitude longitude" if dimensions[0] == "y" else ""
    coordinates = " ".join(f"time {write_level(file, channel)} {places}".split())
    mapping = {"grid_mapping": GRID_MAPPING} if GRID_MAPPING in file.variables else {}
    shape = tuple(len(file.dimensions[d]) for d in dimensions)
    made = []
    for suffix, words, method in (
        ("", "", ""),
        ("_mean", ", ensemble mean", " realization: mean"),
        ("_spread", ", ensemble standard deviation", " realization: standard_deviation"),
    ):
        axes, chunks = (dimensions, shape) if suffix else (("realization", *dimensions), (1, *shape))
        variable = file.createVariable(
            channel.name + suffix, "f4", axes, compression="zlib", complevel=1, chunksizes=chunks, fill_value=False
        )
        attributes = channel_attributes(channel, difference=suffix == "_spread")
        attributes["long_name"] += words
        variable.setncatts(attributes | {"coordinates": coordinates, "cell_methods": f"time: point{method}"} | mapping)
        variable.set_var_chunk_cache(size=1)  # A chunk is written once: a cache would only take memory.
        made.append(variable)
    return made


def _checked(member: Array, channels: tuple[Channel, ...], number: int, count: int) -> Array:
    """A member as it will be stored, in double precision for the sums."""
    if number > count:
        raise AnalysisRejected(f"the ensemble has more than {count} members")
    with np.errstate(over="ignore"):
        stored = np.asarray(member).astype(np.float32)
    bad = [c.name for c, field in zip(channels, stored, strict=True) if not np.isfinite(field).all()]
    if bad:
        what = f"member {number - 1} is not finite in {', '.join(bad)}"
        raise AnalysisRejected(what, hint="look at the observations with stormda check; nothing was published")
    return stored.astype(np.float64)


def _write_carry(file: netCDF4.Dataset, carry: Array) -> None:
    file.createDimension("mode", carry.shape[0])
    file.createDimension("mode_2", carry.shape[1])
    variable = file.createVariable("error_covariance", "f8", ("mode", "mode_2"), fill_value=False)
    variable.setncatts({"long_name": "covariance of the analysis error in EOF coordinates", "units": "1"})
    variable[:] = carry


def member_count(path: Path) -> int:
    """How many members a file has; raises as `read_analysis`."""
    with open_netcdf(path, hint=_HINT, layout=LAYOUT) as file:
        return len(file.dimensions["realization"])


def read_analysis(path: Path, members: slice = slice(None)) -> Analysis:
    """Read what `write_analysis` wrote.

    Args:
        path: the file.
        members: those to read; mean and spread are of all.

    Raises:
        InputMissing: no such file.
        InputError: truncated, or another kind of file.
    """
    with open_netcdf(path, hint=_HINT, layout=LAYOUT) as file:
        channels, time = tuple(Channel.parse(name) for name in file.channels.split()), read_time(file)
        values = np.stack([file[c.name][members] for c in channels], axis=-3)
        mean, spread = (np.stack([file[c.name + suffix][:] for c in channels]) for suffix in ("_mean", "_spread"))
        state = State(values, channels, read_grid(file), np.asarray([time]))
        attributes = {name: str(file.getncattr(name)) for name in file.ncattrs() if name not in OWN}
        carry = np.asarray(file["error_covariance"][:]) if "error_covariance" in file.variables else None
    return Analysis(state, mean, spread, time, attributes, carry)
