"""The model of an ensemble filter may be another than nature: drifts, and jumps of all members at once."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stormda.assimilation.ensemble_prior import EnsemblePrior
from stormda.assimilation.memory import pasts_of
from stormda.config import Config, load
from stormda.nature.lorenz96 import Lorenz96
from stormda.nature.sqg import SIX_HOURS, SQG
from stormda.pipeline import build
from stormda.pipeline.cycling import fingerprint
from stormda.pipeline.worlds import EPOCH, simulated_archive, world_config

TIME = EPOCH + np.timedelta64(10, "D")


def configured(folder: Path, world: str, **model: float) -> Config:
    tree = {
        "run_dir": str(folder / world),
        "channels": ["x0"],
        "archive": {"plane": True, "periodic": [world == "sqg", True]},
        "twin": {"world": {"kind": world}, "train_steps": 12, "model": model},
    }
    if world == "sqg":
        tree["twin"] |= {"world": {"kind": "sqg", "points": 16}}  # type: ignore[operator]
    config = world_config(load(None, base=tree))
    simulated_archive(config, lambda *_: None)
    return config


def forecast(config: Config) -> tuple[torch.Tensor, torch.Tensor]:
    """Physical members before and after a step."""
    prior = build.prior(config, "letkf")
    assert isinstance(prior, EnsemblePrior)
    first = prior.climate(range(3), 0)
    after = prior.forecast(pasts_of([first]), TIME, range(3), 0)
    return prior.normaliser.decoder(TIME - prior.step)(first), prior.normaliser.decoder(TIME)(after)


def test_lorenz_with_another_forcing(tmp_path: Path) -> None:
    before, after = forecast(configured(tmp_path, "lorenz96", forcing=1.5))
    # Standardised and back in single precision: 1e-6 of values of size 10.
    torch.testing.assert_close(after, Lorenz96(forcing=9.5).step(before), atol=1e-4, rtol=0)


def test_sqg_with_slow_relaxation_and_friction(tmp_path: Path) -> None:
    before, after = forecast(configured(tmp_path, "sqg", relaxation=2, friction=100))
    nature = SQG(points=16)
    wrong = SQG(points=16, relaxation=2 * nature.relaxation, friction=100)
    torch.testing.assert_close(after, wrong.advance(before, SIX_HOURS), atol=1e-3, rtol=0)
    assert float((after - nature.advance(before, SIX_HOURS)).abs().max()) > 0.01  # and that is not nature


@pytest.mark.parametrize("world", ["lorenz96", "sqg"])
def test_all_members_jump_together(tmp_path: Path, world: str) -> None:
    (_, still), (_, jumped) = (forecast(configured(tmp_path, world, jump=2, chance=c)) for c in (0.0, 1.0))
    jump = jumped - still
    torch.testing.assert_close(jump[1:], jump[:1].expand(2, *jump.shape[1:]), atol=1e-3, rtol=0)
    # White noise of 40 variables: its sample sd is within four standard errors 2 / sqrt(80); of SQG it is made so.
    assert 1.1 < float(jump[0].std()) < 2.9


def test_scores_of_methods_without_that_model_are_kept(tmp_path: Path) -> None:
    right, wrong = (configured(tmp_path, "lorenz96", forcing=f) for f in (0.0, 1.0))
    assert fingerprint(right, "oi") == fingerprint(wrong, "oi")
    assert fingerprint(right, "letkf") != fingerprint(wrong, "letkf")
