"""How wide the background is, is found from innovations; a wider prior is that of a Gaussian with more variance."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from stormda.assimilation import methods
from stormda.assimilation.inflation import Inflated, inflated, innovation_scale
from stormda.assimilation.methods import Problem, Settings
from stormda.config import GuidanceConfig
from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.history import History
from stormda.diffusion.sample.dpm2m import dpm2m
from stormda.grid import Grid
from stormda.normaliser import Normaliser
from stormda.types import Denoise, Mapping2
from stormda.variables import Channel

N = 400
SHAPE = (1, 1, N)
TIME = np.datetime64("2020-01-01T00", "s")
STEP = np.timedelta64(21600, "s")
PAST = History(torch.zeros(1, *SHAPE), torch.ones(1, *SHAPE), torch.ones(1, dtype=torch.bool))


@dataclass(eq=False)
class Told:
    """A prior that is a Gaussian, as a network may be, with or without something to carry."""

    gaussian: Gaussian
    carried: str | None = "modes"

    def __post_init__(self) -> None:
        self.channels: tuple[Channel, ...] = (Channel.parse("x0"),)
        self.grid = Grid(np.zeros(1), np.arange(N) * 360.0 / N, periodic=(False, True), plane=True)
        self.normaliser = Normaliser(self.channels, np.zeros((1, *SHAPE)), np.ones(1), 0, 0)
        self.frames, self.sigma_max = 1, 1e5
        self.step: np.timedelta64 = STEP

    @property
    def signature(self) -> str | None:
        return self.carried

    def denoiser(self, history: History, time: np.datetime64) -> Denoise:
        return self.gaussian.denoise

    def linear(self, history: History, time: np.datetime64) -> Gaussian:
        return self.gaussian

    def share(self, history: History, sigma: float) -> float:
        return sigma

    def carry(self, history: History, time: np.datetime64, operator: Mapping2, y: Tensor, r: Tensor) -> Tensor | None:
        return None if self.signature is None else self.gaussian.posterior(operator, y, r)[1]


def white(variance: float, modes: int = 3) -> Gaussian:
    """Independent points of a variance, and a few patterns of twice that."""
    e = torch.linalg.qr(torch.randn(N, modes, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0].T
    return Gaussian(torch.zeros(SHAPE, dtype=torch.float64), e, 2 * variance * torch.eye(modes).double(), variance)


def first(count: int) -> Mapping2:
    return lambda z: z.flatten(1)[:, :count]


def found(scale: float, draws: int = 20, count: int = 300) -> float:
    """The mean over draws of innovations whose background is `scale` times as wide as told; V = 4, R = 0.1."""
    g = torch.Generator().manual_seed(3)
    told, r = white(4.0), torch.full((count,), 0.1, dtype=torch.float64)
    total = 0.0
    for _ in range(draws):
        x = scale**0.5 * told.sample(torch.randn(1, *SHAPE, generator=g, dtype=torch.float64))
        y = first(count)(x)[0] + r.sqrt() * torch.randn(count, generator=g, dtype=torch.float64)
        total += innovation_scale(told, first(count), y, r)
    return total / draws


def test_the_scale_is_found() -> None:
    """300 values know ln lambda to sqrt(2 / 300) = 0.082 where V is 40 R; the mean of 20 draws to 0.018. Five of these,
    and half of the distance of candidates, 0.012; what is known before pulls by ln(lambda) / 151."""
    for scale in (0.7, 1.0, 2.5):
        assert abs(math.log(found(scale) / scale)) < 5 * 0.018 + 0.012 + abs(math.log(scale)) / 151


def test_poor_observations_say_nothing_and_a_background_that_knows_it_all_is_found_out() -> None:
    told, y = white(4.0), torch.full((5,), 7.0, dtype=torch.float64)
    assert abs(innovation_scale(told, first(5), y, torch.full((5,), 1e8)) - 1) < 0.012
    sure, r = white(1e-4), torch.ones(300, dtype=torch.float64)
    # d^2 = 4 asks for 1 + lambda 1e-4 = 4, a gain of 300 (4 - ln 4 - 1) = 484 over lambda = 1; ln(3e4)^2 = 106 is less.
    assert 1e4 < innovation_scale(sure, first(300), 2 * r, r) < 4e4


def test_it_is_the_prior_of_a_wider_gaussian() -> None:
    base = Told(white(4.0))
    wide = Inflated(base, base.gaussian.mean, 2.25)
    wider = white(9.0)
    x = 5 * torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for sigma in (0.1, 3.0, 100.0):
        level = torch.tensor(sigma, dtype=torch.float64)
        torch.testing.assert_close(wide.denoiser(PAST, TIME)(x, level), wider.denoise(x, level), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(wide.linear(PAST, TIME).product(x), wider.product(x))
    assert wide.share(PAST, 3.0) == 2.0  # noise that is as large against deviations of half as much more
    y, r = torch.ones(4, dtype=torch.float64), torch.full((4,), 0.5, dtype=torch.float64)
    carried = wide.carry(PAST, TIME, first(4), y, r)
    assert carried is not None
    torch.testing.assert_close(carried, wider.posterior(first(4), y, r)[1])
    assert Inflated(Told(white(4.0), None), base.gaussian.mean, 2.0).carry(PAST, TIME, first(4), y, r) is None


def test_without_a_past_or_observations_nothing_changes() -> None:
    base, r = Told(white(4.0)), torch.full((4,), 0.5, dtype=torch.float64)
    cold = Problem(TIME, History.none(1, SHAPE), first(4), torch.ones(4), r)
    assert inflated(base, cold) is base
    assert inflated(base, replace(cold, history=PAST, y=torch.zeros(0), variance=torch.zeros(0))) is base


def test_an_analysis_believes_observations_that_contradict_a_background_too_sure_of_itself() -> None:
    """V is told as 0.01 where it is 4, R is 0.09."""
    g = torch.Generator().manual_seed(5)
    base = Told(white(0.01))
    base.share = lambda history, sigma: 1.0  # type: ignore[method-assign]
    x = 2 * torch.randn(1, *SHAPE, generator=g, dtype=torch.float64)
    r = torch.full((300,), 0.09, dtype=torch.float64)
    y = first(300)(x)[0] + 0.3 * torch.randn(300, generator=g, dtype=torch.float64)
    problem = Problem(TIME, PAST, first(300), y, r)
    none = Settings(20, 0, 20, dpm2m, 24, 7.0, None, 100.0, GuidanceConfig())
    error = {}
    for kind in ("none", "innovations"):
        settings = replace(none, inflation=kind, found={})
        ensemble, _ = methods.analysis("storm", base, problem, settings)
        assert (settings.facts().get("background variance factor", 1.0) > 100) == (kind == "innovations")  # 4 / 0.01
        error[kind] = float((ensemble.mean(dim=0).double() - x[0]).flatten()[:300].square().mean().sqrt())
    # Gains V / (V + R) of 0.1 and 0.98: of the error of 2 nine tenths are left, and the noise of 0.3; the mean of 20
    # draws adds 0.3 / sqrt(20) = 0.07; 300 values know a size to 4 %, five times of which are 20 %.
    assert 1.4 < error["none"] < 2.2
    assert error["innovations"] < 0.4
