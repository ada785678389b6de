"""The page about a training: curves, scores, and what the network draws."""

__all__ = ["training_page"]

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stormda.grid import Grid
from stormda.nn.weights import Weights
from stormda.normaliser import Normaliser
from stormda.time import format_time
from stormda.training.samples import Samples
from stormda.types import Array
from stormda.variables import Channel
from stormda.verification.maps import Scale, field_map
from stormda.verification.plots import COLOURS, figure, png
from stormda.verification.report import Picture, Section, render

_CHANNELS = 6  # with pictures on a page


def training_page(
    table: tuple[str, Sequence[str], Sequence[Sequence[str]]],
    curve: bytes,
    weights: Weights,
    samples: Samples,
    *,
    facts: Mapping[str, Any],
    configuration: str,
) -> str:
    """The page.

    Args:
        table: title, columns and rows of the scores.
        curve: picture of the training log.
        weights: for the normaliser and the grid.
        samples: standardised fields.
        facts: provenance.
        configuration: with every default.
    """
    title, columns, rows = table
    names = ", ".join(c.name for c in weights.channels)
    alt = "Curves of the training: losses over steps and noise levels, forecast error and spread/skill over steps."
    return render(
        "training.html",
        title="Training of the STORM prior",
        lead=f"{title}. {weights.grid}, {names}.",
        missing=(),
        curves=[Picture(curve, alt)],
        columns=columns,
        rows=rows,
        shown=format_time(samples.time),
        members=len(samples.members),
        sections=_sections(weights.normaliser, weights.grid, samples),
        facts=facts,
        configuration=configuration,
    )


def _sections(normaliser: Normaliser, grid: Grid, samples: Samples) -> list[Section]:
    """Pictures of the first channels, in physical units."""
    parts = (samples.truth[None], samples.mean[None], samples.members, samples.climate)
    truth, mean, members, climate = (normaliser.decode(z.numpy(), samples.time) for z in parts)
    draw = _lines if grid.shape[0] == 1 else _maps
    return [
        Section(
            f"{c.name}: {c.info.long_name} [{c.info.unit}]",
            tuple(draw(grid, c, truth[0, i], mean[0, i], members[:, i], climate[:, i])),
        )
        for i, c in enumerate(normaliser.channels[:_CHANNELS])
    ]


def _maps(grid: Grid, channel: Channel, truth: Array, mean: Array, members: Array, climate: Array) -> list[Picture]:
    shared, spread = Scale.of(truth, mean, members[0], *climate), members.std(axis=0, ddof=1)
    fields = [("truth", truth, shared), ("one-step mean", mean, shared), ("a member", members[0], shared)]
    fields.append(("spread of the members", spread, Scale.from_zero(spread)))
    error = mean - truth
    fields.append(("error of the mean", error, Scale.about_zero(error)))
    fields += [(f"without history, member {k + 1}", field, shared) for k, field in enumerate(climate)]
    return [_map(grid, channel, *field) for field in fields]


def _map(grid: Grid, channel: Channel, title: str, field_HW: Array, scale: Scale) -> Picture:
    unit = channel.info.unit
    alt = f"Map, {title}, of {channel.info.long_name}: from {field_HW.min():.4g} to {field_HW.max():.4g} {unit}."
    return Picture(field_map(grid, field_HW, title=title, unit=unit, scale=scale), alt)


def _lines(grid: Grid, channel: Channel, truth: Array, mean: Array, members: Array, climate: Array) -> list[Picture]:
    """A world of one row: values over longitude."""
    longitude, spread = grid.fields[1][0], members.std(axis=0, ddof=1)[0]
    drawn = figure(7.0, 3.0)
    axes = drawn.add_subplot()
    axes.fill_between(longitude, mean[0] - 2 * spread, mean[0] + 2 * spread, color=COLOURS[0], alpha=0.2, lw=0)
    axes.plot(longitude, mean[0], color=COLOURS[0], label="one-step mean, 2 standard deviations")
    axes.plot(longitude, members[0, 0], color=COLOURS[0], ls="--", lw=1, label="a member")
    axes.plot(longitude, truth[0], color=COLOURS[6], lw=1, label="truth")
    for k, field in enumerate(climate):
        axes.plot(longitude, field[0], color=COLOURS[1], lw=0.7, label="without history" if k == 0 else None)
    axes.set(xlabel="longitude", ylabel=channel.info.unit)
    axes.legend(fontsize=7)
    error = float(np.sqrt(np.mean((mean - truth) ** 2)))
    alt = f"{channel.info.long_name}: truth, one-step mean (error {error:.3g}), a member, members without history."
    return [Picture(png(drawn), alt)]
