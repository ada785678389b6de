"""A whole draw from a posterior is the same on any number of processes."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gloo_world import ranks
from torch import Tensor

from stormda.assimilation.ensemble import draw, noise
from stormda.assimilation.methods import Problem, Settings, analysis, smallest_error
from stormda.assimilation.posterior import guided
from stormda.assimilation.storm_prior import StormPrior
from stormda.config import GuidanceConfig
from stormda.diffusion.background import BackgroundError
from stormda.diffusion.denoise import EDM
from stormda.diffusion.guess import LinearGuess
from stormda.diffusion.history import History
from stormda.diffusion.noise import karras
from stormda.diffusion.sample.dpm2m import dpm2m
from stormda.distributed.tiled import Tiled
from stormda.errors import AnalysisRejected, ConfigError
from stormda.grid import Grid
from stormda.layout import WHOLE, Layout
from stormda.nn.storm import Storm
from stormda.normaliser import Normaliser
from stormda.operators.interpolate import Affine, weights_of
from stormda.operators.part import owned, part_operator
from stormda.operators.stack import Stack
from stormda.operators.wind import WindSpeed
from stormda.variables import Channel

SHAPE, CHANNELS, FRAMES, MODES = (12, 24), 3, 2, 6
TIME = np.datetime64("2010-03-04T06", "s")
GRID = Grid.regular(np.linspace(82.5, -82.5, 12), np.arange(24) * 15.0)
STEP = np.timedelta64(21600, "s")


def prior(dtype: torch.dtype) -> StormPrior:
    """An untrained network with an output that is not zero, around a guess, with a background error covariance."""
    g = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    size: dict[str, Any] = {"patch": 2, "width": 16, "blocks": 2, "heads": 2, "latents": 4, "tile": 3, "halo": 1}
    ends: dict[str, Any] = {"poles": (True, True), "vectors": (1, 2)}
    static = torch.randn(2, *SHAPE, generator=g)
    network = Storm(CHANNELS, SHAPE, static, periodic=GRID.periodic, frames=FRAMES, **size, **ends)
    torch.nn.init.normal_(network.head.weight, std=0.02, generator=g)
    points = CHANNELS * math.prod(SHAPE)
    e = torch.linalg.qr(torch.randn(points, MODES, generator=g))[0].T
    one, energy = torch.ones(CHANNELS, *SHAPE), torch.linspace(90.0, 20.0, MODES)
    r, one_step = torch.full((FRAMES, CHANNELS, *SHAPE), 0.8), 0.8 * torch.eye(MODES)
    linear = LinearGuess(1.2 * one, r, e, energy, one_step, 0.36 * torch.diag(energy), one)
    levels = torch.tensor([0.1, 10.0])
    error = BackgroundError(linear, torch.zeros(5), levels, torch.ones(2), torch.ones(2), torch.tensor(1.1))
    model = EDM(network, linear).to(dtype).requires_grad_(False)
    channels = tuple(map(Channel.parse, ("t850", "u850", "v850")))
    normaliser = Normaliser(channels, np.zeros((1, CHANNELS, *SHAPE)), np.ones(CHANNELS), 0, 0)
    return StormPrior(channels, GRID, normaliser, FRAMES, STEP, 40.0, model, ({}, {}), error.to(dtype))


def observations(count: int = 40) -> Stack:
    """Temperatures and wind speeds, most of them around one place: the cut of 2 columns, or the date line."""
    g = np.random.default_rng(1)
    latitude = np.clip(30 + 25 * g.standard_normal(count), -80, 80)
    longitude = np.where(np.arange(count) % 2 == 0, 180.0, 0.0) + 20 * g.standard_normal(count)
    index, weight = weights_of(GRID, latitude, longitude)
    at, half = math.prod(SHAPE), count // 2

    def of(channel: int, rows: slice) -> Affine:
        return Affine.of(np.full(half, channel), index[rows], weight[rows], at)

    first, last = slice(0, half), slice(half, count)
    parts = (of(0, first), np.arange(0, count, 2)), (WindSpeed(of(1, last), of(2, last)), np.arange(1, count, 2))
    return Stack(parts, torch.zeros(count, dtype=torch.float64))


def problem(dtype: torch.dtype, layout: Layout, spoilt: bool = False) -> Problem:
    g = torch.Generator().manual_seed(2)
    past = torch.randn(FRAMES, CHANNELS, *SHAPE, generator=g, dtype=dtype)
    history = History(past, torch.full_like(past, 0.3), torch.ones(FRAMES, dtype=torch.bool))
    h, y = observations(), 1.5 * torch.randn(40, generator=g, dtype=torch.float64)
    y[1::2], y[7] = y[1::2].abs(), 9.0  # speeds, one of them a gross error
    if spoilt:
        y[0] = math.nan
    variance = torch.full_like(y, 0.25)
    if layout is WHOLE:
        return Problem(TIME, history, h, y, variance)
    own = owned(h, layout, SHAPE)
    rows = torch.as_tensor(own)
    operator = part_operator(h.subset(own), layout, SHAPE)
    return Problem(TIME, history.part(layout), operator, y[rows], variance[rows])


MANY = pytest.mark.soak  # of more than two processes


GUIDANCE: dict[str, dict[str, Any]] = {
    "jfps": {"kind": "jfps", "linearisations": 3},
    "mmps": {"kind": "mmps", "derivative_below": 1e9},
    "robust": {"kind": "jfps", "likelihood": "huber"},
    "sda": {"kind": "sda"},
    "dps": {"kind": "dps"},
}


def sample(kind: str, dtype: torch.dtype, mesh: tuple[int, int] | None) -> Tensor:
    layout: Layout = WHOLE if mesh is None else Tiled(SHAPE, (2, 2), mesh)
    own = prior(dtype) if mesh is None else prior(dtype).part(layout)
    posterior = guided(own, problem(dtype, layout), GuidanceConfig(**GUIDANCE[kind]), None, layout)
    sigmas = karras(0.05, 40.0, 5)
    how: dict[str, Any] = {"seed": 3, "stream": 4, "batch": 2, "dtype": dtype, "layout": layout}
    return layout.gather(draw(dpm2m, posterior, (CHANNELS, *SHAPE), sigmas, range(2), **how), SHAPE)


WHOLES: dict[tuple[str, torch.dtype], Tensor] = {}


def compare(kind: str, mesh: tuple[int, int], dtype: torch.dtype, limit: float) -> None:
    """The largest difference, in standard deviations of the field."""
    key = kind, dtype
    if key not in WHOLES:
        WHOLES[key] = sample(kind, dtype, None)
    found, whole = ranks(math.prod(mesh), sample, kind, dtype, mesh)[0], WHOLES[key]
    assert whole.dtype == dtype and bool(torch.isfinite(whole).all())
    assert float((found - whole).abs().max()) <= limit * float(whole.std()), float((found - whole).abs().max())


# A step rounds to 1e-16, which the linear solver may increase by its condition, some 1e4, and again at later levels; it
# stops in the same iteration, and there are 5 levels.
@pytest.mark.parametrize("kind", ["jfps", "mmps", "robust"])
@pytest.mark.parametrize("mesh", [(2, 1), pytest.param((1, 3), marks=MANY)])
def test_a_draw_in_double_precision(kind: str, mesh: tuple[int, int]) -> None:
    compare(kind, mesh, torch.float64, 1e-10)


@pytest.mark.parametrize(
    "kind, mesh",
    [
        ("sda", (1, 2)),
        ("dps", (1, 2)),
        ("jfps", (1, 2)),
        pytest.param("mmps", (2, 2), marks=MANY),  # one of whose processes has no observation
        pytest.param("jfps", (2, 2), marks=MANY),
    ],
)
def test_other_guidance_and_meshes(kind: str, mesh: tuple[int, int]) -> None:
    compare(kind, mesh, torch.float64, 1e-10)


@pytest.mark.soak
@pytest.mark.parametrize("kind", list(GUIDANCE))
@pytest.mark.parametrize("mesh", [(4, 1), (2, 3), (2, 4), (4, 2)])
def test_a_draw_on_many(kind: str, mesh: tuple[int, int]) -> None:
    compare(kind, mesh, torch.float64, 1e-10)


@pytest.mark.parametrize("mesh", [(1, 2), pytest.param((2, 2), marks=MANY)])
@pytest.mark.parametrize("kind", ["jfps", "mmps"])
def test_a_draw_in_single_precision(kind: str, mesh: tuple[int, int]) -> None:
    compare(kind, mesh, torch.float32, 1e-3)  # what ten thousand roundings of 1e-7 may add up to


def settings(layout: Layout = WHOLE) -> Settings:
    how = GuidanceConfig(kind="jfps")
    return Settings(2, 5, 2, dpm2m, 4, 7.0, None, None, how, layout=layout)


def whole_analysis(mesh: tuple[int, int] | None) -> tuple[Tensor, Tensor | None, float]:
    layout: Layout = WHOLE if mesh is None else Tiled(SHAPE, (2, 2), mesh)
    own = prior(torch.float32) if mesh is None else prior(torch.float32).part(layout)
    assert own.signature == prior(torch.float32).signature
    given = problem(torch.float32, layout)
    ensemble, carry = analysis("storm", own, given, settings(layout))
    return layout.gather(ensemble, SHAPE), carry, smallest_error(given, own, layout)


def test_an_analysis_and_the_error_that_it_carries() -> None:
    ensemble, carry, smallest = whole_analysis(None)
    found, carried, least = ranks(2, whole_analysis, (1, 2))[1]
    assert carry is not None and carried is not None
    assert float((found - ensemble).abs().max()) <= 1e-3 * float(ensemble.std())
    assert float((carried - carry).abs().max()) <= 1e-5 * float(carry.abs().max())  # a Kalman update of float32 modes
    assert least == pytest.approx(smallest, rel=1e-12)


def refusals() -> None:
    layout = Tiled(SHAPE, (2, 2), (1, 2))
    own = prior(torch.float32).part(layout)
    with pytest.raises(AnalysisRejected, match="the state is not finite"):  # on both, though one has the observation
        analysis("storm", own, problem(torch.float32, layout, spoilt=True), settings(layout))
    inflating = replace(settings(layout), inflation="innovations")
    for method, how in (("letkf", settings(layout)), ("storm", inflating)):
        with pytest.raises(ConfigError, match="needs all of a member in one process"):
            analysis(method, own, problem(torch.float32, layout), how)


def test_what_one_process_meets_ends_all() -> None:
    ranks(2, refusals)


def own_noise() -> tuple[Tensor, Tensor, int]:
    layout = Tiled(SHAPE, (2, 2), (3, 1))
    fields = (CHANNELS, *SHAPE)
    found = layout.gather(noise(1, 2, [4, 7], fields, torch.float64, layout), SHAPE)
    count = len(part_operator(observations().subset(owned(observations(), layout, SHAPE)), layout, SHAPE))
    return found, noise(1, 2, [4, 7], fields, torch.float64), count


def test_noise_and_observations_have_one_owner() -> None:
    results = ranks(3, own_noise)
    for found, whole, _ in results:
        assert torch.equal(found, whole)
    assert sum(count for _, _, count in results) == 40


def together() -> list[int]:
    layout = Tiled(SHAPE, (2, 2), (1, 3))
    rows = torch.arange(40).view(4, 10)
    return np.flatnonzero(owned(observations(), layout, SHAPE, [rows])).tolist()


def test_rows_with_correlated_errors_stay_together() -> None:
    results = ranks(3, together)
    assert sorted(row for own in results for row in own) == list(range(40))
    assert all(len(own) % 10 == 0 for own in results)
