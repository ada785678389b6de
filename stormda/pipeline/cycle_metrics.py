"""What a monitoring system reads: a Prometheus text file, exchanged at once after each call of `stormda cycle`.

Point the text-file collector of the node exporter at its folder. The format: https://prometheus.io/docs/instrumenting/
exposition_formats/ (0.0.4). Every value is a gauge.
"""

__all__ = ["write_metrics"]

import shutil
from collections.abc import Iterator

import numpy as np

from stormda.config import Config
from stormda.pipeline.cycle_due import due_time
from stormda.store.ledger import CLOSED, OPEN, Ledger
from stormda.store.publish import write_text


def write_metrics(config: Config, ledger: Ledger, now: np.datetime64) -> None:
    """Write `cycle.metrics`; nothing where that is empty.

    Raises:
        OutputError: the file cannot be written.
    """
    if config.cycle.metrics is None:
        return
    lines: list[str] = []
    label = f'run="{config.name}"'  # A name has no character that would have to be escaped.
    for name, help_, values in _metrics(config, ledger, now):
        lines += [f"# HELP stormda_{name} {help_}", f"# TYPE stormda_{name} gauge"]
        lines += [f"stormda_{name}{{{label}{more}}} {value:.10g}" for more, value in values]
    write_text(config.below_run(config.cycle.metrics), "\n".join(lines) + "\n")


def _metrics(config: Config, ledger: Ledger, now: np.datetime64) -> Iterator[tuple[str, str, list[tuple[str, float]]]]:
    """Name, help, and values with their own labels."""
    counts, latest, opened = ledger.counts(), ledger.newest(1), ledger.next_open()
    yield "cycle_call_time_seconds", "When stormda cycle was called last.", [("", _seconds(now))]
    states = [(f',state="{state}"', float(counts.get(state, 0))) for state in (*OPEN, *CLOSED)]
    yield "cycle_runs", "Runs of cycles in the ledger by state.", states
    products = [
        (f',product="{product}"', _seconds(found[0].time))
        for product in ("analysis", "background")
        if (found := ledger.newest(1, product=product))
    ]
    yield "cycle_latest_time_seconds", "Analysis time of the newest cycle by what was published.", products
    behind = 0.0 if opened is None else max(0.0, _seconds(now) - _seconds(due_time(config, opened.time)))
    yield "cycle_behind_seconds", "How long the oldest cycle that is not over has been due.", [("", behind)]
    if latest:
        yield "cycle_duration_seconds", "What the newest cycle took.", [("", latest[0].seconds)]
        yield "cycle_observations_used", "Observations of the newest cycle.", [("", float(latest[0].used or 0))]
    yield "cycle_bad_files", "Observation files that cannot be read.", [("", float(len(ledger.trouble())))]
    yield "disk_free_bytes", "Room where the run folder is.", [("", float(shutil.disk_usage(config.run).free))]


def _seconds(time: np.datetime64) -> float:
    return float(time.astype("datetime64[s]").astype(np.int64))
