"""Figures of scores: pure functions from arrays to the bytes of a PNG file, without a display.

Colours are those of Okabe and Ito (2008), which people with any colour vision can tell apart; lines differ in style.
"""

__all__ = [
    "COLOURS",
    "FORMS",
    "Line",
    "Panel",
    "figure",
    "panels",
    "png",
    "rank_figure",
    "rank_histogram",
    "rendered",
    "tidy",
    "time_series",
]

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stormda.types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DOTS = 110  # an inch
_DOTS_ALONE = 220  # of a single picture, which may be printed


def figure(width: float, height: float) -> "Figure":
    """An empty figure of so many inches, drawn by Agg."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width, height), dpi=_DOTS, layout="constrained")
    FigureCanvasAgg(drawn)
    return drawn


def png(drawn: "Figure") -> bytes:
    """The bytes of a PNG file; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


FORMS = ("png", "svg", "pdf")
"""Of single pictures, by the ending of the file."""


def rendered(drawn: "Figure", form: str) -> bytes:
    """The bytes of a single picture; the same figure gives the same bytes. Text stays text in SVG.

    Args:
        drawn: the figure.
        form: one of `FORMS`.
    """
    import matplotlib

    metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[form]
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "stormda"}):
        drawn.savefig(buffer, format=form, metadata=metadata, dpi=_DOTS_ALONE)
    return buffer.getvalue()


def time_series(
    lines: Mapping[str, tuple[Array, Array]],
    *,
    spin_up: int = 0,
    unit: str = "",
    title: str = "RMSE and spread",
    times: Array | None = None,
) -> bytes:
    """RMSE (solid) and spread (dashed) of every cycle; calibrated ensembles have the two lines together.

    Args:
        lines: by method (RMSE [T], spread [T]), spread being sqrt(mean (1 + 1/M) s^2).
        spin_up: first cycles that are not scored; they are shaded.
        unit: of both.
        title: above the figure.
        times: of the cycles, datetime64 [T]; None: they are numbered.
    """
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.ticker import MaxNLocator

    drawn = figure(5.4, 3.2)
    axes = drawn.add_subplot()
    for (name, (rmse, spread)), colour in zip(lines.items(), _cycle(len(lines)), strict=True):
        cycles = np.arange(1, len(rmse) + 1) if times is None else times
        axes.plot(cycles, rmse, color=colour, linewidth=1.4, label=f"{name}: RMSE")
        axes.plot(cycles, spread, color=colour, linewidth=1.1, linestyle="--", label=f"{name}: spread")
    if spin_up:
        axes.axvspan(0.5, spin_up + 0.5, color="0.9", zorder=0, label="spin-up, not scored")
    axes.set(xlabel="cycle" if times is None else "", ylabel=f"[{unit}]" if unit else "", title=title, ylim=(0, None))
    if times is None:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        dates = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(dates)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(dates))  # type: ignore[no-untyped-call]
    axes.margins(x=0.01)
    tidy(axes)
    drawn.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return png(drawn)


def rank_histogram(
    counts: Mapping[str, Array], *, limits: Mapping[str, float] | None = None, title: str = "rank histogram"
) -> bytes:
    """The PNG file of `rank_figure`."""
    return png(rank_figure(counts, limits=limits, title=title))


def rank_figure(
    counts: Mapping[str, Array], *, limits: Mapping[str, float] | None = None, title: str = "rank histogram"
) -> "Figure":
    """How often the reference had each rank among the members, beside the flat line of a calibrated ensemble.

    Args:
        counts: by method or side [M + 1], counts or frequencies.
        limits: by the same names: the flatness that a calibrated ensemble stays below; told in the legend.
        title: above the figure.
    """
    drawn = figure(4.6, 3.0)
    axes = drawn.add_subplot()
    tallest = 0.0
    for (name, own), colour in zip(counts.items(), _cycle(len(counts)), strict=True):
        own = np.asarray(own, dtype=float)
        relative = own / max(own.sum(), 1e-300) * own.size  # 1 is flat, whatever the size of the ensemble
        edges = np.linspace(0.0, 1.0, own.size + 1)
        flatness = np.abs(relative - 1).mean()
        limit = (limits or {}).get(name)
        label = f"{name}: flatness {flatness:.2f}" + (f" (limit {limit:.2f})" if limit is not None else "")
        axes.stairs(relative, edges, color=colour, linewidth=1.5, label=label)
        axes.stairs(relative, edges, color=colour, alpha=0.12, fill=True)
        tallest = max(tallest, relative.max(initial=0.0))
    axes.axhline(1.0, color="0.35", linewidth=1.0, linestyle=":")
    axes.set(xlabel="rank / number of members", ylabel="frequency / flat", title=title)
    axes.set(xlim=(0, 1), ylim=(0, max(2.0, 1.3 * tallest)))
    tidy(axes)
    axes.legend(frameon=False, fontsize=8)
    return drawn


@dataclass(frozen=True, eq=False)
class Line:
    """A line of a panel: its name in the legend, x and y [N], the number of its colour and matplotlib's line style."""

    name: str
    x: Array
    y: Array
    colour: int
    style: str


@dataclass(frozen=True, eq=False)
class Panel:
    """A panel: its title, the label of its x axis, its lines, and whether x is logarithmic."""

    title: str
    label: str
    lines: list[Line]
    logarithmic: bool = False


def panels(drawn: Sequence[Panel], *, label: str = "", title: str = "") -> bytes:
    """Curves in up to three panels a row, with one y axis for all and one legend; single points are dots.

    Args:
        drawn: the panels.
        label: of the y axis.
        title: above the figure.
    """
    columns = min(3, len(drawn))
    rows = -(-len(drawn) // columns)
    picture = figure(3.2 * columns + 0.4, 2.6 * rows + 1.4)
    top = 1.08 * max(float(np.max(line.y)) for panel in drawn for line in panel.lines)
    named: dict[str, Any] = {}
    for number, panel in enumerate(drawn):
        axes = picture.add_subplot(rows, columns, number + 1)
        for line in panel.lines:
            (artist,) = axes.plot(
                line.x,
                line.y,
                color=COLOURS[line.colour % len(COLOURS)],
                linestyle=line.style,
                linewidth=1.4,
                marker="o" if line.style == "-" or len(line.x) == 1 else None,
                markersize=3,
            )
            named.setdefault(line.name, artist)
        axes.set(title=panel.title, xlabel=panel.label, ylim=(0, top))
        if number % columns == 0:
            axes.set_ylabel(label)
        if panel.logarithmic:
            axes.set_xscale("log", base=2)
        tidy(axes)
    if title:
        picture.suptitle(title)
    picture.legend(named.values(), named.keys(), loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return png(picture)


def _cycle(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def tidy(axes: "Axes") -> None:
    """A light grid, and no box around."""
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
