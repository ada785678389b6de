"""Files at URLs come whole or not at all, whatever the server does."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from far_away import FarAway, serving

from stormda.config import RemoteConfig
from stormda.errors import InputError, InputMissing
from stormda.sources.cache import Cache

DATA = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def world(tmp_path: Path) -> Iterator[FarAway]:
    with serving(tmp_path / "far") as far:
        yield far


def cache(tmp_path: Path, **settings: object) -> Cache:
    return Cache(tmp_path / "cache", RemoteConfig.model_validate({"backoff": 0.001, "timeout": 5.0} | settings))


def test_fetched_once_and_asked_again(world: FarAway, tmp_path: Path) -> None:
    url = world.put("a/b.bin", DATA)
    path = cache(tmp_path).fetch(url, "files")
    assert path.read_bytes() == DATA and path.name == "b.bin"
    changed = path.stat().st_mtime_ns
    assert cache(tmp_path).fetch(url, "files") == path  # 304: no byte of the body
    assert world.sent["a/b.bin"] == len(DATA) and path.stat().st_mtime_ns == changed
    world.put("a/b.bin", DATA[::-1])
    assert cache(tmp_path).fetch(url, "files").read_bytes() == DATA[::-1]


@pytest.mark.parametrize("fault", ["500", "503", "429", "cut:300000", "cut:0", "short:1000"])
def test_a_fault_that_passes(fault: str, world: FarAway, tmp_path: Path) -> None:
    world.faults["f"] = [fault, fault]
    assert cache(tmp_path).fetch(world.put("f", DATA), "files").read_bytes() == DATA


def test_a_slow_answer_is_given_up_and_asked_again(world: FarAway, tmp_path: Path) -> None:
    world.faults["f"] = ["slow:1.5"]
    assert cache(tmp_path, timeout=0.3).fetch(world.put("f", DATA), "files").read_bytes() == DATA


def test_what_was_cut_goes_on_where_it_was(world: FarAway, tmp_path: Path) -> None:
    url = world.put("f", DATA)
    world.faults["f"] = ["cut:400000", "500"]
    with pytest.raises(InputMissing, match="tried 1 times"):
        cache(tmp_path, attempts=1).fetch(url, "files")
    have = (tmp_path / "cache" / "http" / world.url.split("//")[1].replace(":", "_") / ".f.part").stat().st_size
    assert 0 < have <= 400000
    world.faults["f"] = []
    assert cache(tmp_path).fetch(url, "files").read_bytes() == DATA  # a later run
    assert world.asked[-1] == ("GET", "f", f"bytes={have}-")
    assert world.sent["f"] == 400000 + len(DATA) - have  # nothing came twice but what had not reached the disk


def test_many_cuts_are_no_failure_while_it_grows(world: FarAway, tmp_path: Path) -> None:
    world.faults["f"] = ["cut:200000"] * 5
    assert cache(tmp_path, attempts=2).fetch(world.put("f", DATA), "files").read_bytes() == DATA


def test_changed_in_between(world: FarAway, tmp_path: Path) -> None:
    world.faults["f"] = ["change"]
    got = cache(tmp_path).fetch(world.put("f", DATA), "files").read_bytes()
    assert got == DATA[::-1]  # all of the new one, no mixture


def test_a_server_without_ranges_or_versions(world: FarAway, tmp_path: Path) -> None:
    world.ranges = False
    world.faults["f"] = ["cut:400000"]
    assert cache(tmp_path).fetch(world.put("f", DATA), "files").read_bytes() == DATA
    world.etags = False
    world.faults["g"] = ["cut:400000"]
    assert cache(tmp_path).fetch(world.put("g", DATA), "files").read_bytes() == DATA
    world.put("g", DATA[::-1])
    assert cache(tmp_path).fetch(f"{world.url}/g", "files").read_bytes() == DATA[::-1]  # who cannot tell sends again


def test_errors_say_what_and_where(world: FarAway, tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="no such file") as missing:
        cache(tmp_path).fetch(f"{world.url}/nothing", "observations.sources.x.files")
    assert missing.value.file == f"{world.url}/nothing" and missing.value.key == "observations.sources.x.files"
    assert [m for m, name, _ in world.asked if name == "nothing"] == ["GET"]  # 404 is final
    world.faults["f"] = ["403"]
    with pytest.raises(InputError, match="denies access") as denied:
        cache(tmp_path).fetch(world.put("f", DATA), "files")
    assert "AWS_ACCESS_KEY_ID" in str(denied.value)
    world.faults["f"] = ["500"] * 3
    with pytest.raises(InputMissing, match="tried 3 times: status 500"):
        cache(tmp_path, attempts=3).fetch(f"{world.url}/f", "files")
    world.put("empty", b"")
    with pytest.raises(InputError, match="empty"):
        cache(tmp_path).fetch(f"{world.url}/empty", "files")


def test_no_server(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="tried 2 times"):
        cache(tmp_path, attempts=2).fetch("http://127.0.0.1:9/f", "files")


def test_limits(world: FarAway, tmp_path: Path) -> None:
    url = world.put("f", DATA)
    with pytest.raises(InputError, match="remote.file_gib"):
        cache(tmp_path, file_gib=0.0005).fetch(url, "files")
    assert world.sent["f"] < len(DATA) or not list((tmp_path / "cache").rglob("f"))
    small = {"cache_gib": 2.5 * len(DATA) / 2**30}
    paths = [cache(tmp_path, **small).fetch(world.put(n, DATA), "files") for n in ("a", "b")]
    os.utime(paths[0], ns=(0, paths[0].stat().st_mtime_ns))  # longest not used
    third = cache(tmp_path, **small).fetch(world.put("c", DATA), "files")
    assert third.exists() and paths[1].exists() and not paths[0].exists()
    one = cache(tmp_path, **small)
    one.fetch(f"{world.url}/b", "files")
    one.fetch(f"{world.url}/c", "files")
    with pytest.raises(InputError, match="remote.cache_gib"):  # what is in use stays
        one.fetch(world.put("d", DATA), "files")


def test_offline(world: FarAway, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    url = world.put("f", DATA)
    with pytest.raises(InputMissing, match="remote.offline"):
        cache(tmp_path, offline=True).fetch(url, "files")
    cache(tmp_path).fetch(url, "files")
    asked = len(world.asked)
    assert cache(tmp_path, offline=True).fetch(url, "files").read_bytes() == DATA
    assert cache(tmp_path, offline=True).look(url, "files").cached and len(world.asked) == asked
    world.faults["f"] = ["500"]
    with caplog.at_level(logging.WARNING):
        assert cache(tmp_path).fetch(url, "files").read_bytes() == DATA  # the server is ill: the copy serves
    assert "the copy in the cache is used" in caplog.text


def test_look_fetches_nothing(world: FarAway, tmp_path: Path) -> None:
    url = world.put("f", DATA)
    known = cache(tmp_path).look(url, "files")
    assert (known.size, known.cached) == (len(DATA), False) and world.sent["f"] == 0
    cache(tmp_path).fetch(url, "files")
    assert cache(tmp_path).look(url, "files").cached
    (facts,) = [json.loads(p.read_text()) for p in (tmp_path / "cache").rglob(".f.json")]
    assert facts["url"] == url and facts["size"] == len(DATA) and len(facts["sha256"]) == 64


def test_a_damaged_cache_is_fetched_again(world: FarAway, tmp_path: Path) -> None:
    url = world.put("f", DATA)
    path = cache(tmp_path).fetch(url, "files")
    path.write_bytes(DATA[:100])
    assert cache(tmp_path).fetch(url, "files").read_bytes() == DATA


def test_objects_of_a_bucket(world: FarAway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 through the environment's endpoint, anonymous: keys are listed and read."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", world.url)
    for name in ("KLBB_01", "KLBB_02", "KAMA_01"):
        world.put(f"radars/2016/06/{name}", name.encode())
    one = cache(tmp_path)
    names = one.server.names("s3://radars/2016/06/KLBB", "files")
    assert names == [f"s3://radars/2016/06/KLBB_0{n}" for n in (1, 2)]
    assert one.fetch(names[1], "files").read_bytes() == b"KLBB_02"
