"""What a radar measured, gate by gate, and super-observations: the mean of the gates of a cell.

A volume has millions of gates, a fraction of a kilometre apart; an analysis has a point every few dozen, and the errors
of neighbouring gates are alike. So the gates of a cell are averaged. Cells are centred at whole multiples of their
size in degrees, where regular grids have their points.

    value   mean of the n gates; a gate without an echo counts with the value that `no echo` has
    spread  s, their standard deviation (ddof 0), the variance that the cell has inside
    error   sqrt(instrument^2 + representativeness^2 + s^2 / n): the configured error and that of the mean
    place, time, height, azimuth, elevation angle, range: means over the gates (of directions, of their unit vectors)

A gate belongs to exactly one row: those that a check has flagged are averaged apart, a row for each code, so that the
counts of a file's rows add up to its gates. Velocities are components along different directions: where those of a
cell differ by more than about 15 degrees (length of the mean unit vector below cos 15), their mean is no velocity of
the air, and the cell is flagged `BEAM`.
"""

__all__ = ["Gates", "observations_of", "superob"]

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stormda.config import RadarSource
from stormda.errors import InputError
from stormda.observations import QC, Observations
from stormda.sources.reports import Reports, Values, observations
from stormda.types import Array

_ONE_SIDE = float(np.cos(np.deg2rad(15.0)))
_MOST_CELLS = 50_000_000


@dataclass(frozen=True, eq=False)
class Gates:
    """n values of one variable, each somewhere.

    Args:
        variable: a name of the vocabulary.
        value: in its unit, finite [n].
        code: `QC` codes [n].
        time: datetime64[us] [n].
        latitude, longitude: degrees [n].
        interval: s, accumulated over this time.
        height: m above mean sea level [n]; None for what has no level.
        azimuth, elevation, distance: of the beam, degrees and m [n]; None for composites.
        count, spread: of a super-observation [n].
    """

    variable: str
    value: Array
    code: Array
    time: Array
    latitude: Array
    longitude: Array
    interval: float = 0.0
    height: Array | None = None
    azimuth: Array | None = None
    elevation: Array | None = None
    distance: Array | None = None
    count: Array | None = None
    spread: Array | None = None

    def __len__(self) -> int:
        return len(self.value)


def superob(gates: Gates, cell: float | None) -> Gates:
    """The means of cells of `cell` degrees, a row for each cell and code; the gates themselves where it is None.

    Raises:
        InputError: more than fifty million cells.
    """
    if cell is None or len(gates) == 0:
        ones = np.ones(len(gates), dtype=np.int32)
        return replace(gates, count=ones, spread=np.full(len(gates), np.nan, dtype=np.float32))
    key = _keys(gates, cell)
    count = np.bincount(key)
    there = np.flatnonzero(count)
    n = count[there]

    def mean(values: Array) -> Array:
        return np.asarray(np.bincount(key, weights=values)[there] / n)

    value = mean(gates.value)
    variance = mean(gates.value.astype(np.float64) ** 2) - value**2
    start = gates.time.min()
    seconds = mean((gates.time - start) / np.timedelta64(1, "s"))
    middle = gates.longitude[0]  # a cell on the date line has gates on both sides of it
    east = mean((gates.longitude - middle + 180.0) % 360.0 - 180.0) + middle
    code = np.zeros(len(count), dtype=np.int32)
    code[key] = gates.code
    out = Gates(
        gates.variable,
        value,
        code[there],
        start + (seconds * 1e6).astype("timedelta64[us]"),
        mean(gates.latitude),
        (east + 180.0) % 360.0 - 180.0,
        gates.interval,
        None if gates.height is None else mean(gates.height),
        None,
        None if gates.elevation is None else mean(gates.elevation),
        None if gates.distance is None else mean(gates.distance),
        n.astype(np.int32),
        np.where(n > 1, np.sqrt(np.maximum(variance, 0.0)), np.nan).astype(np.float32),
    )
    if gates.azimuth is None:
        return out
    angle = np.deg2rad(gates.azimuth)
    x, y = mean(np.sin(angle)), mean(np.cos(angle))
    many = (np.hypot(x, y) < _ONE_SIDE) & (out.code == QC.USED) & (gates.variable == "vr")
    return replace(out, azimuth=np.rad2deg(np.arctan2(x, y)) % 360.0, code=np.where(many, int(QC.BEAM), out.code))


def _keys(gates: Gates, cell: float) -> Array:
    """A number for each cell and code [n]."""
    row, column = (np.floor(c / cell + 0.5).astype(np.int64) for c in (gates.latitude, gates.longitude))
    around = round(360.0 / cell)
    if abs(around * cell - 360.0) < 1e-6 * cell:
        column %= around
    codes, number = np.unique(gates.code, return_inverse=True)
    row, column = row - row.min(), column - column.min()
    size = (int(row.max()) + 1) * (int(column.max()) + 1) * len(codes)
    if size > _MOST_CELLS:
        raise InputError(f"{size} cells of {cell:g} degrees are too many", hint="a larger cell")
    return np.asarray((row * (int(column.max()) + 1) + column) * len(codes) + number)


def observations_of(
    gates: Gates, station: str, elevation: float, config: RadarSource, name: str, file: Path
) -> Observations:
    """Rows of the observation table.

    Args:
        gates: what `superob` made.
        station: the radar; '' for a composite, whose values are called by their places.
        elevation: height of the antenna, m; NaN where there is none.
        config: errors and which variables to keep.
        name: the key of the source in the configuration.
        file: for messages.

    Raises:
        InputError: no time, or values in another unit.
    """
    if len(gates) == 0:
        return Observations.empty()
    n = len(gates)
    reports = Reports(
        np.full(n, station, dtype=object),
        gates.time,
        gates.latitude,
        gates.longitude,
        np.full(n, elevation),
        gates.height,
    )
    values = [Values(gates.variable, gates.value, gates.interval, qc=gates.code)]
    rows = observations(reports, values, config, name, file=file, platform="radar")
    if len(rows) == 0:
        return rows
    assert gates.count is not None and gates.spread is not None
    columns = {"count": gates.count.astype(np.int32), "spread": gates.spread.astype(np.float32)}
    beam = {"azimuth": gates.azimuth, "elevation_angle": gates.elevation, "range": gates.distance}
    columns |= {c: v.astype(np.float32) for c, v in beam.items() if v is not None}
    inside = np.nan_to_num(gates.spread) ** 2 / np.maximum(gates.count, 1)
    return rows.replace(error=np.sqrt(rows["error"] ** 2 + inside), **columns)
