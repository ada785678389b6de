"""The archive as training data: the same numbers, from memory or by chunks from the disk, at a bounded size."""

import numpy as np
import pytest
import torch

from stormda.config import Harmonics
from stormda.grid import Grid
from stormda.pipeline.series import ArchiveReader, training_data
from stormda.state import State
from stormda.store.archive import Archive, write_archive
from stormda.training.data import Series
from stormda.training.stream import Stream
from stormda.variables import Channel

STEP = np.timedelta64(6, "h")
SHAPE = (64, 64)  # 16 kB a field: 64 times a chunk


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    times = np.datetime64("2001-01-01T00", "s") + STEP * np.arange(400)
    values = np.random.default_rng(0).normal(280, 5, (400, 1, *SHAPE)).astype(np.float32)
    grid = Grid(np.linspace(60, 30, 64), np.arange(64) * 1.0)
    path = tmp_path_factory.mktemp("archive") / "archive.zarr"
    state = State(values, (Channel.parse("t2m"),), grid, times)
    return write_archive(path, [state], step=STEP, harmonics=Harmonics(annual=0, diurnal=0), train=None, provenance={})


def test_what_is_read_is_the_standardised_archive(archive: Archive) -> None:
    positions = np.r_[10:20, 200:210]
    reader = ArchiveReader(archive, positions)
    index = np.array([3, 15, 0])
    chosen = positions[index]
    expected = archive.normaliser.encode(archive.read(chosen).values, archive.times[chosen])
    torch.testing.assert_close(reader.read(index), torch.as_tensor(expected, dtype=torch.float32))
    assert reader.shape == (1, *SHAPE) and (reader.times == archive.times[positions]).all()


def test_memory_decides_where_the_fields_are(archive: Archive) -> None:
    learn, check = np.arange(320), np.arange(320, 400)  # 5.0 and 1.25 MiB
    given = {"frames": 1, "batch": 8, "seed": 0}
    train, held = training_data(archive, learn, check, memory=6.5, **given)
    assert isinstance(train, Series) and len(held.times) == 80
    train, held = training_data(archive, learn, check, memory=4.5, **given)
    assert isinstance(train, Stream)
    handful = train.at(0)
    # A quarter of the memory is 72 fields: one chunk of 64 and a frame before it.
    assert len(handful.targets) in (64, 16) and len(handful.times) <= 72
    # Validation, 80 fields, is more than its quarter too: whole chunks of it, here one of the two.
    assert len(held.times) <= 72


def test_a_handful_is_what_the_archive_holds(archive: Archive) -> None:
    train, _ = training_data(archive, np.arange(320), np.arange(320, 400), memory=4.5, frames=1, batch=8, seed=0)
    handful = train.at(30)
    at = archive.find(handful.times)
    expected = archive.normaliser.encode(archive.read(at).values, handful.times)
    torch.testing.assert_close(handful.fields, torch.as_tensor(expected, dtype=torch.float32))
