"""Figures of one station: its values along time, and along the vertical, beside background and analysis at it.

Bands are the ensemble mean plus and minus its standard deviation; bars at observations are their errors. What was not
used is hollow.
"""

__all__ = ["Seen", "profile_figure", "station_figure"]

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stormda.types import Array
from stormda.verification.plots import COLOURS, figure, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIDES = (("background", COLOURS[0], "-", "o"), ("analysis", COLOURS[1], "--", "s"))


@dataclass(frozen=True, eq=False)
class Seen:
    """N values of one variable at one station, in the order of their times or levels.

    Args:
        x: [N], times (datetime64) or levels (hPa).
        value, error: [N], observed, and the standard deviation of its error (NaN where it is not known).
        used: bool [N], whether the analysis used it.
        background, analysis: H(x) of every member [M, N]; NaN where there is no operator.
    """

    x: Array
    value: Array
    error: Array
    used: Array
    background: Array
    analysis: Array


def station_figure(seen: Seen, *, title: str, unit: str) -> "Figure":
    """Values along time."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    drawn = figure(6.4, 3.4)
    axes = drawn.add_subplot()
    times = seen.x.astype("datetime64[s]").astype(object)
    for (name, colour, style, marker), members in zip(_SIDES, (seen.background, seen.analysis), strict=True):
        mean, spread = members.mean(axis=0), members.std(axis=0, ddof=1)
        axes.plot(times, mean, color=colour, linestyle=style, marker=marker, markersize=3, linewidth=1.3, label=name)
        axes.fill_between(times, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
    _observed(axes, times, seen, vertical=True)
    axes.set(title=title, ylabel=f"[{unit}]")
    if len(times) > 1:
        locator = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    return _finished(drawn, axes)


def profile_figure(seen: Seen, *, title: str, unit: str) -> "Figure":
    """Values along the vertical, pressure falling upwards."""
    drawn = figure(4.4, 5.2)
    axes = drawn.add_subplot()
    for (name, colour, style, marker), members in zip(_SIDES, (seen.background, seen.analysis), strict=True):
        mean, spread = members.mean(axis=0), members.std(axis=0, ddof=1)
        axes.plot(mean, seen.x, color=colour, linestyle=style, marker=marker, markersize=3, linewidth=1.3, label=name)
        axes.fill_betweenx(seen.x, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
    _observed(axes, seen.x, seen, vertical=False)
    axes.set(title=title, xlabel=f"[{unit}]", ylabel="pressure [hPa]")
    axes.invert_yaxis()
    return _finished(drawn, axes)


def _observed(axes: "Axes", places: Array, seen: Seen, *, vertical: bool) -> None:
    """Dots with bars; hollow where a value was not used."""
    for chosen, face, label in ((seen.used, "black", "observed"), (~seen.used, "white", "observed, not used")):
        if not chosen.any():
            continue
        x, y = (places[chosen], seen.value[chosen]) if vertical else (seen.value[chosen], places[chosen])
        bar: dict[str, Any] = {"yerr" if vertical else "xerr": seen.error[chosen]}
        look: dict[str, Any] = {"markersize": 4, "elinewidth": 0.9, "ecolor": "0.3", "capsize": 2, "zorder": 5}
        axes.errorbar(x, y, **bar, fmt="D", color="black", markerfacecolor=face, label=label, **look)


def _finished(drawn: "Figure", axes: "Axes") -> "Figure":
    tidy(axes)
    axes.tick_params(labelsize=8)
    drawn.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return drawn
