"""Killed at any moment: only complete products are visible, and the same command finishes as if nothing had happened.

The commands run in processes of their own, forked from a server that has imported everything, so that a kill hits the
work and not the imports.
"""

import json
import multiprocessing
import os
import re
import shutil
import signal
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_world import FIRST, World, child, hidden, stamp

from stormda.nn.weights import load_weights
from stormda.store.analysis import read_analysis
from stormda.store.archive import Archive
from stormda.store.feedback import read_feedback
from stormda.store.observations import ObservationStore
from stormda.time import Window

KILLS = 6
IMPORTED = ["tiny_world", *(f"stormda.pipeline.{name}" for name in ("ingest", "assimilate", "train"))]
IMPORTED += ["torch._dynamo", "matplotlib.pyplot"]  # which the work imports late
COMPLETE = {"analysis.nc", "background.nc", "feedback.nc", "provenance.json", "config.yaml"}
CYCLING = ("assimilate", "--from", stamp(FIRST), "--to", stamp(FIRST + 1))
TRAINING = ("train", "train.steps=40", "train.validate_every=10", "train.checkpoint_every=0s")
CONTEXT = multiprocessing.get_context("forkserver")


class Commands:
    """Starts commands on a run folder."""

    def __init__(self, world: World, run: Path) -> None:
        CONTEXT.set_forkserver_preload(IMPORTED)
        self.world, self.run, self.talk = world, run, run.parent / "talk"

    def start(self, verb: str, *arguments: str) -> BaseProcess:
        """A running command."""
        texts = [verb, "-c", str(self.world.config), *arguments, f"run_dir={self.run}"]
        process = CONTEXT.Process(target=child, args=(texts, self.talk))
        process.start()
        return process

    def finish(self, verb: str, *arguments: str) -> float:
        """Run a command to its good end; returns its seconds."""
        begin, process = monotonic(), self.start(verb, *arguments)
        process.join(60)
        assert process.exitcode == 0, self.talk.read_text()
        return monotonic() - begin

    def kill(self, after: float, verb: str, *arguments: str) -> None:
        """Start a command and kill it after some seconds."""
        process = self.start(verb, *arguments)
        process.join(after)
        process.kill()
        process.join(10)
        assert process.exitcode in (0, -signal.SIGKILL), self.talk.read_text()


@pytest.fixture
def commands(world: World, tmp_path: Path) -> Commands:
    """Commands on a run folder in which everything is ingested."""
    shutil.copytree(world.folder / "run", tmp_path / "run")
    return Commands(world, tmp_path / "run")


def _observations(run: Path) -> Any:
    window = Window(np.datetime64("2019-01-01", "s"), np.datetime64("2020-01-01", "s"))
    rows = ObservationStore(run / "observations").read(window)
    return rows["value"]


def _chunks(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in (run / "archive.zarr").rglob("c/*") if p.is_file()}


def _moments(seconds: float, seed: int) -> list[float]:
    """When to kill: a moment in each of KILLS equal parts of the run, in random order."""
    random = np.random.default_rng(seed)
    return list(random.permutation((np.arange(KILLS) + random.uniform(size=KILLS)) / KILLS * seconds))


def test_ingest(world: World, tmp_path: Path) -> None:
    commands = Commands(world, tmp_path / "run")
    commands.finish("ingest", "--dry-run")  # the server imports
    seconds = commands.finish("ingest")
    for name in ("archive.zarr", "observations"):
        shutil.rmtree(tmp_path / "run" / name)
    wanted, complete = _chunks(world.folder / "run"), _observations(world.folder / "run")
    for after in _moments(seconds, 1):
        commands.kill(after, "ingest")
        if (tmp_path / "run" / "archive.zarr").exists():
            archive = Archive.open(tmp_path / "run" / "archive.zarr")
            assert np.isfinite(archive.read(slice(None)).values).all() and _chunks(tmp_path / "run") == wanted
        assert len(_observations(tmp_path / "run")) in (0, len(complete))
    commands.finish("ingest")
    assert _chunks(tmp_path / "run") == wanted and hidden(tmp_path) == set()
    np.testing.assert_array_equal(_observations(tmp_path / "run"), complete)


def test_assimilate(commands: Commands, analyses: Path) -> None:
    seconds = commands.finish(*CYCLING)
    shutil.rmtree(commands.run / "analyses")
    root, wanted = commands.run / "analyses" / "gaussian", analyses / "analyses" / "gaussian"

    def check() -> int:
        folders = [p for p in root.iterdir() if not p.name.startswith(".")] if root.exists() else []
        for folder in folders:
            assert {p.name for p in folder.iterdir()} >= COMPLETE
            json.loads((folder / "provenance.json").read_text())
            read_feedback(folder / "feedback.nc")
            for name in ("analysis.nc", "background.nc"):
                mine, reference = (read_analysis(where / folder.name / name) for where in (root, wanted))
                np.testing.assert_array_equal(mine.state.values, reference.state.values)
                np.testing.assert_array_equal(mine.spread, reference.spread)
        return len(folders)

    for after in _moments(seconds, 2):
        commands.kill(after, *CYCLING)
        check()
    commands.finish(*CYCLING)
    assert check() == 4 and hidden(commands.run) == set()


def test_train(commands: Commands) -> None:
    """A killed training goes on from its last checkpoint, to the same weights, bit by bit."""
    weights, folder = commands.run / "weights.safetensors", commands.run / "training"
    seconds = commands.finish(*TRAINING)
    wanted = load_file(weights)
    weights.unlink()
    shutil.rmtree(folder)
    steps = []
    for after in _moments(seconds, 3):  # It goes on each time.
        commands.kill(after, *TRAINING)
        if weights.exists():
            load_weights(weights)
        if (folder / "checkpoint.pt").exists():
            steps.append(torch.load(folder / "checkpoint.pt", weights_only=True)["state"]["step"])
    assert steps and steps == sorted(steps)
    commands.finish(*TRAINING)
    found = load_file(weights)
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert hidden(commands.run) == set()


# --- signals ---------------------------------------------------------------------------------------------------------


def _until(ready: Callable[[], object], process: BaseProcess) -> None:
    limit = monotonic() + 30
    while not ready():
        assert process.is_alive() and monotonic() < limit
        sleep(0.002)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("verb", ["ingest", "assimilate", "train"])
def test_a_signal_ends_in_one_line(commands: Commands, verb: str, number: signal.Signals, code: int) -> None:
    run = commands.run
    long, begun = {
        "ingest": (("ingest",), lambda: any(run.glob(".archive*"))),
        "assimilate": (
            ("assimilate", "--from", stamp(FIRST), "--to", stamp(FIRST + 30)),
            lambda: (run / "analyses" / "gaussian").exists() and any((run / "analyses" / "gaussian").iterdir()),
        ),
        "train": (("train", "train.steps=2000", "train.checkpoint_every=0s"), (run / "training/checkpoint.pt").exists),
    }[verb]
    process = commands.start(*long)
    _until(begun, process)
    os.kill(process.pid or 0, number)
    process.join(20)
    said = commands.talk.read_text()
    assert process.exitcode == code, said
    assert said.count("FATAL ERROR") == 1 and re.search(r"(?m)^FATAL ERROR: interrupted by SIG(INT|TERM); .*$", said)
    assert "Traceback" not in said and not re.search(r"(?m)^\S*Error", said)
    assert hidden(run) == set()
