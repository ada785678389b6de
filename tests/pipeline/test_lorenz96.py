"""The Lorenz-96 examples, made small: nature run, training, and the methods beside each other."""

import csv
import json
from pathlib import Path

import pytest
from tiny_world import command

EXAMPLES = Path(__file__).parents[2] / "examples" / "lorenz96"
SMALL = [
    "twin.world.dimension=8",
    "twin.train_steps=2000",
    "twin.network.count=8",
    "twin.cycles=4",
    "twin.spin_up=1",
    "gaussian.modes=8",
    "storm={width: 32, blocks: 2, heads: 2, latents: 2, modes: 8}",
    "train={steps: 80, batch: 16, warm_up: 10, learning_rate: 1.0e-2, average: 0.9, validate_every: 40, members: 0}",
    "assimilate={ensemble: 4, batch: 4}",
    "sampler.steps=4",
    "ensf.steps=10",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with an archive and weights."""
    folder = tmp_path_factory.mktemp("lorenz96") / "trained"
    for verb in ("ingest", "train"):
        ended = command(verb, "-c", EXAMPLES / "d40.yaml", *SMALL, f"run_dir={folder}")
        assert ended.code == 0, ended.err
    return folder


def test_the_loss_falls(trained: Path) -> None:
    with (trained / "training" / "log.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert len(losses) == 2 and losses[1] < 0.95 * losses[0]


@pytest.mark.parametrize("example", ["d40", "d40-arctan"])
def test_methods_run_beside_each_other(trained: Path, tmp_path: Path, example: str) -> None:
    weights = f"storm.weights={trained / 'weights.safetensors'}"
    ended = command("twin", "-c", EXAMPLES / f"{example}.yaml", *SMALL, weights, f"run_dir={tmp_path}", "--json")
    assert ended.code == 0, ended.err
    result = json.loads(ended.out)
    assert result["network"].endswith("arctan" if "arctan" in example else "identity")
    assert set(result["scores"]) == {"storm", "letkf", "ensf", "oi"}
    errors = {method: scores["rmse"]["value"] for method, scores in result["scores"].items()}
    assert all(0 < error < float("inf") for error in errors.values())
    if "arctan" not in example:  # Every variable is observed with an error of 1, and the climate's is 3.6.
        assert errors["storm"] < 1.5 and errors["oi"] < 1.5


@pytest.mark.parametrize(
    ("example", "network"),
    [
        ("d40", "40 points a channel, error 1, identity"),
        ("d40-arctan", "40 points a channel, error 0.05, arctan"),
        ("d100", "100 points a channel, error 1, identity"),
        ("d100-arctan", "100 points a channel, error 0.05, arctan"),
    ],
)
def test_examples_say_what_they_observe(tmp_path: Path, example: str, network: str) -> None:
    ended = command("twin", "-c", EXAMPLES / f"{example}.yaml", f"run_dir={tmp_path}", "--dry-run", "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["network"] == network and json.loads(ended.out)["scored"] == 200
