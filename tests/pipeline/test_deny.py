"""What a source is worth: without the good one scores get worse, without the spoilt one better."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny_world import FIRST, Ended, World, command, configuration, reports, stamp

PERIOD = ("--from", stamp(FIRST), "--to", stamp(FIRST + 2))
ONE = ("quality.withhold.seeds=0", "verify.report=false")


@pytest.fixture(scope="module")
def two(world: World, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Ended]:
    """A run of three cycles with two sources: one of two stations in three, and the others 6 K too warm."""
    here = tmp_path_factory.mktemp("two")
    table = reports(world.truth, range(FIRST, FIRST + 3)).reset_index(drop=True)
    tree = configuration()
    (name,) = tree["observations"]["sources"]
    source = tree["observations"]["sources"][name]
    station = source["station_id"]
    spoilt = table[station].str[-1].isin(list("258"))
    temperature = source["variables"]["t2m"]["column"]
    table.loc[spoilt, temperature] += 6.0
    table[~spoilt].to_csv(here / "good.csv", index=False)
    table[spoilt].to_csv(here / "warm.csv", index=False)
    tree["observations"]["sources"] = {n: source | {"files": [str(here / f"{n}.csv")]} for n in ("good", "warm")}
    tree["archive"]["sources"]["era"]["files"] = [str(world.folder / "archive.nc")]
    (here / "config.yaml").write_text(yaml.safe_dump(tree))

    def run(verb: str, *arguments: object) -> Ended:
        return command(verb, "-c", here / "config.yaml", *ONE, *arguments)

    for words in (("ingest",), ("assimilate", *PERIOD)):
        ended = run(*words)
        assert ended.code == 0, ended.err
    return run


def _changes(ended: Ended) -> dict[tuple[str, str, str], float]:
    assert ended.code == 0, ended.err
    tree = json.loads(ended.out)
    return {(r["target"], r["variable"], r["side"]): r["rmse_change"]["value"] for r in tree["rows"]}


def test_a_good_source_helps_and_a_spoilt_one_does_not(two: Callable[..., Ended]) -> None:
    good, warm = (_changes(two("verify", *PERIOD, "--deny", name, "--json")) for name in ("good", "warm"))
    # Against the truth: 40 stations of 1 K against a climate of 5 K, and a third of all reports 6 K too warm.
    assert good["truth", "t2m", "analysis"] > 10 and good["truth", "msl", "analysis"] > 10
    assert warm["truth", "t2m", "analysis"] < -5
    # At the first time both runs come from the same past, so the background differs from the second time on.
    assert good["truth", "t2m", "background"] > 0 > warm["truth", "t2m", "background"]
    # Withheld stations of the other source alone are compared, which both runs have.
    assert ("withheld", "t2m", "analysis") in good and ("withheld", "t2m", "analysis") in warm


def test_what_was_made_is_not_made_again(two: Callable[..., Ended]) -> None:
    first = two("verify", *PERIOD, "--deny", "warm", "--json")
    denied = Path(json.loads(first.out)["files"][0]).parents[3] / "denied" / "without-warm" / "analyses" / "gaussian"
    made = {p.name: p.stat().st_ino for p in denied.iterdir()}
    assert len(made) == 3
    again = two("verify", *PERIOD, "--deny", "warm", "--json", "verify.report=true")
    scores, page = map(Path, json.loads(again.out)["files"])
    assert page == scores.with_name("report.html") and "What the source warm is worth" in page.read_text()
    assert page.read_text().count("<img ") == 2  # against the truth, and against withheld observations
    assert {p.name: p.stat().st_ino for p in denied.iterdir()} == made
    assert json.loads(again.out)["rows"] == json.loads(first.out)["rows"]
    assert two("assimilate", "--cycle", stamp(FIRST + 2)).code == 0  # with the source it is made anew
    assert two("verify", *PERIOD, "--deny", "warm", "--json").code == 0
    now = {p.name: p.stat().st_ino for p in denied.iterdir()}
    assert [name for name in sorted(made) if now[name] != made[name]] == [sorted(made)[2]]


def test_a_source_that_is_not_there_and_the_only_one(two: Callable[..., Ended], run: Callable[..., Ended]) -> None:
    ended = two("verify", "--deny", "wram")
    assert ended.code == 2 and "no source 'wram'" in ended.err and "good, warm" in ended.err
    ended = run("verify", "--deny", "stations")
    assert ended.code == 2 and "is the only source" in ended.err
    ended = two("verify", "--cycle", stamp(FIRST + 3), "--deny", "warm")
    assert ended.code == 3 and "no analysis with the source" in ended.err


def test_another_ensemble_is_no_comparison(two: Callable[..., Ended]) -> None:
    """The worth of a source must not hold that of more members."""
    ended = two("verify", *PERIOD, "--deny", "warm", "assimilate.ensemble=7")
    assert ended.code == 2 and "key=assimilate.ensemble" in ended.err and "and this is to be one with 7" in ended.err


def test_the_period_is_that_of_the_table(two: Callable[..., Ended]) -> None:
    ended = two("verify", "--cycle", stamp(FIRST + 1), "--deny", "good")
    assert ended.code == 0 and "Without 'good'" in ended.out and "1 cycle (" in ended.out
    assert np.char.count(ended.out, "analysis") >= 2
