"""Duplicates: the same station, variable, level, accumulation interval and time, within a source or across sources.

Reports come twice: corrected, relayed by two centres, or written into two files. Assimilated twice, they count twice as
much as they should. The first that is still in use is kept; a row that an earlier check has flagged hides no good one.

Across sources one report has several times: METAR and MADIS give the minute of the observation, ISD sometimes the
nominal hour. With `span`, values of one station from *different* sources that are no further apart than that are one
report, and the source that comes first in `prefer` keeps it; sources that are not named come last, in the order of
their rows. Within a source nothing but the same time is a duplicate: a station may report every minute.
"""

__all__ = ["check_duplicates"]

import numpy as np
import pandas as pd

from stormda.config import CheckConfig
from stormda.observations import QC, Observations
from stormda.quality.scope import codes, in_scope
from stormda.types import Array

_WORDS = ("station_id", "variable", "level_type")
_SERIES = ("level", "interval", "azimuth", "range")  # the last two of a radar, which sees many places


def check_duplicates(observations: Observations, check: CheckConfig) -> Observations:
    """Set `QC.DUPLICATE` on every row in use that repeats one of a source that is preferred, or that came before."""
    used = np.flatnonzero((observations["qc"] == QC.USED) & in_scope(observations, check))
    if check.prefer:
        used = used[np.argsort(_ranks(observations["source"][used].astype(str), check.prefer), kind="stable")]
    keys = pd.DataFrame({name: codes(observations, name)[used] for name in _WORDS})
    for name in (*_SERIES, "time"):
        keys[name] = observations[name][used]
    bad = np.zeros(len(observations), dtype=bool)
    bad[used[keys.duplicated(keep="first").to_numpy()]] = True
    if check.span is not None:
        series = keys.groupby([*_WORDS, *_SERIES], dropna=False, sort=False).ngroup().to_numpy()
        rest = ~bad[used]
        bad[used[rest]] |= _near(observations, used[rest], series[rest], check.span)
    return observations.flag(bad, QC.DUPLICATE)


def _near(observations: Observations, rows: Array, series: Array, span: np.timedelta64) -> Array:
    """Bool [n]: a row of the same series, of another source, before it in order and within `span`, is kept.

    Args:
        observations: N rows.
        rows: numbers [n], in the order of preference.
        series: what station, variable, level and interval each belongs to [n].
        span: of time.
    """
    time, source = observations["time"][rows], codes(observations, "source")[rows]
    order = np.lexsort((time, series))
    preference = np.arange(len(rows))
    gone = np.zeros(len(rows), dtype=bool)
    # Only where two sources meet is there anything to decide; there, in the order of preference.
    close = np.zeros(len(rows), dtype=bool)
    same = (series[order][1:] == series[order][:-1]) & (np.diff(time[order]) <= span)
    close[order[1:][same]] = close[order[:-1][same]] = True
    start = np.searchsorted(series[order], series[order], side="left")
    stop = np.searchsorted(series[order], series[order], side="right")
    position = np.empty(len(rows), dtype=np.int64)
    position[order] = np.arange(len(rows))
    for i in preference[close]:
        at = position[i]
        others = order[start[at] : stop[at]]
        others = others[(others < i) & ~gone[others] & (source[others] != source[i])]
        gone[i] = bool((np.abs(time[others] - time[i]) <= span).any())
    return gone


def _ranks(names: Array, prefer: tuple[str, ...]) -> Array:
    place = {name: number for number, name in enumerate(prefer)}
    kinds, inverse = np.unique(names, return_inverse=True)
    return np.array([place.get(str(k), len(prefer)) for k in kinds], dtype=np.int64)[inverse]
