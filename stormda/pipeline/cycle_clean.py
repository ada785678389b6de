"""Retention: what is older than `cycle.keep` says goes, but never what the next cycle needs.

Age is counted from the newest cycle that is over, not from the clock: neither a clock that jumps nor a replay of the
past removes what was just made.

Always kept: the newest analysis, the newest one that is no background, every analysis that a cycle which is not over
finds as its history (`history.frames` steps before it), and cycles that are not over themselves. What a killed writer
of another machine left under a hidden name goes after a day.
"""

__all__ = ["CleanResult", "clean"]

import logging
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stormda.config import Config
from stormda.errors import OutputError
from stormda.pipeline.layout import parse_folder
from stormda.store.ledger import Ledger
from stormda.store.observations import ObservationStore
from stormda.time import format_time

log = logging.getLogger(__name__)

_LEFT = 86400.0  # s after which nobody writes at a hidden name any more
_HIDDEN = re.compile(r"\..*\.(partial|old)(\..*)?")


@dataclass(frozen=True)
class CleanResult:
    """What was removed, or would be."""

    dry_run: bool
    folders: tuple[str, ...]
    observations: int
    lines: int

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people."""
        title = "would be removed" if self.dry_run else "removed"
        rows = [[folder] for folder in self.folders]
        rows += [[f"{self.observations} batches of observations"]] if self.observations else []
        rows += [[f"{self.lines} lines of the ledger"]] if self.lines else []
        return title if rows else "nothing is older than cycle.keep says", ["what"] if rows else [], rows


def clean(config: Config, ledger: Ledger, now: np.datetime64, *, dry_run: bool = False) -> CleanResult:
    """Remove what is older than `cycle.keep` says.

    Raises:
        OutputError: something cannot be removed.
    """
    keep, now = config.cycle.keep, min([now, *(c.time for c in ledger.newest_over())])
    needed = _needed(config, ledger, now)
    old = [
        folder
        for kind, span in (("analyses", keep.analyses), ("forecasts", keep.forecasts), ("verification", keep.analyses))
        for folder in _old(config.run / kind, None if span is None else now - span, needed)
    ]
    if not dry_run:
        for folder in old:
            _remove(folder)
    left = list(_left(config.run))
    if not dry_run:
        for path in left:
            _remove(path)
    observations = _observations(config, needed, now, dry_run)
    lines = 0
    if keep.ledger is not None and not dry_run:
        lines = ledger.prune(min(now - keep.ledger, *needed))
    result = CleanResult(dry_run, tuple(str(p) for p in [*old, *left]), observations, lines)
    if (result.folders or observations or lines) and not dry_run:
        log.debug("removed %d folders, %d batches, %d lines", len(result.folders), observations, lines)
    return result


def _needed(config: Config, ledger: Ledger, now: np.datetime64) -> set[np.datetime64]:
    """Cycles whose products stay."""
    step, frames = config.assimilate.step, config.history.frames
    newest = [c.time for product in ("analysis", "background") for c in ledger.newest(1, product=product)]
    opened = [c.time for c in ledger.opened()]
    future = [max(newest) + step] if newest else [now]
    wanted = {t - k * step for t in [*opened, *future] for k in range(frames + 1)}
    return wanted | set(newest)


def _old(root: Path, limit: np.datetime64 | None, needed: set[np.datetime64]) -> Iterator[Path]:
    """Product folders <root>/<method>/<cycle> before a time."""
    if limit is None or not root.is_dir():
        return
    for folder in sorted(root.glob("*/*")):
        parsed = parse_folder(folder.name)
        if parsed is not None and parsed[0] < limit and parsed[0] not in needed:
            yield folder


def _left(run: Path) -> Iterator[Path]:
    now = time.time()
    for kind in ("analyses", "forecasts"):
        for path in run.glob(f"{kind}/*/.*"):
            if _HIDDEN.fullmatch(path.name) and now - path.stat().st_mtime > _LEFT:
                yield path


def _remove(path: Path) -> None:
    """A folder vanishes at once: it is renamed first, so that nobody sees a part of it."""
    hidden = path if path.name.startswith(".") else path.with_name(f".{path.name}.old")
    try:
        if hidden != path:
            shutil.rmtree(hidden, ignore_errors=True)
            path.rename(hidden)
        shutil.rmtree(hidden)
    except OSError as error:
        hint = "look at the owner and the mode of the folder"
        raise OutputError(f"it cannot be removed: {error.strerror}", file=path, hint=hint) from error


def _observations(config: Config, needed: set[np.datetime64], now: np.datetime64, dry_run: bool) -> int:
    span = config.cycle.keep.observations
    if span is None:
        return 0
    limit = min(now - span, min(needed) - config.observations.before)
    removed = ObservationStore(config.below_run(config.observations.path)).prune(limit, dry_run=dry_run)
    if removed:
        log.debug("%d batches of observations before %s removed", removed, format_time(limit))
    return removed
