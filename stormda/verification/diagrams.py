"""Figures of probabilities, scales and divided scores: pure functions from arrays to the bytes of a PNG file."""

__all__ = ["Band", "event_diagram", "score_lines", "spectrum_diagram", "spectrum_figure"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stormda.types import Array
from stormda.verification.plots import COLOURS, figure, png, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_WAVES = (2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000, 2000)
"""Wavelengths that are written at an axis: far enough from each other on a logarithmic one."""


@dataclass(frozen=True, eq=False)
class Band:
    """A score along an axis [N], with its interval where it is known (else NaN)."""

    x: Array
    value: Array
    low: Array
    high: Array


def event_diagram(
    curves: Mapping[str, tuple[Array, Array, Array, Array, Array]], *, frequency: float, title: str
) -> bytes:
    """Reliability diagram, with how often each probability was forecast below it, beside the ROC curve.

    Args:
        curves: by side (probability, observed frequency, share of the forecasts, false-alarm rate, hit rate).
        frequency: of the event in the reference, drawn as a line without resolution.
        title: above the figure.
    """
    drawn = figure(6.8, 3.9)
    grid = drawn.add_gridspec(2, 2, height_ratios=(4, 1))
    left, below, right = drawn.add_subplot(grid[0, 0]), drawn.add_subplot(grid[1, 0]), drawn.add_subplot(grid[:, 1])
    for axes in (left, right):
        axes.plot([0, 1], [0, 1], color="0.35", linewidth=1.0, linestyle=":")
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        tidy(axes)
    left.axhline(frequency, color="0.6", linewidth=0.8, linestyle="--")
    for number, (name, (p, observed, share, false, hit)) in enumerate(curves.items()):
        colour, style = COLOURS[number % len(COLOURS)], ("-", "--", "-.")[number % 3]
        there = np.isfinite(observed)
        left.plot(p[there], observed[there], color=colour, linestyle=style, linewidth=1.3, marker="o", markersize=3)
        below.step(p, np.maximum(share, 1e-6), color=colour, linestyle=style, where="mid", linewidth=1.1)
        right.plot(false, hit, color=colour, linestyle=style, linewidth=1.3, marker="o", markersize=3, label=name)
    left.set(title="reliability", ylabel="observed frequency")
    below.set(xlim=(0, 1), xlabel="forecast probability", ylabel="share", yscale="log", ylim=(1e-4, 1.5))
    right.set(title="ROC", xlabel="false-alarm rate", ylabel="hit rate")
    tidy(below)
    drawn.suptitle(title, fontsize=10)
    right.legend(frameon=False, fontsize=8, loc="lower right")
    return png(drawn)


def spectrum_diagram(wavelength: Array, powers: Mapping[str, Array], *, unit: str, title: str) -> bytes:
    """The PNG file of `spectrum_figure`."""
    return png(spectrum_figure(wavelength, powers, unit=unit, title=title))


def spectrum_figure(wavelength: Array, powers: Mapping[str, Array], *, unit: str, title: str) -> "Figure":
    """Power by wavelength (grid points), both logarithmic, the largest scale on the left.

    Args:
        wavelength: [K], falling.
        powers: by name [K]; the first is black.
        unit: of the field; power has its square.
        title: above the figure.
    """
    drawn = figure(5.0, 3.4)
    axes = drawn.add_subplot()
    for number, (name, power) in enumerate(powers.items()):
        colour = "black" if number == 0 else COLOURS[(number - 1) % len(COLOURS)]
        there = power > 0
        axes.plot(
            wavelength[there], power[there], color=colour, linestyle=("-", "-", "--", "-.", ":")[number % 5], label=name
        )
    axes.set(xscale="log", yscale="log", xlabel="wavelength [grid points]", ylabel=f"power [({unit})$^2$]", title=title)
    axes.invert_xaxis()
    shown = [w for w in _WAVES if wavelength.min() <= w <= wavelength.max()]
    axes.set_xticks(shown, [str(w) for w in shown])
    axes.set_xticks([], minor=True)
    tidy(axes)
    drawn.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return drawn


def score_lines(
    lines: Mapping[str, Band], *, label: str, unit: str, title: str, ticks: Sequence[float] | None = None
) -> bytes:
    """A score along lead time or hour of the day, with its intervals; single points are dots.

    Args:
        lines: by side or score.
        label: of the x axis.
        unit: of the score.
        title: above the figure.
        ticks: of the x axis; None: where they fall.
    """
    drawn = figure(4.6, 3.0)
    axes = drawn.add_subplot()
    for number, (name, line) in enumerate(lines.items()):
        colour, style = COLOURS[number % len(COLOURS)], ("-", "--", "-.", ":")[number % 4]
        axes.plot(
            line.x, line.value, color=colour, linestyle=style, linewidth=1.4, marker="o", markersize=3.5, label=name
        )
        known = np.isfinite(line.low) & np.isfinite(line.high)
        axes.vlines(line.x[known], line.low[known], line.high[known], color=colour, linewidth=1.0, alpha=0.6)
    axes.set(xlabel=label, ylabel=f"[{unit}]", title=title, ylim=(0, None))
    if ticks is not None:
        axes.set_xticks(list(ticks))
    tidy(axes)
    drawn.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return png(drawn)
