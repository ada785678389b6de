"""A command hands what was typed to its stage and prints what comes back."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stormda.cli.command import Times
from stormda.errors import ConfigError
from stormda.pipeline.findings import Finding, Findings, Status


@dataclass(frozen=True)
class Seen:
    """What a stage was called with."""

    arguments: tuple[Any, ...] = ()
    named: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    peak_mib: int = 0
    report: str = ""


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[Seen]]:
    """`stage("ingest")` puts a recorder in the place of `stormda.pipeline.ingest.ingest`."""

    def put(name: str) -> list[Seen]:
        calls: list[Seen] = []

        def record(*arguments: Any, **named: Any) -> Seen:
            calls.append(Seen(arguments, named))
            return Seen()

        monkeypatch.setattr(f"stormda.pipeline.{name}.{name}", record)
        return calls

    return put


def times(*texts: str) -> list[np.datetime64]:
    return [np.datetime64(t, "s") for t in texts]


def test_ingest(stage: Callable[[str], list[Seen]], stormda: Callable[..., Any], write: Callable[..., Path]) -> None:
    calls = stage("ingest")
    write()
    assert stormda("ingest", "--source", "synop", "--source", "temp", "--dry-run", "archive.step=12h").code == 0
    config, sources = calls[0].arguments
    assert sources == ["synop", "temp"] and calls[0].named["dry_run"] is True
    assert config.archive.step == np.timedelta64(12, "h")
    stormda("ingest")
    assert calls[1].arguments[1] is None and calls[1].named["dry_run"] is False


def test_assimilate(
    stage: Callable[[str], list[Seen]], stormda: Callable[..., Any], write: Callable[..., Path]
) -> None:
    calls = stage("assimilate")
    write()
    command = "assimilate --ensemble 8 --method oi --cycle 2019-02-17T12Z --cycle 2019-02-18T12Z assimilate.seed=3"
    assert stormda(*command.split()).code == 0
    config, cycles = calls[0].arguments
    assert (config.assimilate.ensemble, config.assimilate.method, config.assimilate.seed) == (8, "oi", 3)
    assert cycles == times("2019-02-17T12", "2019-02-18T12")
    stormda("assimilate", "--from", "2019-02-17T00Z", "--to", "2019-02-17T12Z")
    assert calls[1].arguments[1] == times("2019-02-17T00", "2019-02-17T06", "2019-02-17T12")


def test_train(stage: Callable[[str], list[Seen]], stormda: Callable[..., Any], write: Callable[..., Path]) -> None:
    pytest.importorskip("stormda.pipeline.train")
    calls = stage("train")
    write()
    assert stormda("train", "train.minutes=1").code == 0
    assert calls[0].arguments[0].train.minutes == 1
    assert calls[0].named["stop"]() is False


def test_forecast(stage: Callable[[str], list[Seen]], stormda: Callable[..., Any], write: Callable[..., Path]) -> None:
    calls = stage("forecast")
    write()
    assert stormda("forecast", "--cycle", "2019-02-17T12Z", "--lead", "72h", "--split", "4").code == 0
    assert calls[0].arguments[1] == times("2019-02-17T12")[0]
    assert calls[0].named["lead"] == np.timedelta64(72, "h") and calls[0].named["split"] == 4
    assert stormda("forecast", "--cycle", "2019-02-17T12Z", "--lead", "far").code == 2


def test_verify(stage: Callable[[str], list[Seen]], stormda: Callable[..., Any], write: Callable[..., Path]) -> None:
    calls = stage("verify")
    write()
    assert stormda("verify", "--method", "storm").code == 0
    config, cycles = calls[0].arguments
    assert config.assimilate.method == "storm" and cycles is None


def test_twin_needs_no_file_for_a_simulated_world(
    stage: Callable[[str], list[Seen]], stormda: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    calls = stage("twin")
    command = "twin --world lorenz96 --method kf --method oi --ensemble 20 --cycles 50 twin.network.count=8"
    assert stormda(*command.split()).code == 0
    (config,) = calls[0].arguments
    assert config.twin.world.kind == "lorenz96" and config.twin.methods == ("kf", "oi")
    assert (config.assimilate.ensemble, config.twin.cycles, config.twin.network.count) == (20, 50, 8)
    assert config.run == tmp_path / "runs" / "twin-lorenz96"
    assert stormda("twin", "--world", "archive").code == 2


def test_demo(stage: Callable[[str], list[Seen]], stormda: Callable[..., Any], tmp_path: Path) -> None:
    calls = stage("demo")
    ended = stormda("demo", tmp_path / "world", "--json")
    assert ended.code == 0 and calls[0].arguments == (tmp_path / "world",)
    assert json.loads(ended.out)["report"] == ""


def test_init_makes_a_run_once(stormda: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ended = stormda("init", "northern-sea")
    assert ended.code == 0 and "stormda ingest" in ended.out
    monkeypatch.chdir(tmp_path / "northern-sea")
    assert json.loads(stormda("config", "show", "--json").out)["name"] == "northern-sea"
    again = stormda("init", tmp_path / "northern-sea")
    assert again.code == 2 and "there is a configuration already" in again.err
    assert stormda("init", "-").code == 2


def test_config_show_is_a_configuration(stormda: Callable[..., Any], write: Callable[..., Path]) -> None:
    path = write()
    shown = stormda("config", "show", "sampler.steps=32")
    path.write_text(shown.out)
    assert stormda("config", "show").out == shown.out


def test_config_validate_and_schema(stormda: Callable[..., Any], write: Callable[..., Path]) -> None:
    write(name="here")
    assert json.loads(stormda("config", "validate", "--json").out)["name"] == "here"
    assert "assimilate" in json.loads(stormda("config", "schema").out)["properties"]


@pytest.mark.parametrize(
    ("status", "code"), [(Status.OK, 0), (Status.NOTE, 0), (Status.MISSING, 3), (Status.BROKEN, 1)]
)
def test_check_prints_and_then_says_what_is_wrong(
    status: Status, code: int, stormda: Callable[..., Any], write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = Findings("title", (Finding(status, "weights", "not there", "stormda train"),))
    monkeypatch.setattr("stormda.pipeline.check.check", lambda config, cycles: findings)
    write()
    ended = stormda("check", "--json")
    assert ended.code == code
    assert json.loads(ended.out)["findings"][0]["status"] == status.value
    wrong = f"FATAL ERROR: {status.value}: weights: not there; hint: stormda train\n"
    assert ended.err == (wrong if code else "")


def test_times_of_a_period_are_both_ends_and_the_steps_between() -> None:
    day = np.timedelta64(24, "h")
    period = Times(first="2019-02-26", last="2019-02-28T23Z")
    assert period.every(day) == times("2019-02-26", "2019-02-27", "2019-02-28")
    assert Times().every(day) == []
    with pytest.raises(ConfigError):
        Times(["2019-02-26"], "2019-02-26", "2019-02-27").every(day)


def test_bench_takes_numbers_one_after_another(stormda: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Seen] = []

    def record(*arguments: Any, **named: Any) -> Seen:
        calls.append(Seen(arguments, named))
        return Seen()

    monkeypatch.setattr("stormda.pipeline.bench.attention", record)
    assert stormda(*"bench attention --preset nano --tokens 4096 16384 65536 --tile 4 --json".split()).code == 0
    assert calls[0].arguments == ("nano", [4096, 16384, 65536]) and calls[0].named["tile"] == 4
    assert stormda("bench", "attention", "--tokens", "8", "--tokens", "16", "--dry-run").code == 0
    assert calls[1].arguments[1] == [8, 16] and calls[1].named["dry_run"] is True
    assert stormda("bench", "attention", "--tokens", "many").code == 2
