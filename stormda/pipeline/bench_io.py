"""Stage `bench io`: how fast members are written and read, observations found, and fields of the archive read.

Everything is written to a folder of its own on the disk that is asked about, through the same functions as in use, and
read again: an ensemble (`stormda.store.analysis`), a day of observations in 24 batches, of which one window of six
hours and a tenth of the globe is asked for (`stormda.store.observations`), and an archive, read in training's random
order (`stormda.store.archive`). What was just written is in the memory of the machine: reading is what the software
costs, and a disk comes on top of it.
"""

__all__ = ["IoResult", "Row", "io"]

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from stormda.config import Harmonics
from stormda.errors import ConfigError
from stormda.grid import Grid
from stormda.observations import Observations
from stormda.pipeline.bench_frame import points_of
from stormda.state import State
from stormda.store.analysis import read_analysis, write_analysis
from stormda.store.archive import write_archive
from stormda.store.observations import Input, ObservationStore
from stormda.time import Window
from stormda.types import Array, Progress, silent
from stormda.variables import Channel

_NAMES = ("msl", "t2m", "u10", "v10", "z500", "t850", "u500", "v500", "q700", "t500")
_START = np.datetime64("2019-01-01T00", "s")
_HOUR = np.timedelta64(3600, "s")
_HOURS = 24  # batches of observations


@dataclass(frozen=True)
class Row:
    """One kind of work: `count` of `unit` in `seconds`."""

    what: str
    unit: str
    count: int
    mib: float
    seconds: float

    @property
    def rate(self) -> float:
        """A second."""
        return self.count / self.seconds


@dataclass(frozen=True)
class IoResult:
    """All rows; none where nothing was run."""

    folder: str
    shape: tuple[int, int]
    channels: int
    members: int
    observations: int
    times: int
    rows: tuple[Row, ...]

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people."""
        h, w = self.shape
        title = (
            f"{h} x {w} points, {self.channels} channels: {self.members} members, {self.observations:,} observations, "
            f"archive of {self.times} times; in {self.folder}"
        )
        columns = ["", "count", "", "MiB", "s", "a second", "MiB/s"]
        lines = [
            [r.what, f"{r.count:,}", r.unit, f"{r.mib:.0f}", f"{r.seconds:.3f}", f"{r.rate:,.1f}",
             f"{r.mib / r.seconds:,.0f}"]
            for r in self.rows
        ]  # fmt: skip
        return title, columns, lines


def io(
    shape: str = "181x360",
    *,
    channels: int = 6,
    members: int = 16,
    observations: int = 1_000_000,
    times: int = 64,
    folder: Path | None = None,
    dry_run: bool = False,
    progress: Progress = silent,
) -> IoResult:
    """Measure reading and writing once.

    Args:
        shape: rows x columns of points.
        channels: of a field, at most ten.
        members: of the ensemble.
        observations: of a day.
        times: of the archive.
        folder: on the disk that is asked about; None: that for temporary files. What is written is removed.
        dry_run: measure nothing.
        progress: told about each part.

    Raises:
        ConfigError: an argument that is none.
        OutputError: the folder cannot be written.
    """
    h, w = points_of(shape)
    if min(h, w) < 2:
        raise ConfigError(f"'{shape}' has a single row or column", key="--shape", hint="--shape 181x360")
    counts = {"channels": channels, "ensemble": members - 1, "observations": observations, "times": times}
    if wrong := [name for name, value in counts.items() if value < 1]:
        raise ConfigError(f"{wrong[0]} is too small", key=f"--{wrong[0]}")
    if channels > len(_NAMES):
        raise ConfigError(f"{channels} channels", key="--channels", hint=f"at most {len(_NAMES)}")
    if folder is not None and not folder.is_dir():
        raise ConfigError(f"{folder} is no folder", key="--folder", hint=f"mkdir -p {folder}")
    rows: list[Row] = []
    if not dry_run:
        grid = Grid.regular(np.linspace(90, -90, h), np.arange(w) * 360.0 / w)
        made = tuple(Channel.parse(name) for name in _NAMES[:channels])
        with tempfile.TemporaryDirectory(prefix="stormda-io-", dir=folder) as name:
            place = Path(name)
            for number, part in enumerate((_members, _observed, _archived)):
                progress("bench io", number, 3)
                rows += part(place, grid, made, {"members": members, "observations": observations, "times": times})
        progress("bench io", 3, 3)
    where = str(folder or tempfile.gettempdir())
    return IoResult(where, (h, w), channels, members, observations, times, tuple(rows))


def _fields(count: int, channels: tuple[Channel, ...], grid: Grid, seed: int) -> Array:
    """Smooth fields with noise in the last digits, [T, C, H, W], which compress as weather does."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(np.linspace(0, np.pi, grid.shape[0]), np.linspace(0, 2 * np.pi, grid.shape[1]), indexing="ij")
    amplitude = rng.standard_normal((count, len(channels), 4))
    waves = np.stack([np.sin((k + 1) * y) * np.cos((k + 1) * x) for k in range(4)])
    smooth = np.einsum("tck,khw->tchw", amplitude, waves) + 0.01 * rng.standard_normal((1, 1, *grid.shape))
    values: Array = (280.0 + 5.0 * smooth).astype(np.float32)
    return values


def _members(place: Path, grid: Grid, channels: tuple[Channel, ...], counts: dict[str, int]) -> list[Row]:
    count, path = counts["members"], place / "analysis.nc"
    fields = _fields(count, channels, grid, 0)
    mib = fields.nbytes / 2**20
    begin = perf_counter()
    write_analysis(path, iter(fields), count=count, channels=channels, grid=grid, time=_START, attributes={})
    written = perf_counter()
    read_analysis(path)
    read = perf_counter()
    return [
        Row("ensemble written", "members", count, mib, written - begin),
        Row("ensemble read", "members", count, mib, read - written),
    ]


def _observed(place: Path, grid: Grid, channels: tuple[Channel, ...], counts: dict[str, int]) -> list[Row]:
    rng, per = np.random.default_rng(1), -(-counts["observations"] // _HOURS)
    store = ObservationStore(place / "observations")
    batches = []
    for hour in range(_HOURS):
        names = np.array([f"S{n:06d}" for n in rng.integers(0, 20_000, per)], dtype=object)
        batches.append(
            Observations.of(
                {
                    "report_id": np.array([f"{name}/{hour}/{n}" for n, name in enumerate(names)], dtype=object),
                    "station_id": names,
                    "platform": "synop",
                    "source": "bench",
                    "variable": "t2m",
                    "time": _START + hour * _HOUR + rng.integers(1, 3600, per).astype("timedelta64[s]"),
                    "latitude": rng.uniform(-90, 90, per),
                    "longitude": rng.uniform(-180, 180, per),
                    "value": rng.normal(280, 10, per),
                }
            )
        )
    begin = perf_counter()
    for hour, batch in enumerate(batches):
        store.add(batch, "bench", Input(f"hour {hour}"))
    written = perf_counter()
    window = Window(_START + 6 * _HOUR, _START + 12 * _HOUR)
    every = store.read(window)
    read = perf_counter()
    some = store.read(window, bbox=(-10.0, 30.0, 62.0, 60.0))
    found = perf_counter()
    size = sum(p.stat().st_size for p in (place / "observations").rglob("*") if p.is_file()) / 2**20
    return [
        Row("observations added", "rows", per * _HOURS, size, written - begin),
        Row("window of 6 h read", "rows", len(every), size * len(every) / (per * _HOURS), read - written),
        Row("the same, 72 x 30 degrees", "rows", len(some), size * len(some) / (per * _HOURS), found - read),
    ]


def _archived(place: Path, grid: Grid, channels: tuple[Channel, ...], counts: dict[str, int]) -> list[Row]:
    count, step = counts["times"], 6 * _HOUR
    at = _START + step * np.arange(count)

    def parts() -> Iterator[State]:
        for first in range(0, count, 16):
            cut = slice(first, min(first + 16, count))
            yield State(_fields(cut.stop - cut.start, channels, grid, first), channels, grid, at[cut])

    begin = perf_counter()
    archive = write_archive(place / "a.zarr", parts(), step=step, harmonics=Harmonics(annual=0, diurnal=0), train=None,
                            provenance={})  # fmt: skip
    written = perf_counter()
    order = np.random.default_rng(2).permutation(count)
    read = 0.0
    for first in range(0, count, 16):
        start = perf_counter()
        archive.read(np.sort(order[first : first + 16]))
        read += perf_counter() - start
    mib = 4 * count * len(channels) * grid.shape[0] * grid.shape[1] / 2**20
    return [
        Row("archive written, fields made", "times", count, mib, written - begin),
        Row("archive read, 16 at random", "times", count, mib, read),
    ]
