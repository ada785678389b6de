"""Maps: fields and observation places on the grid of an analysis, with coast lines, as the bytes of a PNG file.

Longitude and latitude are drawn as they are, a degree of longitude shortened by the cosine of the middle latitude; an
idealised plane has square cells. Coast lines are the land of Natural Earth at 1:110 million (public domain,
https://www.naturalearthdata.com), packed with the library so that nothing is fetched. Fields have perceptually uniform
colours, differences diverging ones about zero.
"""

__all__ = ["Scale", "field_figure", "field_map", "observation_figure", "observation_map", "station_map"]

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from stormda.grid import Grid
from stormda.types import Array
from stormda.verification.plots import figure, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_WIDTH = 3.0  # inches
_STYLE = {"used": ("#0072B2", "o"), "withheld": ("#E69F00", "^"), "rejected": ("#CC3311", "x")}
_CHECKS = (("#CC3311", "x"), ("#882255", "+"), ("#000000", "1"), ("#009E73", "s"), ("#CC79A7", "D"), ("#7F7F7F", "v"))
"""Of what was rejected, check by check: crosses first, then hollow marks, so that colours are not needed."""


@dataclass(frozen=True)
class Scale:
    """Colours from `low` to `high`."""

    low: float
    high: float
    colours: str = "viridis"

    @classmethod
    def of(cls, *fields: Array, colours: str = "viridis") -> "Scale":
        """From the smallest to the largest value of some fields, which then share their colours."""
        low, high = min(float(f.min()) for f in fields), max(float(f.max()) for f in fields)
        return cls(low, high if high > low else low + 1e-9 + abs(low) * 1e-6, colours)

    @classmethod
    def about_zero(cls, *fields: Array) -> "Scale":
        """Diverging colours, as far to both sides as the largest difference."""
        most = max(float(np.abs(f).max()) for f in fields) or 1e-9
        return cls(-most, most, "RdBu_r")

    @classmethod
    def from_zero(cls, *fields: Array) -> "Scale":
        """For standard deviations."""
        most = max(float(f.max()) for f in fields) or 1e-9
        return cls(0.0, most, "cividis")


def field_map(grid: Grid, field_HW: Array, *, title: str, unit: str, scale: Scale) -> bytes:
    """The PNG file of `field_figure`."""
    return png(field_figure(grid, field_HW, title=title, unit=unit, scale=scale))


def field_figure(grid: Grid, field_HW: Array, *, title: str, unit: str, scale: Scale) -> "Figure":
    """A field as coloured cells; each cell is one grid point, nothing is smoothed."""
    drawn, axes = _frame(grid, title)
    latitude, longitude = (grid.latitude, grid.longitude) if grid.is_regular else grid.fields
    cells = axes.pcolormesh(longitude, latitude, field_HW, shading="nearest", cmap=scale.colours, rasterized=True)
    cells.set_clim(scale.low, scale.high)
    _coast(axes, grid)
    bar = drawn.colorbar(cells, ax=axes, orientation="horizontal", shrink=0.9, aspect=35, pad=0.02)
    bar.ax.tick_params(labelsize=7)
    bar.ax.locator_params(nbins=4)
    bar.set_label(unit, fontsize=7)
    return drawn


def observation_map(grid: Grid, places: dict[str, tuple[Array, Array]], *, title: str) -> bytes:
    """The PNG file of `observation_figure`."""
    return png(observation_figure(grid, places, title=title))


def observation_figure(
    grid: Grid, places: dict[str, tuple[Array, Array]], *, title: str, within: "SubFigure | None" = None
) -> "Figure":
    """Where observations are: used (blue dots), withheld (orange triangles), others with a mark and a colour each.

    Args:
        grid: its points are the extent of the map.
        places: by status (latitude [N], longitude [N]), degrees; longitudes in any range. A status is `used`,
            `withheld` or why a value was rejected; these lie below the others.
        title: above the map.
        within: a part of a figure to draw it in; None: a figure of its own.
    """
    drawn, axes = _frame(grid, title, within)
    _coast(axes, grid)
    middle = float(grid.fields[1].mean())
    above = {"used": 4, "withheld": 5}  # what was rejected hides nothing else
    free = [style for style in _CHECKS if style not in [_STYLE.get(status) for status in places]]
    others = iter(free * (1 + len(places) // len(free)))
    for status, (latitude, longitude) in places.items():
        colour, marker = _STYLE.get(status) or next(others)
        near = np.mod(longitude - middle + 180.0, 360.0) - 180.0 + middle
        size = float(np.clip(4000 / max(len(near), 1), 5, 26))
        hollow: dict[str, Any] = {"facecolors": "none", "edgecolors": colour} if marker in "sDv" else {"c": colour}
        axes.scatter(
            near,
            latitude,
            s=size,
            marker=marker,
            linewidths=0.9,
            label=f"{status} ({len(near)})",
            zorder=above.get(status, 3),
            **hollow,
        )
    style = {"ncols": 3, "frameon": False, "fontsize": 7, "handletextpad": 0.0, "columnspacing": 0.6}
    drawn.legend(loc="outside lower center", **style)
    return drawn


def station_map(grid: Grid, places: Array, values: Array, *, title: str, unit: str, scale: Scale) -> bytes:
    """A value at each station as a coloured dot.

    Args:
        grid: its points are the extent of the map.
        places: latitude and longitude in any range [N, 2], degrees.
        values: [N].
        title, unit, scale: as of `field_map`.
    """
    drawn, axes = _frame(grid, title)
    _coast(axes, grid)
    middle = float(grid.fields[1].mean())
    near = np.mod(places[:, 1] - middle + 180.0, 360.0) - 180.0 + middle
    size = float(np.clip(6000 / max(len(values), 1), 8, 40))
    dots = axes.scatter(near, places[:, 0], s=size, c=values, cmap=scale.colours, edgecolors="0.25", linewidths=0.4)
    dots.set_clim(scale.low, scale.high)
    bar = drawn.colorbar(dots, ax=axes, orientation="horizontal", shrink=0.9, aspect=35, pad=0.02)
    bar.ax.tick_params(labelsize=7)
    bar.set_label(unit, fontsize=7)
    return png(drawn)


def _frame(grid: Grid, title: str, within: "SubFigure | None" = None) -> "tuple[Figure, Axes]":
    latitude, longitude = grid.fields
    (south, north), (west, east) = _extent(latitude), _extent(longitude)
    if grid.plane:
        ratio = grid.shape[0] / grid.shape[1]
        shorten = (north - south) / ((east - west) * ratio)
    else:
        shorten = max(0.2, float(np.cos(np.deg2rad((south + north) / 2))))
        ratio = (north - south) / ((east - west) * shorten)
    drawn = cast("Figure", within) if within else figure(_WIDTH, float(np.clip(_WIDTH * 0.92 * ratio, 1.0, 4.5)) + 0.85)
    axes = drawn.add_subplot()
    axes.set(xlim=(west, east), ylim=(south, north), aspect=1.0 / shorten)
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=7)
    if not grid.plane:
        axes.xaxis.set_major_formatter(lambda x, _: _degrees(np.mod(x + 180.0, 360.0) - 180.0, "E", "W"))
        axes.yaxis.set_major_formatter(lambda y, _: _degrees(y, "N", "S"))
        axes.locator_params(nbins=5, steps=[1, 1.5, 3, 4.5, 6, 9, 10])
    return drawn, axes


def _extent(coordinate: Array) -> tuple[float, float]:
    """From the edge of the first cell to that of the last."""
    low, high = float(coordinate.min()), float(coordinate.max())
    half = (high - low) / (2 * max(max(coordinate.shape) - 1, 1)) or 0.5
    return low - half, high + half


def _degrees(value: float, positive: str, negative: str) -> str:
    return f"{abs(value):g}°" + ("" if value == 0 else positive if value > 0 else negative)


@cache
def _lines() -> Array:
    """Coast lines as (longitude, latitude) [P, 2], NaN between two of them."""
    with as_file(files("stormda.verification").joinpath("data/coastlines.npz")) as path, np.load(path) as data:
        return np.asarray(data["points"])


def _coast(axes: "Axes", grid: Grid) -> None:
    if grid.plane:
        return
    lines = _lines()
    west, east = axes.get_xlim()
    for turn in (-360.0, 0.0, 360.0):  # the grid's longitudes may be -180..180 or 0..360
        if west < 180.0 + turn and -180.0 + turn < east:
            x, y = lines[:, 0] + turn, lines[:, 1]
            axes.plot(x, y, color="white", linewidth=1.6, alpha=0.6, scalex=False, scaley=False)
            axes.plot(x, y, color="0.15", linewidth=0.7, scalex=False, scaley=False)
