"""Station bias: what a station says more than the model, always, and how it is taken away.

Innovations d = y - H(x) of a station have a mean of their own: the instrument, the exposure, the station's height
against the grid's. It is learned apart for each station, variable, level and part of the day, as a running mean in
which an innovation of age t counts exp(-t / memory):

    w <- w exp(-dt/memory) + 1        m <- m + (d - m) / w

A station that has said little is guessed from its height: p = a + g h, the least-squares line through the means of all
stations of that variable and hour (0 where fewer than ten of them have a height). The estimate leans on that guess as
on `shrink` innovations,

    b = p + w / (w + shrink) (m - p)

the posterior mean of a normal prior for b. What has not been renewed for `max_age` is forgotten, and what was learned
after the analysis time is not used: neither an analysis nor its verification may know the future.

A running mean of O - B draws observations towards the model where the model itself is biased. Learn against a
reanalysis where there is one.

Sources: Dee 2005, Bias and data assimilation, QJRMS 131, 3323-3343; West 1979, Updating mean and variance estimates,
Communications of the ACM 22, 532-535.
"""

__all__ = ["COLUMNS", "correct", "estimate", "innovations", "learn"]

import numpy as np
import pandas as pd

from stormda.config import BiasConfig
from stormda.observations import QC, Observations
from stormda.types import Array

_KEY = ["station_id", "variable", "level", "hour"]
COLUMNS = [*_KEY, "weight", "mean", "variance", "elevation", "last"]
"""Of a table of biases: its key, the sum w of weights, the mean m and variance of d, the height, the newest time."""
_LAYER = 50.0  # hPa: levels nearer than half of this share a bias
_FEWEST = 10  # stations with a height for the line
_OUTLIER = 5.0  # robust standard deviations from the median of what is learned at once


def innovations(observations: Observations, hx: Array, config: BiasConfig) -> pd.DataFrame:
    """What can be learned from: rows that passed every check, are not withheld and have a finite H(x).

    Args:
        observations: N rows, after quality control.
        hx: H of the reference, in the unit of the values [N].
        config: the variables that are corrected.

    Returns:
        the key of each row, `elevation`, `time` and `d`, with what was subtracted before added again.
    """
    use = (observations["qc"] == QC.USED) & ~observations["withheld"].astype(bool) & np.isfinite(hx)
    use &= np.isin(observations["variable"].astype(str), config.variables) & ~np.isnat(observations["time"])
    d = observations["value"] + observations["bias"] - hx
    table = _keys(observations, config).assign(
        elevation=observations["elevation"], time=observations["time"].astype("datetime64[s]"), d=d
    )
    learned: pd.DataFrame = table[use & (observations["station_id"] != "")]
    return learned


def learn(table: pd.DataFrame | None, new: pd.DataFrame, config: BiasConfig) -> pd.DataFrame:
    """The table with more innovations, in any order.

    Args:
        table: of what was learned before; None: nothing.
        new: of `innovations`, one after the other; those far from the median of their key are left out.
        config: `memory`.
    """
    if len(new) == 0 and table is not None:
        return table
    memory = config.memory / np.timedelta64(1, "s")
    new = _plausible(new)
    last = new.groupby(_KEY, dropna=False)["time"].transform("max")
    weight = np.exp(-(last - new["time"]).dt.total_seconds() / memory) if len(new) else new["d"].astype(float)
    parts = new.assign(weight=weight, mean=new["d"].astype(float), variance=0.0, last=new["time"])[COLUMNS]
    if table is None:
        return _merged(parts.astype({"last": "datetime64[s]"}))
    newest = _merged(parts)[[*_KEY, "last"]].rename(columns={"last": "newest"})
    old = table.merge(newest, on=_KEY, how="left")
    late = np.maximum((old["newest"] - old["last"]).dt.total_seconds().fillna(0.0), 0.0)
    old = old.assign(weight=old["weight"] * np.exp(-late / memory))[COLUMNS]
    return _merged(pd.concat([old, parts.astype(old.dtypes.to_dict())], ignore_index=True))


def estimate(table: pd.DataFrame, observations: Observations, time: np.datetime64, config: BiasConfig) -> Array:
    """The bias b of each row in its unit [N], 0 where nothing is known.

    Args:
        table: of `learn`.
        observations: N rows.
        time: of the analysis.
        config: `variables`, `shrink`, `height` and `max_age`.
    """
    now: np.datetime64 = time.astype("datetime64[s]")
    age = now - table["last"].to_numpy().astype("datetime64[s]")
    known = table.take(np.flatnonzero((age > np.timedelta64(0, "s")) & (age <= config.max_age)))
    keys = _keys(observations, config).assign(height=observations["elevation"])
    rows = keys.merge(known.drop(columns="elevation"), on=_KEY, how="left", sort=False)
    guess = _from_height(known, rows) if config.height else np.zeros(len(rows))
    share = (rows["weight"] / (rows["weight"] + config.shrink)).fillna(0.0).to_numpy()
    b = guess + share * (rows["mean"].fillna(0.0).to_numpy() - guess)
    corrected = np.isin(observations["variable"].astype(str), config.variables)
    return np.where(corrected & np.isfinite(observations["value"]), b, 0.0)


def correct(observations: Observations, bias: Array) -> Observations:
    """The observations without `bias` [N], which is added to what was subtracted before."""
    return observations.replace(value=observations["value"] - bias, bias=observations["bias"] + bias)


def _keys(observations: Observations, config: BiasConfig) -> pd.DataFrame:
    """Station, variable, layer (-1 without a level) and part of the day, in hours, of every row."""
    level = np.nan_to_num(np.round(observations["level"] / _LAYER) * _LAYER, nan=-1.0)
    time = observations["time"].astype("datetime64[s]")
    seconds = np.where(np.isnat(time), 0, (time - time.astype("datetime64[D]")).astype(np.int64))
    part = 86400 if config.hours is None else int(config.hours / np.timedelta64(1, "s"))
    hour = (np.round(seconds / part).astype(np.int64) * part % 86400) / 3600.0
    words = {n: observations[n].astype(object) for n in ("station_id", "variable")}
    return pd.DataFrame(words | {"level": level, "hour": hour if part < 86400 else np.zeros(len(level))})


def _plausible(new: pd.DataFrame) -> pd.DataFrame:
    """Without what is far from the median of its key, where ten or more tell what that is."""
    if len(new) == 0:
        return new
    by = new.groupby(_KEY, dropna=False)["d"]
    median = by.transform("median")
    deviation = (new["d"] - median).abs()
    scale = 1.4826 * deviation.groupby([new[k] for k in _KEY], dropna=False).transform("median")
    return new[(deviation <= _OUTLIER * scale) | (by.transform("size") < _FEWEST)]


def _merged(parts: pd.DataFrame) -> pd.DataFrame:
    """One row a key: weights add, means and variances are pooled, the newest time and height stay."""
    parts = parts.sort_values("last", kind="stable")
    weighted = parts.assign(
        first=parts["weight"] * parts["mean"],
        second=parts["weight"] * (parts["variance"] + parts["mean"] ** 2),
    )
    sums = weighted.groupby(_KEY, dropna=False).agg(
        weight=("weight", "sum"),
        first=("first", "sum"),
        second=("second", "sum"),
        elevation=("elevation", "last"),
        last=("last", "max"),
    )
    mean = sums["first"] / sums["weight"]
    variance = (sums["second"] / sums["weight"] - mean**2).clip(lower=0.0)
    return sums.assign(mean=mean, variance=variance).reset_index()[COLUMNS]


def _from_height(known: pd.DataFrame, rows: pd.DataFrame) -> Array:
    """p = a + g h of each row; 0 where no line can be drawn or the height is not known."""
    guess = np.zeros(len(rows))
    height = rows["height"].to_numpy(dtype=np.float64)
    groups = ["variable", "level", "hour"]
    for key, some in known[np.isfinite(known["elevation"])].groupby(groups, dropna=False):
        h, m = some["elevation"].to_numpy(), some["mean"].to_numpy()
        if len(some) < _FEWEST or h.std() == 0:
            continue
        slope, level = np.polyfit(h, m, 1, w=np.sqrt(some["weight"].to_numpy()))
        at = (rows[groups] == list(key)).all(axis=1).to_numpy() & np.isfinite(height)
        guess[at] = level + slope * np.clip(height[at], h.min(), h.max())  # no line reaches further than its stations
    return guess
