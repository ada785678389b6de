"""Files, extensions, overrides, environment variables, and the way back to text."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from stormda.config import Config, Period, TableSource, dump, load, schema
from stormda.config.fields import write_duration
from stormda.errors import ConfigError, InputMissing
from stormda.time import parse_duration

BASE = {"channels": ["msl"]}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    def file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return file


def test_values_that_people_write() -> None:
    config = load(
        None,
        [
            "archive.train={start: 2000-01-01, end: 2007-12-31T23Z, exclude: [2001-12-14 12:00]}",
            "observations.before=90min",
            "quality.withhold={fraction: 0.3, seeds: 0..3}",
            "twin.seeds=7",
            "observations.sources.s={kind: vobs, files: [a], errors: {t2m: 1.5}}",
        ],
        BASE,
    )
    train = config.archive.train
    assert train is not None
    assert (train.start, train.end) == (np.datetime64("2000-01-01T00"), np.datetime64("2007-12-31T23"))
    assert train.exclude == (np.datetime64("2001-12-14T12:00"),)
    assert config.observations.before == np.timedelta64(90, "m")
    assert config.quality.withhold.seeds == (0, 1, 2, 3) and config.twin.seeds == (7,)
    assert config.observations.sources["s"].errors["t2m"].instrument == 1.5


def test_written_out_and_read_again_it_is_the_same() -> None:
    overrides = [
        "archive.train={start: 2000-01-01T06Z, end: 2001-01-01}",
        "observations.after=30s",
        "history.max_age=1d",
    ]
    config = load(None, [*overrides, "twin.world={kind: sqg, points: 32}", "quality.withhold.seeds=0..2"], BASE)
    again = Config.model_validate(yaml.safe_load(dump(config)))
    assert again.model_dump() == config.model_dump()


@pytest.mark.parametrize("text", ["6h", "90min", "1234567s", "0h"])
def test_spans_are_written_exactly(text: str) -> None:
    assert write_duration(parse_duration(text)) == text


def test_overrides_replace_one_value_and_leave_the_rest() -> None:
    tree = BASE | {"quality": {"static": [{"check": "range"}, {"check": "station_height", "limit": 700}]}, "name": "a"}
    config = load(None, ["quality.static.1.limit=300", "name=b"], tree)
    assert [c.check for c in config.quality.static] == ["range", "station_height"]
    assert config.quality.static[1].limit == 300 and config.name == "b"
    assert tree["name"] == "a"


def test_an_override_outside_a_list() -> None:
    with pytest.raises(ConfigError, match="'7' is no place in a list of 1"):
        load(None, ["channels.7=t850"], BASE)


def test_extends_merges_sections_and_replaces_another_kind(write: Callable[[str, str], Path]) -> None:
    write("base.yaml", "channels: [msl]\nassimilate: {ensemble: 8, seed: 1}\ntwin: {world: {kind: sqg, points: 32}}\n")
    top = write("top.yaml", "extends: base.yaml\nassimilate: {seed: 2}\ntwin: {world: {kind: lorenz96}}\n")
    config = load(top)
    assert (config.assimilate.ensemble, config.assimilate.seed, config.twin.world.kind) == (8, 2, "lorenz96")


def test_a_file_that_extends_itself(write: Callable[[str, str], Path]) -> None:
    write("a.yaml", "extends: b.yaml\n")
    with pytest.raises(ConfigError, match="extends itself"):
        load(write("b.yaml", "extends: a.yaml\n"))


def test_a_key_that_is_there_twice(write: Callable[[str, str], Path]) -> None:
    with pytest.raises(ConfigError, match="line 3: 'name' is there twice"):
        load(write("a.yaml", "name: a\nchannels: [msl]\nname: b\n"))


@pytest.mark.parametrize("text", ["", "just words", "- a\n- list\n"])
def test_a_file_without_a_configuration(text: str, write: Callable[[str, str], Path]) -> None:
    with pytest.raises(ConfigError, match="empty or not a mapping"):
        load(write("a.yaml", text))


def test_a_folder_or_binary_file_instead_of_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path, tmp_path / "b.yaml"):
        with pytest.raises(ConfigError, match="cannot be read"):
            load(path)


def test_environment_variables_are_put_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "/data")
    config = load(None, ["archive.sources.a.files=['${HERE}/x.nc', y.nc]"], BASE)
    assert config.archive.sources["a"].files == ("/data/x.nc", "y.nc")
    monkeypatch.setenv("HERE", "")
    with pytest.raises(InputMissing) as error:
        load(None, ["archive.sources.a.files=['${HERE}/x.nc']"], BASE)
    assert error.value.key == "archive.sources.a.files.0" and error.value.hint == "export HERE=/path/to/data"


def test_paths_start_at_the_folder_of_the_file(
    write: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("job/a.yaml", "channels: [msl]\nrun_dir: run\n")
    monkeypatch.chdir(tmp_path)
    config = load("job/a.yaml")
    monkeypatch.chdir("/")
    assert config.run == tmp_path / "job" / "run"
    assert config.path("data/x.nc") == tmp_path / "job" / "data" / "x.nc"
    assert config.path("/x.nc") == Path("/x.nc") and config.path("~/x.nc") == Path.home() / "x.nc"
    assert config.below_run("archive.zarr") == tmp_path / "job" / "run" / "archive.zarr"


def test_a_dump_for_another_folder_means_the_same_there(
    write: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("job/parent.yaml", "channels: [msl]\n")
    stations = "{file: s.csv, station_id: s, latitude: a, longitude: b}"
    synop = f"{{kind: table, files: [s/*.csv], station_id: s, time: t, stations: {stations}}}"
    tree = f"""\
extends: parent.yaml
run_dir: ../run
archive: {{sources: {{era: {{files: [era/*.nc, /whole.nc]}}}}}}
observations: {{sources: {{synop: {synop}}}}}
operators: {{t2m: {{kind: height, orography: z.nc}}}}
verify: {{truth: {{files: [truth.nc]}}}}
"""
    config = load(write("job/a.yaml", tree))
    assert dump(config) == dump(load(write("elsewhere/a.yaml", dump(config))))  # as it was
    there = load(write("run/deep/down/config.yaml", dump(config, tmp_path / "run" / "deep" / "down")))
    monkeypatch.chdir("/")
    assert there.run == config.run == tmp_path / "run"
    job = f"{tmp_path}/job"
    assert there.archive.sources["era"].files == (f"{job}/era/*.nc", "/whole.nc")
    source = there.observations.sources["synop"]
    assert isinstance(source, TableSource) and source.stations is not None
    assert source.files == (f"{job}/s/*.csv",) and source.stations.file == f"{job}/s.csv"
    assert there.operators["t2m"].orography == f"{job}/z.nc"
    assert there.verify.truth is not None and there.verify.truth.files == (f"{job}/truth.nc",)
    # A run that is moved takes its run_dir along.
    (tmp_path / "run").rename(tmp_path / "moved")
    assert load(tmp_path / "moved" / "deep" / "down" / "config.yaml").run == tmp_path / "moved"


def test_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(None, [], BASE).name = "other"  # type: ignore[misc]


def test_a_period_holds_its_ends_and_not_more() -> None:
    with pytest.raises(ValueError, match="ends before it starts"):
        Period(start="2001-01-02", end="2001-01-01")
    Period(start="2001-01-01", end="2001-01-01")


def test_schema_names_every_section() -> None:
    assert set(schema()["properties"]) == set(Config.model_fields)
    assert schema()["$defs"]["AssimilateConfig"]["properties"]["step"]["default"] == "6h"
