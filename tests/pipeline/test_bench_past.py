"""`stormda bench past` as people call it."""

import json
import shutil
from pathlib import Path

import pytest
from tiny_world import FIRST, Ended, World, command, stamp


@pytest.fixture
def folder(world: World, tmp_path: Path) -> Path:
    shutil.copytree(world.folder / "run", tmp_path / "run")
    return tmp_path / "run"


def bench(world: World, folder: Path, *arguments: object) -> Ended:
    start = f"twin.start={stamp(FIRST)}", "twin.cycles=20", "twin.spin_up=0"
    return command("bench", "past", "-c", world.config, *start, *arguments, f"run_dir={folder}")


def test_curves_are_printed_kept_and_drawn(world: World, folder: Path) -> None:
    few = "--times", 3, "--cycles", 2, "--after", 1, "--starts", 1, "--ensemble", 4
    ended = bench(world, folder, "--method", "gaussian", "--curve", "told", "--curve", "cycles", *few, "--json")
    assert ended.code == 0, ended.err
    printed = json.loads(ended.out)
    found = [(row["curve"], row["x"]) for row in printed["rows"]]
    told = [("told", x) for x in (0.25, 0.5, 1.0, 2.0, 4.0)]
    assert found == [*told, ("cold start", 1.0), ("cold start", 2.0), ("no gap", 1.0), ("gap", 1.0)]
    assert printed["unit"] == "climatological sd" and printed["members"] == 4
    assert [row["cases"] for row in printed["rows"]] == [3] * 5 + [1] * 4
    kept = json.loads((folder / "bench" / "past.json").read_text())
    assert kept["rows"] == printed["rows"] and kept["provenance"]
    assert (folder / "bench" / "past.png").read_bytes().startswith(b"\x89PNG")
    table = bench(world, folder, "--method", "kf", "--curve", "age", "--times", 2, "--ensemble", 4)
    assert table.code == 0 and "CRPS / climatological" in table.out and "age" in table.out


def test_nothing_is_written_in_a_dry_run(world: World, folder: Path) -> None:
    ended = bench(world, folder, "--method", "gaussian", "--times", 3, "--cycles", 3, "--dry-run")
    assert ended.code == 0 and not (folder / "bench").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--method", "oi"], 2, "'oi' has no past"),
        (["--curve", "warmth"], 2, "no curve 'warmth'"),
        (["--error", "1"], 2, "not between 0 and 1"),
        (["--error", "nan"], 2, "not between 0 and 1"),
        (["--times", "0"], 2, "--times must be at least 1"),
        (["--after", "0"], 2, "--after must be at least 1"),
        (["--times", "20"], 2, "do not fit into 20 cycles"),
        (["--cycles", "14", "--times", "2"], 2, "do not fit into 20"),
        (["--ensemble", "1"], 2, "ensemble"),
        (["twin.start=null", "--times", "2", "--cycles", "2"], 2, "first analysis time"),
        (["--method", "storm"], 3, "weights of the STORM prior are not there"),
    ],
)
def test_what_is_wrong_is_said(world: World, folder: Path, arguments: list[str], code: int, said: str) -> None:
    method = [] if "--method" in arguments else ["--method", "gaussian"]
    ended = bench(world, folder, *method, *arguments)
    assert ended.code == code and said in ended.err and "Traceback" not in ended.err
    assert not (folder / "bench").exists()
