"""Departures along time: observation minus background and minus analysis, by source, variable and level.

With y an observation that was used, B and A the ensemble means at it, R the variance of its error:

    O-B = y - H(x_b)      O-A = y - H(x_a)      A-B = H(x_a) - H(x_b)

Means should be about 0 (else something is biased), the RMS of O-B about sqrt(s_b^2 + R) (what was expected), the RMS of
O-A below it. Statistics files hold sums of products (`metrics.innovations`); those of (O-A)^2 are

    (O-A)^2 = (O-A)(O-B) - (A-B)(O-A)
"""

__all__ = ["Departures", "departure_figure", "departures_of", "departures_section"]

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stormda.time import format_time
from stormda.types import Array
from stormda.verification.picture import Picture, Section, Table
from stormda.verification.plots import COLOURS, figure, png, tidy
from stormda.verification.tally import Key, Tally

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FIGURES = 8  # on a page


@dataclass(frozen=True, eq=False)
class Departures:
    """Of one source and variable, at T analysis times.

    Args:
        source, variable, unit: of the observations.
        times: [T], datetime64.
        count: [T], observations that were used.
        mean_ob, mean_oa, rms_ob, rms_oa: [T], in the unit of the variable.
        expected: [T], sqrt(mean (1 + 1/M) s_b^2 + R), what the RMS of O-B should be.
    """

    source: str
    variable: str
    unit: str
    times: Array
    count: Array
    mean_ob: Array
    mean_oa: Array
    rms_ob: Array
    rms_oa: Array
    expected: Array

    @property
    def name(self) -> str:
        """Of the series."""
        return f"{self.variable}, {self.source}"


def departures_of(tally: Tally) -> list[Departures]:
    """The series of every source and variable of a period, the largest first."""
    found = [_series(tally, key) for key in tally.keys("innovations") if key.region == "all"]
    return sorted(found, key=lambda d: (-int(d.count.sum()), d.name))


def _series(tally: Tally, key: Key) -> Departures:
    times, sums = tally.by_time(key)

    def mean(name: str) -> Array:
        return sums.mean(name)

    more = 1.0 + 1.0 / max(tally.members(key), 1)
    return Departures(
        source=key.source,
        variable=key.variable,
        unit=key.unit,
        times=np.array(times, dtype="datetime64[s]"),
        count=sums.count.astype(int),
        mean_ob=mean("d_ob"),
        mean_oa=mean("d_oa"),
        rms_ob=np.sqrt(mean("d_ob_d_ob")),
        rms_oa=np.sqrt(np.maximum(mean("d_oa_d_ob") - mean("d_ab_d_oa"), 0.0)),
        expected=np.sqrt(more * mean("variance_b") + mean("variance_o")),
    )


def departure_figure(series: Departures) -> "Figure":
    """Mean, RMS and number along time: O-B solid with dots, O-A dashed with squares, what was expected dotted."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.ticker import MaxNLocator

    drawn = figure(5.4, 4.2)
    mean, rms, number = drawn.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1))
    lines = (
        ("O-B", series.mean_ob, series.rms_ob, COLOURS[0], "-", "o"),
        ("O-A", series.mean_oa, series.rms_oa, COLOURS[1], "--", "s"),
    )
    times = series.times.astype("datetime64[s]").astype(object)
    few = len(times) <= 60
    for name, means, squares, colour, style, marker in lines:
        look = {
            "color": colour,
            "linestyle": style,
            "linewidth": 1.3,
            "marker": marker if few else None,
            "markersize": 3.5,
        }
        mean.plot(times, means, **look)
        rms.plot(times, squares, label=name, **look)
    rms.plot(times, series.expected, color="0.35", linestyle=":", linewidth=1.3, label="O-B as expected")
    mean.axhline(0.0, color="0.35", linewidth=0.8)
    number.plot(times, series.count, color="0.25", linewidth=1.0, drawstyle="steps-mid", marker="_" if few else None)
    mean.set(ylabel=f"mean [{series.unit}]", title=series.name)
    rms.set(ylabel=f"RMS [{series.unit}]", ylim=(0, None))
    number.set(ylabel="values", ylim=(0, 1.25 * max(int(series.count.max()), 1)))
    number.yaxis.set_major_locator(MaxNLocator(nbins=2, integer=True))
    if len(times) < 3:
        number.set_xticks(times, [format_time(t)[:16] for t in series.times])
        number.margins(x=0.4)
    else:
        locator = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
        number.xaxis.set_major_locator(locator)
        number.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    for axes in (mean, rms, number):
        tidy(axes)
        axes.tick_params(labelsize=8)
    drawn.align_ylabels()
    drawn.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return drawn


def departures_section(tally: Tally) -> Section:
    """A figure of every series that has two analysis times or more, and a table of the newest time of all."""
    found = departures_of(tally)
    pictures = []
    for series in (s for s in found if len(s.times) > 1):
        first, last = format_time(series.times[0]), format_time(series.times[-1])
        told = (
            f"RMS of O-B {_span(series.rms_ob)} {series.unit}, of O-A {_span(series.rms_oa)} {series.unit}; "
            f"mean O-B {_span(series.mean_ob)} {series.unit}"
        )
        alt = f"Departures of {series.name}, {first} to {last}: {told}."
        pictures.append(Picture(png(departure_figure(series)), alt, told))
    columns = ("source", "variable", "time", "values", "mean O-B", "mean O-A", "RMS O-B", "as expected", "RMS O-A")
    rows = tuple(
        (
            d.source,
            f"{d.variable} [{d.unit}]",
            format_time(d.times[-1]),
            str(d.count[-1]),
            *(f"{v[-1]:.3g}" for v in (d.mean_ob, d.mean_oa, d.rms_ob, d.expected, d.rms_oa)),
        )
        for d in sorted(found, key=lambda d: (d.source, d.variable))
    )
    caption = (
        "Departures of the observations that were used, at the newest time of each: O-B before, O-A after the "
        "analysis; the RMS of O-B as background spread and observation error let expect it."
    )
    text = (
        "Observation minus background (O-B) and minus analysis (O-A) along time. Means away from 0 are a bias; an RMS "
        "of O-B above the dotted line says that spread or observation errors are too small."
    )
    if len(pictures) > _FIGURES:
        text += f" Only the {_FIGURES} series with the most values are drawn."
    tables = (Table(caption, columns, rows, 3),) if rows else ()
    return Section("Departures", tuple(pictures[:_FIGURES]), tables, text)


def _span(values: Array) -> str:
    return f"{values.min():.3g} to {values.max():.3g}"
