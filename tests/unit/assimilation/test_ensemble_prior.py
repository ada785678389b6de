"""What the members of an ensemble filter know: forecasts of their own pasts, or states of the archive."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from stormda.assimilation import methods
from stormda.assimilation.baselines.localisation import Places
from stormda.assimilation.ensemble_prior import EnsemblePrior, Model, generative_model, linear_model, nature_model
from stormda.assimilation.memory import follow
from stormda.assimilation.methods import Problem, Settings
from stormda.assimilation.prior import GaussianPrior
from stormda.config import EnsfConfig, GuidanceConfig, LetkfConfig
from stormda.diffusion.history import History
from stormda.diffusion.sample.dpm2m import dpm2m
from stormda.errors import StormdaError
from stormda.grid import Grid
from stormda.normaliser import Normaliser
from stormda.variables import Channel

N, MODES = 12, 8
SHAPE = (1, 1, N)
STEP = np.timedelta64(21600, "s")
TIME = np.datetime64("2020-01-01T00", "s")
SETTINGS = Settings(6, 3, 4, dpm2m, 8, 7.0, None, None, GuidanceConfig(), letkf=LetkfConfig(radius=4.0))


def gaussian(sd: float = 1.0) -> GaussianPrior:
    generator = np.random.default_rng(0)
    basis = torch.as_tensor(np.linalg.qr(generator.normal(size=(N, N)))[0][:MODES])
    channels = (Channel.parse("x0"),)
    return GaussianPrior(
        channels,
        Grid(np.zeros(1), np.arange(N) * 30.0, periodic=(False, True), plane=True),
        Normaliser(channels, np.full((1, *SHAPE), 5.0), np.array([sd]), 0, 0),
        STEP, basis, torch.as_tensor(generator.normal(size=(50, MODES))), TIME + np.arange(50) * STEP, 0.1,
        0.8 * torch.eye(MODES, dtype=torch.float64), 0.36 * torch.eye(MODES, dtype=torch.float64),
    )  # fmt: skip


def states(numbers: Sequence[int]) -> Tensor:
    """State k is k everywhere."""
    return torch.tensor(list(numbers), dtype=torch.float64)[:, None, None, None].expand(-1, *SHAPE)


def prior(model: Model | None = None) -> EnsemblePrior:
    base = gaussian()
    return EnsemblePrior(
        base.channels, base.grid, base.normaliser, STEP, 1, model or linear_model(base), (40, states), base
    )


def ensemble(members: int = 6) -> Tensor:
    return torch.randn(members, *SHAPE, generator=torch.Generator().manual_seed(2))


def test_the_first_members_are_states_of_the_archive_and_each_is_its_own() -> None:
    none = History.none(1, SHAPE)
    first = methods.background(prior(), none, TIME, SETTINGS)
    assert first.shape == (6, *SHAPE) and first.dtype == torch.float32
    assert len({float(m[0, 0, 0]) for m in first}) == 6  # no state twice
    later = methods.background(prior(), none, TIME, SETTINGS, members=[4, 2])
    assert torch.equal(later, first[[4, 2]])
    assert not torch.equal(methods.background(prior(), none, TIME, replace(SETTINGS, seed=4)), first)


def test_a_field_with_an_error_level_becomes_members_around_it() -> None:
    identity: Model = lambda history, time, members, seed: history.mean[:, -1]  # noqa: E731
    around = History(torch.full((1, *SHAPE), 2.0), torch.full((1, *SHAPE), 0.25), torch.tensor([True]))
    members = methods.background(prior(identity), around, TIME, SETTINGS)
    anomalies = methods.background(prior(), History.none(1, SHAPE), TIME, SETTINGS)
    np.testing.assert_allclose(members, 2 + 0.25 * anomalies)


def test_each_member_goes_on_from_its_own_past() -> None:
    """Kept frames move up, the oldest goes, and a mask says what is there."""
    history = History.none(2, SHAPE)
    one, two, three = ensemble(), ensemble() + 1, ensemble() + 2
    history = follow(history, one)
    assert history.mean.shape == (6, 2, *SHAPE) and history.mask.tolist() == [False, True]
    assert bool((history.error[:, 0] == 1).all()) and bool((history.error[:, 1] < 0.01).all())
    history = follow(follow(history, two), three)
    assert history.mask.tolist() == [True, True]
    assert torch.equal(history.mean[:, 0], two) and torch.equal(history.mean[:, 1], three)


def test_the_linear_model_is_the_propagator_and_a_draw_of_its_noise() -> None:
    base = gaussian()
    past = torch.zeros(4000, *SHAPE) + ensemble(1)
    history = follow(History.none(1, SHAPE), past)
    after = linear_model(base)(history, TIME, range(4000), 0).flatten(1)
    e = base.modes
    mean = 0.8 * (past[0].flatten().double() @ e.T) @ e
    covariance = 0.36 * e.T @ e + 0.1 * (torch.eye(N) - e.T @ e)
    # Standard errors of 4000 draws: sqrt(0.36 / 4000) = 0.0095 of a mean, sqrt(2) 0.36 / sqrt(4000) = 0.008 of a
    # covariance; four and a half of them for 12 and 144 numbers.
    assert float((after.mean(dim=0) - mean).abs().max()) < 4.5 * 0.0095
    assert float((torch.cov(after.T) - covariance).abs().max()) < 4.5 * 0.008
    # A member is the same in any company.
    some = follow(History.none(1, SHAPE), past[:2])
    np.testing.assert_allclose(linear_model(base)(some, TIME, [7, 3], 0).flatten(1), after[[7, 3]], atol=1e-12)


def test_the_nature_run_works_on_physical_fields() -> None:
    base = gaussian(sd=2.0)  # x = 5 + 2 z
    history = follow(History.none(1, SHAPE), ensemble())
    after = nature_model(lambda x: 10 * x, base.normaliser, STEP)(history, TIME, range(6), 0)
    np.testing.assert_allclose(after, (10 * (5 + 2 * ensemble()) - 5) / 2, rtol=1e-5)


def test_it_has_the_denoiser_of_its_model_and_the_nature_run_has_none() -> None:
    known = History(torch.zeros(1, *SHAPE), torch.full((1, *SHAPE), 0.1), torch.tensor([True]))
    x, sigma = ensemble(), torch.tensor(0.7)
    np.testing.assert_array_equal(prior().denoiser(known, TIME)(x, sigma), gaussian().denoiser(known, TIME)(x, sigma))
    with pytest.raises(StormdaError, match="no denoiser"):
        replace(prior(), base=None).denoiser(known, TIME)


def test_a_generative_model_draws_in_batches() -> None:
    seen: list[tuple[int, list[int]]] = []

    def draw(history: History, time: np.datetime64, members: Sequence[int]) -> Tensor:
        seen.append((len(history.mean), list(members)))
        return history.mean[:, -1] + torch.as_tensor(list(members))[:, None, None, None]

    history = follow(History.none(1, SHAPE), ensemble())
    after = generative_model(draw, 4)(history, TIME, range(6), 0)
    assert seen == [(4, [0, 1, 2, 3]), (2, [4, 5])]
    np.testing.assert_allclose(after, ensemble() + torch.arange(6.0)[:, None, None, None])


def test_letkf_is_one_of_the_methods() -> None:
    background = ensemble()
    rows = torch.tensor([0, 1])
    problem = Problem(
        TIME, History.none(1, SHAPE), lambda z: 3 * z.flatten(-3)[..., rows], torch.tensor([3.0, 3.0]),
        torch.tensor([0.09, 0.09]), background, Places(np.zeros(2), np.array([0.0, 30.0])),
    )  # fmt: skip
    x, carry = methods.analysis("letkf", prior(), problem, SETTINGS)
    assert carry is None and x.dtype == torch.float32
    shift = (x - background).mean(dim=0).abs().flatten()
    assert bool((shift[[5, 6, 7, 8]] < 1e-6).all()) and bool((shift[:2] > 1e-3).all())
    history = methods.remember(prior(), problem.history, x, carry)
    assert torch.equal(history.mean[:, -1], x)
    with pytest.raises(StormdaError, match="letkf needs members and a model"):
        methods.analysis("letkf", prior(), replace(problem, background=None), SETTINGS)
    with pytest.raises(StormdaError, match="places"):
        methods.analysis("letkf", prior(), replace(problem, places=None), SETTINGS)
    other, _ = methods.analysis("ensf", prior(), problem, replace(SETTINGS, ensf=EnsfConfig(steps=5)))
    assert torch.equal(other[..., 2:], background[..., 2:]) and not torch.equal(other, background)
