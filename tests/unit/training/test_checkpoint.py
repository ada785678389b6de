"""A checkpoint that travels in parts: small files, all that a training needs, moments rounded."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from stormda.errors import CheckpointError
from stormda.training.checkpoint import join_checkpoint, read_checkpoint, split_checkpoint
from stormda.training.loop import Outcome, Settings, fit

SETTINGS = Settings(steps=60, learning_rate=1e-2, warm_up=5, average=0.9, validate_every=10, checkpoint_every=1e9)


def objective(model: nn.Module, step: int) -> Tensor:
    x = torch.randn(16, 3, generator=torch.Generator().manual_seed(step))
    return (model(x) - x.prod(dim=1, keepdim=True)).square().mean()


def run(folder: Path, steps: int = 10**9) -> Outcome:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    left = iter(range(steps - 1, -1, -1))
    return fit(model, objective, lambda m: {"loss": float(objective(m, 10_000))}, SETTINGS, folder, job="job",
               stop=lambda: next(left) == 0)  # fmt: skip


def test_parts_go_on_as_the_whole_does_but_for_rounding(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    run(tmp_path / "first", 33)
    parts = split_checkpoint(tmp_path / "first" / "checkpoint.pt", tmp_path, 4000)
    assert len(parts) > 1 and all(p.stat().st_size <= 4000 for p in parts)
    assert join_checkpoint(tmp_path, tmp_path / "second" / "checkpoint.pt")
    rest = run(tmp_path / "second")
    losses = [[row["loss"] for row in outcome.curve] for outcome in (whole, rest)]
    assert losses[0][:3] == losses[1][:3] and losses[0] != losses[1]
    # bfloat16 keeps 8 bits: 0.4 % of a moment, and of the few steps that remember it.
    assert losses[1] == pytest.approx(losses[0], rel=0.01)


def test_fewer_parts_replace_more_and_a_lost_part_is_noticed(tmp_path: Path) -> None:
    run(tmp_path, 5)
    many = split_checkpoint(tmp_path / "checkpoint.pt", tmp_path, 2000)
    few = split_checkpoint(tmp_path / "checkpoint.pt", tmp_path, 5000)
    assert len(few) < len(many) and sorted(tmp_path.glob("checkpoint.pt.*")) == few
    few[-1].unlink()
    join_checkpoint(tmp_path, tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(tmp_path / "checkpoint.pt", "job")


def test_nothing_to_join(tmp_path: Path) -> None:
    assert not join_checkpoint(tmp_path, tmp_path / "checkpoint.pt") and not list(tmp_path.iterdir())
