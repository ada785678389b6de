"""Which field of a file is a channel of ours.

A channel's field is looked for by the configured name; by the channel's own name (`z500`); by the names that
providers use (`z`, `gh`, `2t`, `slp`) and the level; by CF standard name and level. The first way that finds one
decides.
"""

__all__ = ["place", "rank"]

import numpy as np

from stormda.sources.axes import Axis
from stormda.sources.fields import Field
from stormda.variables import Channel, LevelType

_NAMES: dict[str, tuple[str, ...]] = {
    "msl": ("psl", "prmsl", "slp", "mslp"),
    "sp": ("ps",),
    "t2m": ("2t", "tas"),
    "d2m": ("2d",),
    "rh2m": ("r2", "2r", "hurs"),
    "u10": ("10u", "uas"),
    "v10": ("10v", "vas"),
    "ws10": ("10si", "si10", "sfcWind"),
    "z": ("gh", "zg", "hgt"),
    "t": ("ta", "air"),
    "q": ("hus", "shum"),
    "r": ("hur", "rhum"),
    "u": ("ua", "uwnd"),
    "v": ("va", "vwnd"),
}
_STANDARD_NAMES: dict[str, tuple[str, ...]] = {
    "z": ("geopotential_height",),
    "msl": ("air_pressure_at_sea_level",),
    "u": ("x_wind", "grid_eastward_wind"),
    "v": ("y_wind", "grid_northward_wind"),
    "u10": ("x_wind", "grid_eastward_wind"),
    "v10": ("y_wind", "grid_northward_wind"),
}
_HEIGHTS = {"t2m": 2.0, "d2m": 2.0, "rh2m": 2.0, "u10": 10.0, "v10": 10.0, "ws10": 10.0}  # m above ground
_VERTICAL = ("height", "heightAboveGround", "level", "lev", "plev", "sigma", "hybrid", "model_level", "depth")


def rank(f: Field, channel: Channel, mapped: str | None) -> int | None:
    """How well a field fits a channel, 0 best; None if it does not."""
    if f.horizontal() is None or place(f, channel, strict=mapped is None and f.name != channel.name) is None:
        return None
    info = channel.info
    names = (f.name, str(f.attributes.get("GRIB_shortName", f.name)))
    if mapped is not None:
        return 0 if mapped in names else None
    if channel.name in names:
        return 1
    if info.name in names or set(names) & set(_NAMES.get(info.name, ())):
        return 2
    standard = str(f.attributes.get("standard_name", ""))
    named = standard != "" and standard in (info.standard_name, *_STANDARD_NAMES.get(info.name, ()))
    if not named or (
        standard == "air_temperature" and info.level_type is LevelType.SURFACE and not _at_height(f, channel)
    ):
        return None
    return 3


def _at_height(f: Field, channel: Channel) -> bool:
    """Whether an axis says that the field is at the channel's height above the ground."""
    wanted = _HEIGHTS.get(channel.variable)
    return wanted is not None and any(
        a.name.lower().startswith("height") and np.any(np.abs(np.atleast_1d(a.values) - wanted) < 0.5)
        for a in f.axes.values()
        if a.values.dtype.kind in "fiu"
    )


def place(f: Field, channel: Channel, strict: bool) -> dict[str, int] | None:
    """Where the channel's level is: an index for each vertical dimension; None if the field is at another level.

    Args:
        f: the field.
        channel: whose level is wanted.
        strict: a pressure channel has to be on a pressure axis; else a field without levels is taken by its name.
    """
    info, pressures = channel.info, f.pressures()
    if info.level_type is LevelType.PRESSURE:
        if pressures is None:
            return None if strict or _levels(f) else {}
        axis, levels = pressures
        near = np.flatnonzero(np.abs(levels - channel.level) < 1e-3)
        if near.size == 0:
            return None
        return {d: int(near[0]) for d in axis.dims}
    if pressures is not None and (strict or pressures[1].size > 1):
        return None
    found: dict[str, int] = {}
    wanted = channel.level if info.level_type is LevelType.INDEX else _HEIGHTS.get(channel.variable)
    for axis in _levels(f):
        values = np.atleast_1d(axis.values)
        near = np.flatnonzero(np.abs(values - wanted) < 0.5) if wanted is not None else np.zeros(0, int)
        if near.size:
            found |= {d: int(near[0]) for d in axis.dims}
        elif values.size > 1 or (strict and wanted is not None and axis.name.lower().startswith("height")):
            return None
    return found


def _levels(f: Field) -> list[Axis]:
    """The vertical axes that are not pressures."""
    pressures = f.pressures()
    return [
        a
        for a in f.axes.values()
        if len(a.dims) <= 1
        and a.values.dtype.kind in "fiu"
        and (
            a.name in _VERTICAL
            or a.standard_name in ("height", "atmosphere_sigma_coordinate")
            or "positive" in a.attributes
        )
        and not (pressures and a is pressures[0])
    ]
