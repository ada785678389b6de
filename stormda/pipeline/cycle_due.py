"""When a cycle is due, and whether its observations are there: the policy of each source.

window    (T - before, T + after]
due       T + after + cutoff
a source that lacks values is waited for until due + its `wait`; then `required` is missing, `warn` goes on without
"""

__all__ = ["Readiness", "due_time", "due_until", "newest_due", "ready"]

from dataclasses import dataclass
from typing import Literal

import numpy as np

from stormda.config import Config
from stormda.store.observations import ObservationStore
from stormda.time import Window, format_time

_EPOCH = np.datetime64("1970-01-01T00:00:00", "s")


@dataclass(frozen=True)
class Readiness:
    """Whether a cycle can be worked on: `go`, `waiting` for data, or `missing`: it is too late for what is required."""

    state: Literal["go", "waiting", "missing"]
    note: str = ""


def due_time(config: Config, cycle: np.datetime64) -> np.datetime64:
    """From when on a cycle is worked on."""
    return cycle + config.observations.after + config.cycle.cutoff


def newest_due(config: Config, now: np.datetime64) -> np.datetime64:
    """The newest time at which there is a cycle that is due; may be before `cycle.start`."""
    step = config.assimilate.step
    origin = _EPOCH if config.cycle.start is None else config.cycle.start
    latest = origin + ((now - config.observations.after - config.cycle.cutoff - origin) // step) * step
    return latest if config.cycle.end is None else min(latest, config.cycle.end)


def due_until(config: Config, first: np.datetime64, now: np.datetime64) -> list[np.datetime64]:
    """Every cycle from `first` on that is due, in order."""
    last, step = newest_due(config, now), config.assimilate.step
    return [first + k * step for k in range(int((last - first) // step) + 1)] if last >= first else []


def ready(config: Config, cycle: np.datetime64, now: np.datetime64) -> Readiness:
    """What the sources of a cycle say, from the values in the store."""
    window = Window.around(cycle, config.observations.before, config.observations.after)
    names = ObservationStore(config.below_run(config.observations.path)).read(window)["source"].astype(str)
    lacking, late = [], []
    for name, source in config.observations.sources.items():
        have = int((names == name).sum())
        if have >= source.min_count or source.policy == "optional":
            continue
        words = f"{name} has {have} of {source.min_count} values"
        until = due_time(config, cycle) + source.wait
        if now < until:
            lacking.append(f"{words}, waited for until {format_time(until)}")
        elif source.policy == "required":
            late.append(f"{words}, required")
    if late:  # Nothing that may still come changes that.
        return Readiness("missing", "; ".join(late))
    return Readiness("waiting", "; ".join(lacking)) if lacking else Readiness("go")
