"""`torchrun -m stormda train`: two processes train one network, to the curve of one; one of them talks and writes."""

import csv
import json
import multiprocessing
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_world import Ended, World, command

SHORT = ("train.steps=6", "train.validate_every=3", "train.members=0", "--json")


def _child(words: dict[str, str], arguments: tuple[object, ...], answers: Any) -> None:
    torch.set_num_threads(1)  # Those of the parent are not there any more.
    os.environ.update(words)
    answers.put((int(words["RANK"]), command(*arguments)))


def two(*arguments: object) -> list[Ended]:
    """How a command ended in each of two processes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    meeting = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    words = [meeting | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    children = [context.Process(target=_child, args=(each, arguments, answers), daemon=True) for each in words]
    for child in children:
        child.start()
    found = sorted(answers.get(timeout=240) for _ in children)
    for child in children:
        child.join(30)
    return [ended for _, ended in found]


def losses(run: Path) -> list[tuple[float, float]]:
    with (run / "training" / "log.csv").open() as file:
        return [(float(row["train"]), float(row["loss"])) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def alone(world: World, few_draws: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Path]:
    """How the training of one process ended, and its run folder."""
    run = shutil.copytree(world.folder / "run", tmp_path_factory.mktemp("alone") / "run")
    return command("train", "-c", world.config, *SHORT, f"run_dir={run}"), run


@pytest.mark.parametrize("shard", [1, 2])
def test_two_processes_train_as_one_does(world: World, alone: tuple[Ended, Path], tmp_path: Path, shard: int) -> None:
    one, runs = alone[0], [alone[1], shutil.copytree(world.folder / "run", tmp_path / "two")]
    first, second = two("train", "-c", world.config, *SHORT, f"run_dir={runs[1]}", f"parallel.shard={shard}")
    assert (one.code, first.code, second.code) == (0, 0, 0), first.err + second.err
    assert not second.out  # the first alone talks
    answers = [json.loads(ended.out) for ended in (one, first)]
    # Sums in another order, over six steps: 1e-7 of a gradient.
    assert answers[1]["scores"] == pytest.approx(answers[0]["scores"], rel=1e-4)
    assert losses(runs[1]) == [pytest.approx(row, rel=1e-4) for row in losses(runs[0])]
    assert (runs[1] / "weights.safetensors").stat().st_size > 0 and (runs[1] / "training" / "report.html").exists()
    again = command("train", "-c", world.config, *SHORT, f"run_dir={runs[1]}")  # nothing is left to do
    assert again.code == 0 and json.loads(again.out)["steps"] == 6


def test_fields_are_not_divided_and_samples_must_suffice(world: World, tmp_path: Path) -> None:
    run = shutil.copytree(world.folder / "run", tmp_path / "run")
    tiles = command("train", "-c", world.config, *SHORT, f"run_dir={run}", "parallel.tile=2")
    assert tiles.code == 2 and "parallel.tile" in tiles.err
    few = two("train", "-c", world.config, *SHORT, f"run_dir={run}", "train.batch=1")
    assert few[0].code == 2 and "train.batch" in few[0].err
