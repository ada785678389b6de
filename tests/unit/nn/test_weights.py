"""A weights file gives back what went in, and a bad one is told apart from a good one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stormda.errors import CheckpointError, InputMissing
from stormda.grid import Grid
from stormda.nn.weights import Weights, load_weights, save_weights
from stormda.normaliser import Normaliser
from stormda.variables import Channel


def weights() -> Weights:
    channels = (Channel.parse("msl"), Channel.parse("t850"))
    rng = np.random.default_rng(0)
    normaliser = Normaliser(channels, rng.normal(size=(3, 2, 4, 5)), np.array([7.0, 3.0]), 1, 0)
    grid = Grid(np.linspace(50, 30, 4), np.arange(5.0), periodic=(False, True))
    tensors = {"a": torch.randn(3, 2), "b.c": torch.tensor(2.0)}
    return Weights(tensors, normaliser, grid, np.timedelta64(21600, "s"), {"width": 16}, (0.02, 60.0), {"scores": [1]})


def test_round_trip(tmp_path: Path) -> None:
    before, path = weights(), tmp_path / "w.safetensors"
    save_weights(path, before)
    after = load_weights(path)
    assert after.channels == before.channels and after.grid.same(before.grid)
    assert after.grid.periodic == (False, True) and not after.grid.plane
    assert all(torch.equal(after.tensors[name], value) for name, value in before.tensors.items())
    assert after.normaliser.coefficients.tolist() == before.normaliser.coefficients.tolist()
    assert (after.step, after.architecture, after.sigma, after.card) == (
        before.step, before.architecture, before.sigma, before.card)  # fmt: skip


def test_a_tensor_that_begins_another_is_stored_once(tmp_path: Path) -> None:
    path, modes = tmp_path / "w.safetensors", torch.randn(40, 1000)
    other = torch.randn(30, 1000)
    given = {
        "modes": modes,
        "first": modes[:20].clone(),
        "all": modes.clone(),
        "other": other,
        "double": modes.double(),
    }
    save_weights(path, replace(weights(), tensors=given))
    after = load_weights(path).tensors
    assert set(after) == set(given) and all(torch.equal(after[name], value) for name, value in given.items())
    # what is left: modes and other in four bytes a number, double in eight; everything else is below 4 kB
    assert path.stat().st_size < 4 * 40_000 + 4 * 30_000 + 8 * 40_000 + 8_000


def test_missing_damaged_or_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(InputMissing, match="weights"):
        load_weights(path)
    save_weights(path, weights())
    whole = path.read_bytes()
    for bad in (b"", whole[: len(whole) // 2], whole.replace(b"climatology_coefficients", b"climatology_coefficientz")):
        path.write_bytes(bad)
        with pytest.raises(CheckpointError) as error:
            load_weights(path)
        assert error.value.file == str(path) and error.value.hint
    from safetensors.torch import save_file

    save_file({"x": torch.ones(2)}, path)
    with pytest.raises(CheckpointError):
        load_weights(path)
