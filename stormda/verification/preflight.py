"""What there is for an analysis before it is drawn: a map of the observations, and each source along time.

    above    places: of values that passed the static checks by source, crosses where a check has rejected one
    below    a row a source: how many values came in each part of the time shown; the window lies between the lines

A row that stays white is a source of which nothing came.
"""

__all__ = ["preflight_figure"]

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stormda.grid import Grid
from stormda.observations import QC, Observations
from stormda.time import Window, format_time
from stormda.verification.maps import observation_figure
from stormda.verification.plots import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

_PARTS = 60  # of the time shown
_ROW = 0.24  # inches, a source
_SHOWN = 7  # sources that are told apart on the map


def preflight_figure(
    grid: Grid, observations: Observations, window: Window, shown: Window, sources: Sequence[str], title: str
) -> "Figure":
    """The picture of one window.

    Args:
        grid: its points are the extent of the map.
        observations: rows of `shown`.
        window: of the analysis.
        shown: the time of the lower part, the window within it.
        sources: in the order of the configuration, whether anything came from them or not.
        title: above all.
    """
    drawn = figure(6.4, 4.6 + _ROW * len(sources))
    drawn.suptitle(title, fontsize=9)
    parts: Any = drawn.subfigures(2, 1, height_ratios=[4.2, 0.8 + _ROW * len(sources)])
    upper, lower = parts
    time, source = observations["time"], observations["source"].astype(str)
    inside = (time > window.start) & (time <= window.end)
    good = observations["qc"] == QC.USED
    latitude, longitude = observations["latitude"], observations["longitude"]
    placed = inside & np.isfinite(latitude) & np.isfinite(longitude)
    rejected = placed & ~good
    places = {"rejected": rejected}
    places |= {name: placed & good & (source == name) for name in sources[:_SHOWN]}
    if len(sources) > _SHOWN:
        places["other sources"] = placed & good & np.isin(source, sources[_SHOWN:])
    chosen = {name: (latitude[rows], longitude[rows]) for name, rows in places.items()}
    observation_figure(grid, chosen, title=f"{int(placed.sum())} values in {window}", within=upper)
    _along_time(lower, observations, window, shown, sources)
    return drawn


def _along_time(
    drawn: "SubFigure", observations: Observations, window: Window, shown: Window, sources: Sequence[str]
) -> None:
    from matplotlib.colors import LogNorm
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    start, end = (t.astype("datetime64[us]") for t in (shown.start, shown.end))
    edges = start + (np.arange(_PARTS + 1) * ((end - start) / _PARTS)).astype("timedelta64[us]")
    ticks = edges.astype(np.int64)
    source, time = observations["source"].astype(str), observations["time"].astype(np.int64)
    counts = np.stack([np.histogram(time[source == name], ticks)[0] for name in sources])
    axes = drawn.add_subplot()
    norm = LogNorm(1, max(2, int(counts.max())))
    rows = np.arange(len(sources) + 1)
    cells = axes.pcolormesh(edges.astype(object), rows, np.where(counts, counts, np.nan), norm=norm)
    for edge in (window.start, window.end):
        axes.axvline(edge.astype("datetime64[us]").astype(object), color="#CC3311", linewidth=1.0, linestyle="--")
    within = (observations["time"] > window.start) & (observations["time"] <= window.end)
    labels = [f"{name} ({int((within & (source == name)).sum())})" for name in sources]
    axes.set_yticks(np.arange(len(sources)) + 0.5, labels)
    axes.set_ylim(len(sources), 0)
    locator = AutoDateLocator(maxticks=7)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.tick_params(labelsize=7)
    axes.set_title(f"values along time, UTC; the window ends {format_time(window.end)}", fontsize=8)
    bar = drawn.colorbar(cells, ax=axes, aspect=12, pad=0.02, format="%d")
    bar.ax.tick_params(labelsize=7, which="both")
    bar.ax.yaxis.set_minor_formatter("")
