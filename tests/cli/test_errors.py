"""Snapshots of what a user reads after a mistake: the whole of stderr, and the exit code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "assimilate.ensembel=3",
            "unknown key 'ensembel', on the command line - key=assimilate.ensembel; hint: did you mean 'ensemble'?",
        ),
        (
            "assimilate.method=strom",
            "'strom' is not possible here, on the command line - key=assimilate.method; hint: did you mean 'storm'?",
        ),
        (
            "channels=[mls]",
            "unknown channel 'mls', on the command line - key=channels.0; hint: did you mean 'msl'? channels look like "
            "msl, t2m, z500, t850",
        ),
        (
            "archive.train={start: 2019-13-01, end: 2020-01-01}",
            "'2019-13-01' is not a time, on the command line - key=archive.train.start; "
            "hint: write it as 2019-02-17T12Z",
        ),
        (
            "observations.sources.synop={kind: tabel}",
            "unknown kind 'tabel', on the command line - key=observations.sources.synop; hint: did you mean 'table'?",
        ),
        (
            "observations.sources.synop={kind: vobs, fiels: [a]}",
            "unknown key 'fiels' (and 1 more problem), on the command line - key=observations.sources.synop.fiels; "
            "hint: did you mean 'files'?",
        ),
        (
            "assimilate.ensemble=1",
            "Input should be greater than or equal to 2 (it is 1), on the command line - key=assimilate.ensemble; "
            "hint: stormda config schema lists every key",
        ),
        ("nonsense", "'nonsense' is not an override; hint: write it as key.sub=value"),
    ],
)
def test_mistakes_in_a_configuration(
    override: str, line: str, stormda: Callable[..., Any], write: Callable[..., Path]
) -> None:
    write()
    ended = stormda("config", "validate", override)
    assert (ended.code, ended.out, ended.err) == (2, "", f"FATAL ERROR: {line}\n")


def test_a_mistake_in_the_file_is_not_that_of_the_command_line(
    stormda: Callable[..., Any], write: Callable[..., Path]
) -> None:
    write(assimilate={"ensemble": 1})
    line = "Input should be greater than or equal to 2 (it is 1) - file=config.yaml key=assimilate.ensemble; hint:"
    assert stormda("config", "validate", "name=other").err.startswith(f"FATAL ERROR: {line}")
    assert stormda("config", "validate", "assimilate.ensemble=3").code == 0


def test_no_configuration(stormda: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ended = stormda("ingest")
    line = "the configuration file does not exist - file=config.yaml; hint: stormda init NAME writes one"
    assert (ended.code, ended.err) == (2, f"FATAL ERROR: {line}\n")


def test_an_environment_variable_that_is_not_set(
    stormda: Callable[..., Any], write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STORMDA_DATA", raising=False)
    write(archive={"sources": {"era": {"files": ["${STORMDA_DATA}/x.nc"]}}})
    ended = stormda("ingest")
    line = (
        "the environment variable STORMDA_DATA is not set - file=config.yaml key=archive.sources.era.files.0; hint: "
        "export STORMDA_DATA=/path/to/data"
    )
    assert (ended.code, ended.err) == (3, f"FATAL ERROR: {line}\n")


def test_not_yaml(stormda: Callable[..., Any], write: Callable[..., Path]) -> None:
    write().write_text("channels: [msl\nname: x\n")
    ended = stormda("config", "show")
    assert ended.code == 2
    assert ended.err.startswith("FATAL ERROR: not valid YAML in line 2: ") and "file=config.yaml" in ended.err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["asimilate"], "No such command 'asimilate'."),
        (["ingest", "--cycel", "x"], "No such option: --cycel"),
        (["inspect"], "Missing argument 'PATH'"),
        (["assimilate"], "no analysis time is given - key=--cycle; hint: --cycle 2019-02-17T12Z, or --from and --to"),
        (["assimilate", "--from", "2019-02-17T12Z"], "give --cycle, or both --from and --to"),
        (["assimilate", "--cycle", "noon"], "'noon' is not a time; hint: write it as 2019-02-17T12Z"),
        (["assimilate", "--from", "2019-02-17", "--to", "2019-02-16"], "--to 2019-02-16 is before --from 2019-02-17"),
        (["init", "x", "--template", "erope"], "there is no template 'erope' - key=--template; hint: one of europe"),
    ],
)
def test_mistakes_on_the_command_line(
    arguments: list[str], line: str, stormda: Callable[..., Any], write: Callable[..., Path]
) -> None:
    write()
    ended = stormda(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"FATAL ERROR: {line.rstrip('.')}") and ended.err.count("\n") == 1


def test_a_file_that_is_missing(stormda: Callable[..., Any], write: Callable[..., Path], tmp_path: Path) -> None:
    write(archive={"sources": {"era": {"files": ["no.nc"]}}})
    ended = stormda("ingest", "-q")
    path = tmp_path / "no.nc"
    line = f"the file does not exist - file={path} key=archive.sources.era.files"
    assert (ended.code, ended.err) == (3, f"FATAL ERROR: {line}\n")


def test_nothing_to_inspect(stormda: Callable[..., Any], tmp_path: Path) -> None:
    ended = stormda("inspect", tmp_path / "nothing")
    assert ended.code == 3 and ended.err.startswith("FATAL ERROR: there is no such file or folder - file=")
