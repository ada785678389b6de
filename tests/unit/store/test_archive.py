"""The archive: what was written is read, statistics are what they are called, and a failure leaves the old one."""

import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stormda.config import GriddedSource, Harmonics, Period
from stormda.errors import InputError, InputMissing, OutputError
from stormda.grid import Grid
from stormda.normaliser import Normaliser
from stormda.sources.gridded import read_sources
from stormda.state import State
from stormda.store import archive as module
from stormda.store.archive import Archive, write_archive
from stormda.variables import Channel

GRID = Grid.regular(np.array([60.0, 50.0, 40.0]), np.array([0.0, 10.0]))
CHANNELS = (Channel("t2m"), Channel("z", 500.0))
HOUR = np.timedelta64(3600, "s")


def states(count: int = 40, size: int = 7, start: str = "2001-01-01", grid: Grid = GRID) -> list[State]:
    rng = np.random.default_rng(3)
    times = np.datetime64(start, "s") + np.arange(count) * 6 * HOUR
    values = rng.normal(size=(count, 2, *grid.shape)) * np.array([5, 900])[:, None, None]
    values += np.array([280, 55000])[:, None, None]
    return [
        State(values[i : i + size].astype(np.float32), CHANNELS, grid, times[i : i + size])
        for i in range(0, count, size)
    ]


def write(path: Path, chunks: list[State] | Iterator[State] | None = None, train: Period | None = None) -> Archive:
    return write_archive(
        path,
        states() if chunks is None else chunks,
        step=6 * HOUR,
        harmonics=Harmonics(annual=2, diurnal=1),
        train=train,
        provenance={"inputs": ["abc"], "when": np.datetime64("2026-01-01", "s")},
    )


def test_what_was_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK_BYTES", 4 * 6 * 16)  # 16 times a Zarr chunk: chunks and states do not match
    write(tmp_path / "a.zarr")
    archive = Archive.open(tmp_path / "a.zarr")
    values = np.concatenate([s.values for s in states()])
    assert archive.channels == CHANNELS and archive.grid.same(GRID) and archive.step == 6 * HOUR
    assert archive.provenance == {"inputs": ["abc"], "when": "2026-01-01T00:00:00"}
    for index in (slice(None), slice(5, 30, 3), np.array([39, 0, 17, 17]), np.array([], int), np.arange(40) % 2 == 0):
        state = archive.read(index)
        assert np.array_equal(state.values, values[index]) and np.array_equal(state.times, archive.times[index])
    later = archive.times[3] + HOUR
    assert archive.find(
        np.array([archive.times[3], later, archive.times[0] - HOUR, archive.times[-1] + HOUR])
    ).tolist() == [
        3,
        -1,
        -1,
        -1,
    ]


def test_any_tool_reads_it(tmp_path: Path) -> None:
    write(tmp_path / "a.zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with xr.open_zarr(tmp_path / "a.zarr") as data:
            assert data["z500"].dims == ("time", "latitude", "longitude")
            assert data["z500"].attrs["standard_name"] == "geopotential" and data["z500"].attrs["units"] == "m2 s-2"
            assert data["time"].values[1] == np.datetime64("2001-01-01T06")
            assert data.attrs["Conventions"].startswith("CF-")
    source = GriddedSource(kind="zarr", files=(str(tmp_path / "a.zarr"),))
    again = list(read_sources({"a": source}, ("t2m", "z500"), Path))
    assert np.array_equal(again[0].values, np.concatenate([s.values for s in states()]))


def test_select_leaves_out_whole_days(tmp_path: Path) -> None:
    archive = write(tmp_path / "a.zarr")
    day = np.datetime64("2001-01-03", "s")
    period = Period(start=np.datetime64("2001-01-02", "s"), end=np.datetime64("2001-01-04", "s"), exclude=(day,))
    chosen = archive.times[archive.select(period)]
    # 2 January has four times, the third is excluded, the period ends with midnight of the fourth.
    assert [str(t)[:13] for t in chosen] == [f"2001-01-02T{h:02d}" for h in (0, 6, 12, 18)] + ["2001-01-04T00"]
    assert archive.select(None).size == 40


def test_statistics_are_of_the_training_period_and_area_weighted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PASS_BYTES", 4 * 2 * 6 * 5)  # five times a pass
    train = Period(start=np.datetime64("2001-01-02", "s"), end=np.datetime64("2001-01-08", "s"))
    archive = write(tmp_path / "a.zarr", train=train)
    x = archive.read(archive.select(train)).values.astype(np.float64)
    w = GRID.weights / GRID.weights.sum()
    mean = (x.mean(axis=0) * w).sum(axis=(1, 2))
    sd = np.sqrt((((x - mean[:, None, None]) ** 2).mean(axis=0) * w).sum(axis=(1, 2)))
    # float64 sums of float32 values; sums of squares keep 1e-12 of their size, whatever the mean.
    np.testing.assert_allclose(archive.statistics["mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(archive.statistics["sd"], sd, rtol=1e-9)
    assert np.array_equal(archive.statistics["minimum"], x.min(axis=(0, 2, 3)))
    assert np.array_equal(archive.statistics["maximum"], x.max(axis=(0, 2, 3)))
    assert archive.statistics["clamped"].tolist() == [0, 0]
    whole = Normaliser.fit([(x, archive.times[archive.select(train)])], CHANNELS, 0, 1, GRID.weights)
    # The same least squares from chunks: sums in another order, float64.
    np.testing.assert_allclose(archive.normaliser.coefficients, whole.coefficients, rtol=1e-8, atol=1e-7)
    np.testing.assert_allclose(archive.normaliser.sd, whole.sd, rtol=1e-6)


def test_clamped_values_are_counted(tmp_path: Path) -> None:
    values = np.full((4, 1, 3, 2), 1e-3, np.float32) * np.arange(1, 5, dtype=np.float32)[:, None, None, None]
    values[2, 0, 1] = -1e-9  # two points with a little negative rain
    times = np.datetime64("2001-01-01", "s") + np.arange(4) * HOUR
    archive = write(tmp_path / "a.zarr", [State(values, (Channel("tp"),), GRID, times)])
    assert archive.statistics["clamped"].tolist() == [2]


@pytest.mark.parametrize(
    ("days", "hours", "expected"),
    [
        (range(0, 730), (0, 6, 12, 18), (2, 1)),  # two years: all
        (range(0, 730), (12,), (2, 0)),  # noon only: no daily cycle
        (range(0, 90), (0, 6), (0, 1)),  # three months: a year cannot be seen
        (range(0, 260), (12,), (1, 0)),  # a gap of 105 days: half a wave of one cycle is 183, of two 91
    ],
)
def test_climatology_has_only_the_harmonics_that_the_times_show(
    days: range, hours: tuple[int, ...], expected: tuple[int, int]
) -> None:
    times = np.array([np.datetime64("2001-01-01", "s") + d * 24 * HOUR + h * HOUR for d in days for h in hours])
    assert module._resolved(times, Harmonics(annual=2, diurnal=1)) == expected


def test_gaps_are_legal_and_other_grids_come_back(tmp_path: Path) -> None:
    plane = Grid(np.array([0.0, 1.0]), np.arange(4) * 90.0, periodic=(True, True), plane=True)
    field = Grid(*np.meshgrid([50.0, 51.0, 52.0], [0.0, 1.0], indexing="ij"))
    for number, grid in enumerate((plane, field)):
        chunks = [s for i, s in enumerate(states(grid=grid)) if i != 2]
        archive = write(tmp_path / f"{number}.zarr", chunks)
        assert archive.grid.same(grid) and archive.grid.periodic == grid.periodic and archive.grid.plane == grid.plane
        assert np.diff(archive.times).max() == 8 * 6 * HOUR
        assert np.array_equal(archive.read(slice(None)).values, np.concatenate([s.values for s in chunks]))


@pytest.mark.parametrize("kind", ["none", "order", "twice", "grid", "channels", "constant", "period"])
def test_states_that_make_no_archive(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "a.zarr")
    first, second, *_ = states()
    other = Grid.regular(GRID.latitude + 1, GRID.longitude)
    wrong = {
        "none": [],
        "order": [second, first],
        "twice": [first, first],
        "grid": [first, State(second.values, CHANNELS, other, second.times)],
        "channels": [first, State(second.values[:, :1], CHANNELS[:1], GRID, second.times)],
        "constant": [State(np.full_like(first.values, 280), CHANNELS, GRID, first.times)],
        "period": [State(first.values, CHANNELS, GRID, first.times + 10**6 * HOUR)],
    }
    train = Period(start=np.datetime64("2001-01-01", "s"), end=np.datetime64("2001-02-01", "s"))
    with pytest.raises(InputError):
        write(tmp_path / "a.zarr", wrong[kind], train)
    assert len(Archive.open(tmp_path / "a.zarr").times) == 40
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def test_missing_incomplete_and_damaged_archives(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="ingest") as missing:
        Archive.open(tmp_path / "no.zarr")
    assert missing.value.file == str(tmp_path / "no.zarr")
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(InputError, match="ingest"):
        Archive.open(tmp_path / "empty.zarr")
    write(tmp_path / "a.zarr")
    chunk = next((tmp_path / "a.zarr" / "t2m" / "c").rglob("0"))
    while chunk.is_dir():
        chunk = chunk / "0"
    data = chunk.read_bytes()
    chunk.write_bytes(data[: len(data) // 2])
    archive = Archive.open(tmp_path / "a.zarr")
    with pytest.raises(InputError, match="damaged") as damaged:
        archive.read(slice(None))
    assert damaged.value.file == str(tmp_path / "a.zarr")
    chunk.unlink()  # A chunk that is gone reads as NaN, which no state may hold.
    with pytest.raises(InputError, match="damaged"):
        archive.read(slice(None))


def test_full_disk_leaves_the_old_archive(tmp_path: Path) -> None:
    write(tmp_path / "a.zarr")

    def chunks() -> Iterator[State]:
        yield states()[0]
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="full"):
        write(tmp_path / "a.zarr", chunks())
    assert len(Archive.open(tmp_path / "a.zarr").times) == 40


def test_killed_ingest_leaves_the_old_archive_as_it_was(tmp_path: Path) -> None:
    write(tmp_path / "a.zarr")
    before = {p: p.read_bytes() for p in (tmp_path / "a.zarr").rglob("*") if p.is_file()}
    code = """
import sys, time
import numpy as np
from pathlib import Path
from stormda.config import Harmonics
from stormda.grid import Grid
from stormda.state import State
from stormda.store import archive
from stormda.variables import Channel

def chunks():
    grid = Grid.regular(np.array([60.0, 50.0]), np.array([0.0, 1.0]))
    for i in range(10**6):
        values = np.full((1, 1, 2, 2), 280.0 + i % 7)
        yield State(values, (Channel("t2m"),), grid, np.array([i * 3600], "datetime64[s]"))
        if i == 30:
            print("ready", flush=True)
            time.sleep(60)

archive._CHUNK_BYTES = 64  # four times: several Zarr chunks are on the disk when the end comes
hour = np.timedelta64(3600, "s")
archive.write_archive(Path(sys.argv[1]), chunks(), step=hour, harmonics=Harmonics(), train=None, provenance={})
"""
    writer = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "a.zarr")], stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert {p: p.read_bytes() for p in (tmp_path / "a.zarr").rglob("*") if p.is_file()} == before
    write(tmp_path / "a.zarr")
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def test_memory_does_not_grow_with_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits to be written is less than a Zarr chunk, after every state."""
    monkeypatch.setattr(module, "_CHUNK_BYTES", 4 * 6 * 8)
    waiting = []
    append = module.ArchiveWriter.append

    def watch(self: module.ArchiveWriter, state: State) -> None:
        append(self, state)
        waiting.append(sum(map(len, self._waiting)))

    monkeypatch.setattr(module.ArchiveWriter, "append", watch)
    write(tmp_path / "a.zarr", states(count=120, size=3))
    assert max(waiting) < 8


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("file", "channels", "times", "shape"),
    [
        ("eraint_europe_12utc.nc", ("msl", "z500", "t850"), 3653, (11, 13)),
        ("ncep_air995_northamerica_6h.nc", ("air",), 2432, (25, 53)),
    ],
)
def test_real_archives(
    tmp_path: Path, file: str, channels: tuple[str, ...], times: int, shape: tuple[int, int]
) -> None:
    if "STORMDA_DATA" not in os.environ:
        pytest.skip("STORMDA_DATA is not set")
    source = GriddedSource(files=(f"{os.environ['STORMDA_DATA']}/reanalysis/{file}",))
    archive = write(tmp_path / "a.zarr", read_sources({"x": source}, channels, Path))
    assert len(archive.times) == times and archive.grid.shape == shape
    z = archive.normaliser.encode(archive.read(slice(None)).values, archive.times)
    # The normaliser's own definition: anomalies of mean 0 and, area-weighted, variance 1; fields are float32.
    np.testing.assert_allclose((z**2 * archive.grid.weights).mean(axis=(0, 2, 3)), 1.0, rtol=1e-4)
    np.testing.assert_allclose(z.mean(axis=(0, 2, 3)), 0.0, atol=1e-3)
