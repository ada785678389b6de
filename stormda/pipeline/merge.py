"""Several streams of gridded fields as one: every channel, at the times that all of them are known, in order of time.

Streams may give different channels (pressure from one file, temperature from another), or other times of the same
channels. Each runs forward in time; the one that lags behind is read next, so that little has to wait:

    frontier = the earliest of the streams' latest times

What lies up to the frontier can get no more: it is complete and goes on, or it lacks a channel and is left out.
"""

__all__ = ["merge"]

import logging
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from stormda.errors import InputError
from stormda.grid import Grid
from stormda.state import State
from stormda.types import Array
from stormda.variables import Channel

log = logging.getLogger(__name__)


def merge(streams: Sequence[Iterable[State]], channels: Sequence[str]) -> Iterator[State]:
    """States of all channels, in their order; where two streams have the same field, the first one read counts.

    Args:
        streams: states with some of the channels, their times rising.
        channels: names of the channels that are wanted.

    Raises:
        InputError: no time has all channels, or the streams have different grids.
    """
    wanted = tuple(Channel.parse(name) for name in channels)
    waiting: dict[np.datetime64, dict[Channel, Array]] = {}
    grid: Grid | None = None
    seen: set[Channel] = set()
    merged = incomplete = 0
    for state, frontier in _lagging_first(streams):
        if state is not None:
            grid = _same_grid(grid, state.grid)
            seen.update(state.channels)
            for time, fields in zip(state.times, state.values, strict=True):
                new = {c: f for c, f in zip(state.channels, fields, strict=True) if c in wanted}
                waiting[time] = new | waiting.get(time, {})
        past = {t: waiting.pop(t) for t in sorted(waiting) if frontier is None or t <= frontier}
        complete = [t for t, fields in past.items() if len(fields) == len(wanted)]
        merged, incomplete = merged + len(complete), incomplete + len(past) - len(complete)
        if complete and grid is not None:
            values = np.stack([np.stack([past[t][c] for c in wanted]) for t in complete])
            yield State(values, wanted, grid, np.array(complete))
    _report(merged, incomplete, [c.name for c in wanted if c not in seen])


def _lagging_first(streams: Sequence[Iterable[State]]) -> Iterator[tuple[State | None, np.datetime64 | None]]:
    """All states of all streams, each with the frontier after it; None for a stream's end, and when all have ended."""
    running = [iter(s) for s in streams]
    latest = [np.datetime64("0001-01-01", "s") for _ in running]
    while running:
        at = min(range(len(running)), key=lambda i: latest[i])
        state = next(running[at], None)
        if state is None:
            del running[at], latest[at]
        else:
            latest[at] = state.times.max()
        yield state, min(latest, default=None)


def _same_grid(grid: Grid | None, other: Grid) -> Grid:
    if grid is not None and not grid.same(other):
        raise InputError(f"the sources of the archive are on different grids: {grid}; {other}", key="archive.sources")
    return grid or other


def _report(merged: int, incomplete: int, lacking: list[str]) -> None:
    if merged == 0:
        what = f"the sources of the archive give no {', '.join(lacking)}" if lacking else "no time has all channels"
        raise InputError(what, key="archive.sources", hint="name them under `variables` of a source")
    if incomplete:
        log.warning("archive: %d times lack a channel and are left out", incomplete)
