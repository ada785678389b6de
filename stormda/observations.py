"""Observations: one long table, one row a value, with a frozen schema.

A value keeps its row for ever: quality control sets `qc`, it never deletes. Units are those of
`stormda.variables.VOCABULARY`; level values are hPa on pressure levels. `error` is the standard deviation of the
observation error, instrument and representativeness together.

QC codes (`QC`): 0 used; 1-19 set by the provider or by static checks; 20-39 set against the background; 40 and above by
the operator. A row with code 0 that is `withheld` is kept out of the analysis for verification.
"""

__all__ = ["QC", "SCHEMA", "Observations"]

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import pyarrow as pa

from stormda.errors import InputError
from stormda.types import Array


class QC(IntEnum):
    """Why a value is not used; 0 means that it is."""

    USED = 0
    PROVIDER = 1  # the provider flagged it
    MISSING = 2  # the value, its time or its place is missing
    RANGE = 3  # outside the physical range of its variable
    DUPLICATE = 4  # the same station, variable, level and time already came
    STATION_HEIGHT = 5  # the station's height is unknown or too far from the grid's
    BLACKLIST = 6  # named in the configuration
    STUCK = 7  # the same value for too long
    SPIKE = 8  # jumps away from the values before and after
    CLUTTER = 12  # radar: an echo of the ground, the sea or aircraft, not of rain
    SPECKLE = 13  # radar: an echo with next to no echo around it
    BEAM = 14  # radar: the beam is too high there, too near the radar, or seen from too many sides
    FOLDED = 15  # radar: the velocity is aliased, beyond what the radar can tell
    BACKGROUND = 20  # too far from the background
    CLIMATOLOGY = 21  # too far from the climatology of its place and season
    BUDDY = 22  # too far from what its neighbours say
    ISOLATED = 23  # nobody near can confirm it
    THINNED = 24  # nearer to one that is used than the state resolves
    MERGED = 25  # part of a super-observation
    OUTSIDE_GRID = 40
    OUTSIDE_WINDOW = 41
    NO_OPERATOR = 42  # nothing maps the state to this variable and level
    NOT_FINITE = 43  # the operator gives no finite value here
    NOT_ASSIMILATED = 49  # the background was published in the place of the analysis

    @property
    def words(self) -> str:
        """For people: `station height`."""
        return self.name.lower().replace("_", " ")


SCHEMA = pa.schema(
    [
        pa.field("report_id", pa.string()),  # one report holds several values
        pa.field("station_id", pa.string()),
        pa.field("platform", pa.string()),  # synop, temp, aircraft, metar, radar, ...
        pa.field("source", pa.string()),  # the key of the source in the configuration
        pa.field("variable", pa.string()),
        pa.field("level_type", pa.string()),
        pa.field("level", pa.float64()),  # NaN where the variable defines its level
        pa.field("time", pa.timestamp("us")),  # UTC
        pa.field("interval", pa.float32()),  # s, accumulation or mean up to `time`; 0: at once
        pa.field("latitude", pa.float64()),  # degrees north
        pa.field("longitude", pa.float64()),  # degrees east, -180..180
        pa.field("elevation", pa.float64()),  # m, of the station; NaN where unknown
        pa.field("value", pa.float64()),
        pa.field("error", pa.float64()),  # standard deviation; NaN until an error model sets it
        pa.field("block", pa.int64()),  # rows of one correlated block share a number; -1: uncorrelated
        pa.field("bias", pa.float64()),  # already subtracted from the value
        pa.field("pre_qc", pa.int32()),  # as the provider gave it
        pa.field("qc", pa.int32()),  # `QC`
        pa.field("withheld", pa.bool_()),
        pa.field("azimuth", pa.float32()),  # degrees, radar; NaN elsewhere
        pa.field("elevation_angle", pa.float32()),  # degrees, radar
        pa.field("range", pa.float32()),  # m, radar
        pa.field("count", pa.int32()),  # how many measurements the value is the mean of
        pa.field("spread", pa.float32()),  # their standard deviation; NaN for a single one
    ]
)

_DEFAULTS: dict[str, object] = {
    "level": np.nan,
    "interval": 0.0,
    "elevation": np.nan,
    "error": np.nan,
    "block": -1,
    "bias": 0.0,
    "pre_qc": 0,
    "qc": int(QC.USED),
    "withheld": False,
    "azimuth": np.nan,
    "elevation_angle": np.nan,
    "range": np.nan,
    "count": 1,
    "spread": np.nan,
    "level_type": "surface",
}


@dataclass(frozen=True, eq=False)
class Observations:
    """A table with the columns of `SCHEMA`.

    Args:
        table: a pyarrow table; its schema must be `SCHEMA` exactly.

    Raises:
        InputError: another schema.
    """

    table: pa.Table

    def __post_init__(self) -> None:
        if self.table.schema.names != SCHEMA.names or self.table.schema.types != SCHEMA.types:
            wrong = [f.name for f in SCHEMA if f.name not in self.table.schema.names]
            raise InputError(f"not a table of observations{': missing ' + ', '.join(wrong) if wrong else ''}")

    @classmethod
    def of(cls, columns: Mapping[str, object]) -> "Observations":
        """Build from columns (arrays or single values); those with a default may be left out."""
        length = max((len(c) for c in columns.values() if hasattr(c, "__len__") and not isinstance(c, str)), default=0)
        arrays = []
        for field in SCHEMA:
            if field.name not in columns and field.name not in _DEFAULTS:
                raise InputError(f"a table of observations needs the column '{field.name}'")
            column = columns.get(field.name, _DEFAULTS.get(field.name))
            if isinstance(column, str) or not hasattr(column, "__len__"):
                column = np.full(length, column, dtype=object if isinstance(column, str) else None)
            if field.name == "time":
                column = np.asarray(column).astype("datetime64[us]")
            arrays.append(pa.array(column, type=field.type, from_pandas=False))
        return cls(pa.Table.from_arrays(arrays, schema=SCHEMA))

    @classmethod
    def empty(cls) -> "Observations":
        """A table without rows."""
        return cls(SCHEMA.empty_table())

    @classmethod
    def concat(cls, parts: list["Observations"]) -> "Observations":
        """All rows of several tables."""
        return cls(pa.concat_tables([p.table for p in parts])) if parts else cls.empty()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getitem__(self, name: str) -> Array:
        """A column as a numpy array (times as datetime64[us], words as objects)."""
        return np.asarray(self.table.column(name).to_numpy())

    def where(self, keep: Array) -> "Observations":
        """The rows where `keep`, a boolean array, is true."""
        return Observations(self.table.filter(pa.array(np.asarray(keep, dtype=bool))))

    def take(self, index: Array) -> "Observations":
        """The rows of the given numbers, in that order."""
        return Observations(self.table.take(pa.array(index)))

    def replace(self, **columns: Array) -> "Observations":
        """The same rows with some columns changed."""
        table = self.table
        for name, column in columns.items():
            i = SCHEMA.get_field_index(name)
            table = table.set_column(i, SCHEMA.field(i), pa.array(column, type=SCHEMA.field(i).type, from_pandas=False))
        return Observations(table)

    def flag(self, bad: Array, code: QC) -> "Observations":
        """Set `code` where `bad` and no earlier check has set one."""
        qc = self["qc"]
        return self.replace(qc=np.where(np.asarray(bad) & (qc == QC.USED), int(code), qc).astype(np.int32))
