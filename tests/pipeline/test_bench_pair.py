"""A network of tiles by configuration: trained, saved, read back; the pair and the copy on the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_world import Ended, World, command

from stormda.assimilation.storm_prior import StormPrior
from stormda.nn.storm import Storm
from stormda.nn.tiles import Tiles
from stormda.nn.weights import load_weights

Run = Callable[..., Ended]
SHORT = ("train.steps=4", "train.validate_every=4", "train.members=0", "storm.background_modes=0")
TILES = ("storm.blocks=2", "storm.tile=2", "storm.halo=1", "storm.dilation=2")
PAIR = ("storm.tile=2", "storm.halo=0", "--samples", "3", "--tokens", "2", "--json")


@pytest.fixture
def pair(run: Run, world: World, tmp_path: Path) -> Run:
    """`bench pair` in a run folder of its own."""
    return lambda *given: command("bench", "pair", "-c", world.config, *given, f"run_dir={tmp_path / 'run'}")


def test_a_network_of_tiles_is_trained_saved_and_read_back(run: Run, tmp_path: Path) -> None:
    ended = run("train", *SHORT, *TILES)
    assert ended.code == 0, ended.err
    path = tmp_path / "run" / "weights.safetensors"
    assert {"tile": 2, "halo": 1, "dilation": 2}.items() <= load_weights(path).architecture.items()
    network = StormPrior.load(path).model.network
    assert isinstance(network, Storm) and network.pieces
    cuts = [part.tiles for name, part in network.named_modules() if name.endswith(".attention")]
    # 4 x 6 tokens without periodic axes; of the second block, two combs of 2 x 3 tokens along each axis.
    assert [cut.pairs // 24 for cut in cuts if isinstance(cut, Tiles)] == [16, 6]
    other = run("train", *SHORT, *TILES[:2], "storm.halo=0")
    assert other.code != 0 and "halo: 1 -> 0" in other.err  # the checkpoint is that of another network


def test_reach_reads_the_tiles_of_the_file(run: Run, tmp_path: Path) -> None:
    assert run("train", *SHORT, *TILES).code == 0
    file = tmp_path / "run" / "weights.safetensors"
    ended = command("bench", "reach", "--weights", file, "--tokens", 2, "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["rows"][0]["attention"] == "tiles of 2, halo 1, 4 latents"


def test_the_pair_differs_in_its_tiles_alone(pair: Run, tmp_path: Path) -> None:
    ended = pair(*PAIR, "--steps", "3", "--plain")
    assert ended.code == 0, ended.err
    result = json.loads(ended.out)
    # 4 x 6 tokens, a window of 2 x 2.
    assert result["tokens"] == 24 and result["seen"] == pytest.approx(4 / 24)
    parameters = result["parameters"]
    assert parameters["tiles"] == parameters["softmax"] > parameters["plain"]
    folder = tmp_path / "run" / "bench" / "pair" / "3"
    tiles, softmax = (load_weights(folder / name / "weights.safetensors") for name in ("tiles", "softmax"))
    cut = {"tile": 2, "halo": 0, "dilation": 1}
    assert dict(tiles.architecture) == dict(softmax.architecture) | cut
    assert tiles.card["steps"] == softmax.card["steps"] == 3
    assert set(result["comparisons"]) == {"softmax", "plain"}
    losses = result["comparisons"]["softmax"]["losses"]
    assert losses[0]["sigma"] is None and all(loss["ratio"] > 0 for loss in losses)
    assert json.loads((folder / "pair.json").read_text())["comparisons"] == result["comparisons"]
    before = (folder / "tiles" / "weights.safetensors").stat().st_mtime_ns
    again = pair(*PAIR, "--steps", "3", "--plain")
    assert again.code == 0 and json.loads(again.out)["comparisons"] == result["comparisons"]
    assert (folder / "tiles" / "weights.safetensors").stat().st_mtime_ns == before  # nothing is trained twice


def test_a_pair_needs_tiles_and_steps(pair: Run, tmp_path: Path) -> None:
    assert "storm.tile" in pair().err
    assert "--steps" in pair("storm.tile=2", "--steps", "0").err
    assert pair("storm.tile=2", "--dry-run").code == 0
    assert not (tmp_path / "run" / "bench").exists()


def test_the_copy_is_told_of_and_goes_on(tmp_path: Path) -> None:
    options = ("bench", "copy", "--side", 8, "--width", 16, "--latents", 2, "--steps", 8, "--out", tmp_path, "--json")
    ended = command(*options)
    assert ended.code == 0, ended.err
    result = json.loads(ended.out)
    assert result["seen"] == pytest.approx(1 / 16)
    rows = {row["attention"]: row for row in result["rows"]}
    assert [row["possible"] for row in rows.values()] == [True, True, False] and rows["softmax"]["finished"]
    # Knowing nothing of the value: 1, of 1024 values 1 +- 0.044, six of these.
    assert rows["tiles"]["error"] > 1 - 6 * 0.044 and rows["tiles"]["solved"] is None
    assert json.loads(command(*options).out)["rows"] == result["rows"]  # all are trained already
    for wrong in (("--side", 7), ("--pairs", 65), ("--steps", 0), ("--width", 18)):
        refused = command(*options[:-3], *wrong, "--out", tmp_path / "b")
        assert refused.code == 2 and "Traceback" not in refused.err
