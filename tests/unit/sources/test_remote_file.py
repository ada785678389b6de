"""Parts of a file at a URL are of one version, whatever the server tells of it and does to it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from far_away import FarAway, serving

from stormda.config import RemoteConfig
from stormda.errors import InputMissing
from stormda.sources.cache import Cache
from stormda.sources.remote_file import RemoteFile, lazy_file, remote_file

DATA = bytes(range(256)) * 4096  # 1 MiB, four blocks


@pytest.fixture
def world(tmp_path: Path) -> Iterator[FarAway]:
    with serving(tmp_path / "far") as far:
        yield far


def cache(tmp_path: Path, **settings: object) -> Cache:
    return Cache(tmp_path / "cache", RemoteConfig.model_validate({"backoff": 0.001, "timeout": 5.0} | settings))


def opened(tmp_path: Path, url: str, **settings: object) -> RemoteFile:
    file = remote_file(lazy_file(cache(tmp_path, **settings), url, "files"))
    assert file is not None
    return file


def ranges(world: FarAway) -> int:
    """How often a part was asked for; what was sent is counted a moment after it has come."""
    return sum(bool(asked) for _, _, asked in world.asked)


@pytest.mark.parametrize("etags", [True, False])
def test_another_file_of_the_same_size(etags: bool, world: FarAway, tmp_path: Path) -> None:
    world.etags = etags
    url = world.put("f", DATA)
    assert opened(tmp_path, url).readall() == DATA
    world.put("f", DATA[::-1])
    assert opened(tmp_path, url).readall() == DATA[::-1]
    assert opened(tmp_path, url, offline=True).readall() == DATA[::-1]
    assert ranges(world) == 8  # of two versions four blocks each
    assert opened(tmp_path, url).readall() == DATA[::-1]
    assert ranges(world) == (8 if etags else 12)  # of an unknown version nothing is taken again
    assert len(list((tmp_path / "cache").rglob(".f.blocks/*"))) == 1  # other versions are not kept


def test_a_file_is_not_mixed_from_two_versions(world: FarAway, tmp_path: Path) -> None:
    url = world.put("f", DATA)
    file = opened(tmp_path, url)
    assert file.read(100) == DATA[:100]
    world.put("f", DATA[::-1])
    file.seek(len(DATA) // 2)
    with pytest.raises(InputMissing, match="has changed while it was read"):
        file.read(100)
    assert isinstance(file.error, InputMissing)
    assert opened(tmp_path, url).readall() == DATA[::-1]


def test_a_block_that_lost_its_end_comes_again(world: FarAway, tmp_path: Path) -> None:
    url = world.put("f", DATA)
    assert opened(tmp_path, url).readall() == DATA
    block = next((tmp_path / "cache").rglob("00000002"))
    block.write_bytes(block.read_bytes()[:1000])
    assert opened(tmp_path, url).readall() == DATA
    assert ranges(world) == 5


def test_blocks_are_cheap_to_keep(world: FarAway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither flushed one by one nor looked for among the others; and nothing but them stays."""
    file = opened(tmp_path, world.put("f", DATA))
    calls: list[str] = []
    for name in ("fsync", "listdir"):
        monkeypatch.setattr(os, name, lambda *_, name=name: calls.append(name))
    assert file.readall() == DATA
    monkeypatch.undo()
    assert calls == []
    assert sorted(p.name for p in file.blocks.iterdir()) == [f"{k:08d}" for k in range(4)]


def test_making_room_leaves_the_note(world: FarAway, tmp_path: Path) -> None:
    """Two blocks fit beside each other; the note is the oldest of all that lies there."""
    small = cache(tmp_path, cache_gib=2.5 * 2**18 / 2**30)
    note = lazy_file(small, world.put("f", DATA), "files")
    os.utime(note, (1, 1))
    file = remote_file(note)
    assert file is not None and file.readall() == DATA
    assert len(list(file.blocks.iterdir())) == 2
    assert remote_file(note) is not None
