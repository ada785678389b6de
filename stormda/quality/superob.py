"""Super-observations: dense reports become one a cell of the analysis grid.

Of n reports of one variable, level, platform, source and hour in a cell, the mean of values, places and times is used
in their place; the cell of a report is the grid point nearest to it. With a share c of the error variance r^2 that the
reports have alike (what the grid does not resolve, the calibration of one instrument),

    r_super^2 = max( r^2 (c + (1 - c)/n),  spread^2 / n )

the second where the reports differ by more than r says. The number of reports and their standard deviation stay with
the super-observation (`count`, `spread`); the reports keep their rows with the code `merged`. Reports of withheld and
of other stations are never mixed.

Source: Zhang et al. 2009, Cloud-resolving hurricane initialization and prediction through assimilation of Doppler radar
observations with an ensemble Kalman filter, MWR 137, 2105-2125 (super-observations of radar); Berger and Forsythe 2004,
Satellite wind superobbing, Met Office Forecasting Research Technical Report 451 (their error).
"""

__all__ = ["superob"]

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from stormda.config import SuperobConfig
from stormda.grid import Grid
from stormda.observations import QC, Observations
from stormda.types import Array

_LAYER = 10.0  # hPa: levels in one layer are one level
_KEY = ["cell", "variable", "level_type", "platform", "source", "layer", "interval", "when", "withheld"]


def superob(observations: Observations, grid: Grid, configs: Sequence[SuperobConfig]) -> Observations:
    """The observations with the code `merged` on reports that share a cell, and below them their super-observations.

    Args:
        observations: N rows; those in use, with a finite error, are merged.
        grid: of the analysis.
        configs: in this order; a report is merged once.

    Returns:
        N rows and one a super-observation.
    """
    cell = _cells(observations, grid)
    for config in configs:
        use = (observations["qc"] == QC.USED) & np.isfinite(observations["error"]) & (observations["count"] == 1)
        use &= observations["variable"] != "vr"  # directions differ: averaged when they are read
        use &= _named(observations, "variable", config.variables) & _named(observations, "platform", config.platforms)
        rows = np.flatnonzero(use & (cell >= 0))
        if rows.size == 0:
            continue
        number, size = _cell_numbers(observations.take(rows), cell[rows], config)
        many = size[number] >= config.count
        if not many.any():
            continue
        new = _means(observations.take(rows[many]), cell[rows[many]], number[many], config.shared)
        merged = np.zeros(len(observations), dtype=bool)
        merged[rows[many]] = True
        observations = Observations.concat([observations.flag(merged, QC.MERGED), new])
        cell = np.append(cell, np.full(len(new), -1))
    return observations


def _named(observations: Observations, column: str, names: tuple[str, ...]) -> Array:
    return np.isin(observations[column].astype(str), names) if names else np.ones(len(observations), dtype=bool)


def _cells(observations: Observations, grid: Grid) -> Array:
    """The number of the grid point nearest to each report [N], -1 for none."""
    latitude, longitude = observations["latitude"], observations["longitude"]
    there = np.isfinite(latitude) & np.isfinite(longitude)
    tree = cKDTree(_point(grid, *(f.ravel() for f in grid.fields)))
    cell = np.full(len(observations), -1, dtype=np.int64)
    cell[there] = tree.query(_point(grid, latitude[there], longitude[there]))[1]
    return cell


def _point(grid: Grid, latitude: Array, longitude: Array) -> Array:
    """On the unit sphere, or on the plane."""
    if grid.plane:
        return np.stack([latitude, longitude], axis=1)
    phi, lam = np.deg2rad(latitude), np.deg2rad(longitude)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=1)


def _cell_numbers(observations: Observations, cell: Array, config: SuperobConfig) -> tuple[Array, Array]:
    """Which group each report belongs to, and the sizes of groups."""
    time = observations["time"].astype("datetime64[s]").astype(np.int64)
    table = pd.DataFrame({n: observations[n] for n in ("variable", "level_type", "platform", "source", "withheld")})
    table = table.assign(
        cell=cell,
        layer=np.nan_to_num(np.round(observations["level"] / _LAYER), nan=-1.0),
        interval=observations["interval"],
        when=np.floor_divide(time, int(config.span / np.timedelta64(1, "s"))),
    )
    number = table.groupby(_KEY, dropna=False, sort=True).ngroup().to_numpy()
    return number, np.bincount(number)


def _means(observations: Observations, cell: Array, number: Array, shared: float) -> Observations:
    """One row a group, in the order of their numbers."""
    first = np.unique(number, return_index=True)[1]
    group = np.unique(number, return_inverse=True)[1]
    n = np.bincount(group)

    def mean(values: Array) -> Array:
        return np.bincount(group, weights=values) / n

    value = observations["value"]
    average = mean(value)
    spread = np.sqrt(np.bincount(group, weights=(value - average[group]) ** 2) / np.maximum(n - 1, 1))
    variance = mean(observations["error"] ** 2)
    error = np.sqrt(np.maximum(variance * (shared + (1.0 - shared) / n), spread**2 / n))
    turn = np.deg2rad(observations["longitude"])
    longitude = np.rad2deg(np.arctan2(mean(np.sin(turn)), mean(np.cos(turn))))  # across the date line too
    time = observations["time"].astype("datetime64[us]")
    start = time.min()
    late = mean((time - start).astype(np.int64).astype(np.float64)).round().astype("timedelta64[us]")
    names = np.array([f"super-{c}" for c in cell[first]], dtype=object)
    return observations.take(first).replace(
        station_id=names,
        report_id=names,
        value=average,
        error=error,
        latitude=mean(observations["latitude"]),
        longitude=longitude,
        elevation=mean(observations["elevation"]),
        level=mean(observations["level"]),
        bias=mean(observations["bias"]),
        time=start + late,
        count=n.astype(np.int32),
        spread=spread.astype(np.float32),
        pre_qc=np.zeros(len(first), dtype=np.int32),
    )
