"""Workers that die or fail while they write an archive: one line, the old archive, and nobody writes afterwards."""

import os
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stormda.config import Harmonics, load
from stormda.errors import InputError
from stormda.grid import Grid
from stormda.pipeline.workers import workers
from stormda.state import State
from stormda.store import archive, archive_blocks
from stormda.store.archive_blocks import Workers, write_archive_blocks
from stormda.types import Array
from stormda.variables import Channel

CHANNELS = (Channel.parse("t2m"),)
TIMES = np.datetime64("2020-01-01", "s") + np.arange(40) * np.timedelta64(6, "h")


@dataclass(frozen=True)
class Made:
    """Fields of ten times a block; one block does something else."""

    times: Array
    channels: tuple[Channel, ...] = CHANNELS
    grid: Grid = Grid(np.linspace(60.0, 35.0, 6), np.arange(8.0), (False, False))
    size: int = 10
    begun: Path = Path()
    does: Callable[["Made"], None] = lambda made: None

    def cut(self, start: int, stop: int) -> "Made":
        return replace(self, times=self.times[start:stop])

    def read(self, start: int, stop: int) -> State:
        (self.begun / str(self.times[0])).touch()
        self.does(self)
        values = np.random.default_rng(0).normal(280.0, 5.0, (len(self.times), 1, 6, 8)).astype(np.float32)
        (self.begun / f"{self.times[0]}-read").touch()
        return State(values, self.channels, self.grid, self.times)


class LikeDask(Executor):
    """Its futures are cancelled at once, whatever their work does."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        shown: Future[Any] = Future()

        def ended(real: Future[Any]) -> None:
            if not shown.cancelled():
                shown.set_exception(error) if (error := real.exception()) else shown.set_result(real.result())

        self._pool.submit(fn, *args, **kwargs).add_done_callback(ended)
        return shown


def die(made: Made) -> None:
    os._exit(1)


def one_fails(made: Made) -> None:
    """The first at once, while the second reads, which lasts; whatever comes after them has not begun."""
    if made.times[0] != TIMES[0]:
        time.sleep(1.0)
        return
    while len(list(made.begun.iterdir())) < 2:
        time.sleep(0.01)
    raise InputError("a broken file")


def write(path: Path, fields: Made, team: Workers) -> None:
    about: dict[str, Any] = {"step": np.timedelta64(6, "h"), "harmonics": Harmonics(annual=0, diurnal=0)}
    write_archive_blocks(path, fields, team, **about, train=None, provenance={})


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_CHUNK_BYTES", 4 * 6 * 8 * 10)  # ten times a chunk


@pytest.mark.parametrize(("how", "key"), [("processes=2", "ingest.processes"), ("dask=local:1", "ingest.dask")])
def test_a_worker_that_dies(how: str, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_blocks, "_PATIENCE", 0.1)  # there may be no worker any more
    if "dask" in how:
        pytest.importorskip("distributed")
        import dask

        dask.config.set({"distributed.scheduler.allowed-failures": 0})  # else a block kills four of them
    (begun := tmp_path / "begun").mkdir()
    (run := tmp_path / "run").mkdir()
    with workers(load(None, [f"ingest.{how}"], {"channels": ["t2m"]}).ingest) as team:
        assert team is not None
        with pytest.raises(InputError, match="a process that reads fields died") as raised:
            write(run / "a.zarr", Made(TIMES, begun=begun, does=die), team)
    assert raised.value.key == key and key in str(raised.value.hint)
    assert list(run.iterdir()) == []


def test_nobody_writes_when_the_folder_goes(tmp_path: Path) -> None:
    (begun := tmp_path / "begun").mkdir()
    (run := tmp_path / "run").mkdir()
    with ThreadPoolExecutor(2) as pool:
        team = Workers(LikeDask(pool), 2, (), "", "")
        with pytest.raises(InputError, match="a broken file"):
            write(run / "a.zarr", Made(TIMES, begun=begun, does=one_fails), team)
        assert list(run.iterdir()) == []
        names = {p.name for p in begun.iterdir()}
        assert names >= {str(TIMES[0]), str(TIMES[10]), f"{TIMES[10]}-read"}  # the second was waited for
        assert str(TIMES[30]) not in names  # the last had not begun
    assert list(run.iterdir()) == []  # nor came anything later
