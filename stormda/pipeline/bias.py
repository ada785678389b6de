"""Stage `bias`: learn what each station says more than a reference, and find what was learned before a cycle.

The reference is the gridded archive at its own times, or the background that feedback files hold. The table is a small
Parquet file of the run folder. An analysis that learns on (`quality.bias.update`) publishes the table beside itself,
and the next one goes on from there: each depends on what was before it alone, whatever is drawn again and in which
order.

Withheld stations are never learned from in an analysis. What the archive teaches about them is used only after the
period that was learned.
"""

__all__ = ["BiasResult", "bias", "bias_file", "find_bias", "learned_from", "write_bias"]

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from stormda.config import Config
from stormda.errors import ConfigError, InputError, InputMissing
from stormda.observations import Observations
from stormda.operators.build import build_operator
from stormda.pipeline import build
from stormda.pipeline.inputs import resolver
from stormda.pipeline.layout import parse_folder
from stormda.quality.bias import COLUMNS, innovations, learn
from stormda.store.feedback import read_feedback
from stormda.store.publish import atomic
from stormda.time import Window, format_time
from stormda.types import Array, Progress, silent

log = logging.getLogger(__name__)

_BLOCK = 100  # times whose observations are read at once


@dataclass(frozen=True)
class BiasRow:
    """A variable and part of the day: stations, and innovations without and with the mean of their station."""

    variable: str
    hour: float
    stations: int
    innovations: int
    mean: float
    rms: float
    rms_without_bias: float
    largest: float


@dataclass(frozen=True)
class BiasResult:
    """What was learned."""

    path: str
    times: int
    rows: tuple[BiasRow, ...]

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people."""
        columns = ["variable", "hour", "stations", "innovations", "mean", "RMS", "without bias", "largest bias"]
        cells = [
            [r.variable, f"{r.hour:02g}", str(r.stations), str(r.innovations)]
            + [f"{x:.4g}" for x in (r.mean, r.rms, r.rms_without_bias, r.largest)]
            for r in self.rows
        ]
        return f"learned from {self.times} times", columns, cells


def bias(
    config: Config,
    start: np.datetime64,
    end: np.datetime64,
    *,
    against: str = "archive",
    dry_run: bool = False,
    progress: Progress = silent,
) -> BiasResult:
    """Learn the biases of stations from a period, in place of what was learned before.

    Args:
        config: the run.
        start, end: times of the archive, or cycles, both included.
        against: `archive`, or `feedback`: the backgrounds of the analyses of the configured method.
        dry_run: learn, write nothing.
        progress: told about the work.

    Raises:
        ConfigError: no variable to correct.
        InputMissing: no archive, no feedback, or no observation that could be compared.
        OutputError: the table cannot be written.
    """
    if not config.quality.bias.variables:
        raise ConfigError("no variable is to be corrected", key="quality.bias.variables", hint="such as [t2m]")
    steps = _archived(config, start, end, progress) if against == "archive" else _fed_back(config, start, end, progress)
    parts = list(steps)
    found = [p for p in parts if len(p)]
    if not found:
        what = f"nothing to learn from between {format_time(start)} and {format_time(end)}"
        raise InputMissing(what, hint="stormda ingest" if against == "archive" else "stormda assimilate")
    new = pd.concat(found, ignore_index=True)
    table = learn(None, new, config.quality.bias)
    path = config.below_run(config.quality.bias.path)
    if not dry_run:
        write_bias(path, table)
    return BiasResult(str(path), len(parts), tuple(_rows(table, new)))


def find_bias(config: Config, method: str, cycle: np.datetime64, split: int) -> pd.DataFrame | None:
    """What was learned before a cycle: beside the newest analysis before it, else by the stage; None: nothing.

    Raises:
        InputError: the table is damaged.
    """
    settings = config.quality.bias
    if not settings.variables:
        return None
    path = bias_file(config, method, cycle, split)
    if path is None:
        if not settings.update:
            hint = "stormda bias learns it, quality.bias.update=true learns from analyses"
            log.warning("no bias of stations is known: %s is not there; %s", config.below_run(settings.path), hint)
        return None
    table = _read(path)
    if path != config.below_run(settings.path):
        return table
    if len(table) and (table["last"].to_numpy().astype("datetime64[s]") >= cycle).all():
        log.warning("%s was learned after %s and is not used there", path, format_time(cycle))
    return table


def bias_file(config: Config, method: str, cycle: np.datetime64, split: int) -> Path | None:
    """The table that an analysis corrects its observations by; None where there is none."""
    settings = config.quality.bias
    if not settings.variables:
        return None
    if settings.update and (path := _newest(config, method, cycle, split)) is not None:
        return path
    path = config.below_run(settings.path)
    return path if path.exists() else None


def learned_from(
    config: Config, table: pd.DataFrame | None, observations: Observations, hx_background: Array
) -> pd.DataFrame | None:
    """The table after an analysis, of its observations and H of its background [M, N]; None where it stays."""
    settings = config.quality.bias
    if not settings.update or not settings.variables:
        return None
    return learn(table, innovations(observations, hx_background.mean(axis=0), settings), settings)


def write_bias(path: Path, table: pd.DataFrame) -> None:
    """Publish a table; raises OutputError."""
    with atomic(path) as temporary:
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), temporary, compression="zstd")


def _newest(config: Config, method: str, cycle: np.datetime64, split: int) -> Path | None:
    """The table beside the newest analysis before a cycle, not older than `max_age`."""
    root, seeds = config.run / "analyses" / method, config.quality.withhold.seeds
    there = []
    for folder in root.iterdir() if root.is_dir() else ():
        parsed = parse_folder(folder.name)
        if parsed is None or parsed[1] != (split if len(seeds) > 1 else None):
            continue
        age = cycle - parsed[0]
        if np.timedelta64(0, "s") < age <= config.quality.bias.max_age and (folder / "bias.parquet").exists():
            there.append((parsed[0], folder / "bias.parquet"))
    return max(there, default=(cycle, None))[1]


def _read(path: Path) -> pd.DataFrame:
    try:
        table: pd.DataFrame = pq.read_table(path).to_pandas()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"the biases of stations cannot be read: {error}", file=path, hint="stormda bias") from error
    if list(table.columns) != COLUMNS:
        raise InputError("not a table of biases of stations", file=path, hint="stormda bias")
    table["last"] = table["last"].astype("datetime64[s]")
    return table


def _archived(config: Config, start: np.datetime64, end: np.datetime64, progress: Progress) -> Iterator[pd.DataFrame]:
    """Innovations against the archive, one table a time."""
    archive, store = build.archive(config), build.store(config)
    numbers = np.flatnonzero((archive.times >= start) & (archive.times <= end))
    before, after = config.observations.before, config.observations.after
    names = list(config.observations.sources) or None
    for first in range(0, len(numbers), _BLOCK):
        block = numbers[first : first + _BLOCK]
        times = archive.times[block]
        progress(f"bias {format_time(times[0])}", first, len(numbers))
        there = store.read(Window(times[0] - before, times[-1] + after), names)
        seconds = there["time"].astype("datetime64[s]")
        states = archive.read(block).values
        for time, state in zip(times, states, strict=True):
            window = there.where((seconds > time - before) & (seconds <= time + after))
            operator, window, rows = build_operator(
                window, archive.grid, archive.channels, config.operators, time, resolve=resolver(config)
            )
            hx = operator(torch.as_tensor(state)[None])[0].numpy()
            yield innovations(window.take(rows), hx, config.quality.bias)
    progress("bias", len(numbers), len(numbers))


def _fed_back(config: Config, start: np.datetime64, end: np.datetime64, progress: Progress) -> Iterator[pd.DataFrame]:
    """Innovations against the backgrounds of analyses, one table a feedback file; of several splits the first."""
    root, seeds = config.run / "analyses" / config.assimilate.method, config.quality.withhold.seeds
    parsed = {f: parse_folder(f.name) for f in sorted(root.iterdir())} if root.is_dir() else {}
    wanted = seeds[0] if len(seeds) > 1 else None
    folders = [f for f, p in parsed.items() if p is not None and p[1] == wanted and start <= p[0] <= end]
    for number, folder in enumerate(folders):
        progress(f"bias {folder.name}", number, len(folders))
        feedback = read_feedback(folder / "feedback.nc")
        yield innovations(feedback.observations, feedback.background.mean(axis=0), config.quality.bias)


def _rows(table: pd.DataFrame, new: pd.DataFrame) -> Iterator[BiasRow]:
    key = ["station_id", "variable", "level", "hour"]
    both = new.merge(table[[*key, "mean"]], on=key, how="left")
    for _, some in both.groupby(["variable", "hour"]):
        variable, hour = some["variable"].iloc[0], some["hour"].iloc[0]
        of_stations = table[(table["variable"] == variable) & (table["hour"] == hour)]["mean"].to_numpy()
        yield BiasRow(
            str(variable),
            float(hour),
            len(of_stations),
            len(some),
            float(some["d"].mean()),
            float(np.sqrt((some["d"] ** 2).mean())),
            float(np.sqrt(((some["d"] - some["mean"]) ** 2).mean())),
            float(of_stations[np.abs(of_stations).argmax()]),
        )
