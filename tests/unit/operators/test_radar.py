"""Radar operators: values by hand, adjoint derivatives, and `no rain` as the likelihood that it is."""

from typing import Any

import numpy as np
import pytest
import torch

from stormda.config import OperatorConfig
from stormda.errors import ConfigError
from stormda.grid import Grid
from stormda.observations import QC, Observations
from stormda.operators.base import jvp, vjp
from stormda.operators.build import build_operator
from stormda.operators.censored import Censored
from stormda.operators.interpolate import Affine
from stormda.operators.radar import Reflectivity, standard_height, vertical
from stormda.variables import Channel

NOW = np.datetime64("2019-02-17T12", "s")
GRID = Grid.regular(np.arange(50.0, 55.0), np.arange(0.0, 6.0))
CHANNELS = tuple(map(Channel.parse, ("rr", "u850", "v850", "u500", "v500")))
Z850, Z500 = standard_height(np.array([850.0, 500.0]))
CONFIGS: dict[str, dict[str, Any]] = {
    "dbz": {"kind": "reflectivity", "floor": -10.0, "zero": 5.0},
    "vr": {"kind": "radial_velocity"},
    "rr": {"zero": 0.0},
}
EXACT = 1e-10  # numbers up to 100 with a few dozen roundings: 100 * 2e-16 * 50


def rows(n: int, **columns: Any) -> Observations:
    base: dict[str, Any] = {
        "report_id": "r", "station_id": "s", "platform": "radar", "source": "radar", "variable": ["dbz"] * n,
        "level_type": "height", "level": np.full(n, 2000.0), "time": np.full(n, NOW), "latitude": np.full(n, 52.5),
        "longitude": np.full(n, 2.5), "value": np.full(n, 20.0), "error": np.full(n, 2.0),
        "azimuth": np.full(n, 30.0), "elevation_angle": np.full(n, 4.0),
    }  # fmt: skip
    return Observations.of(base | columns)


def build(observations: Observations, **more: dict[str, Any]) -> tuple[Any, Observations, Any]:
    configs = {name: OperatorConfig.model_validate(c) for name, c in (CONFIGS | more).items()}
    return build_operator(observations, GRID, CHANNELS, configs, NOW)


def state(seed: int = 0) -> torch.Tensor:
    x = torch.randn((len(CHANNELS), *GRID.shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x[0] = x[0].abs() * 3.0
    x[1:] *= 10.0
    return x


def constant(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None, None].expand(-1, *GRID.shape).clone()


def test_reflectivity_is_that_of_marshall_and_palmer() -> None:
    h, _, _ = build(rows(1))
    for rate in (1.0, 10.0, 100.0):
        expected = 10.0 * np.log10(200.0 * rate**1.6 + 0.1)
        assert h(constant(rate, 0, 0, 0, 0)).item() == pytest.approx(expected, abs=EXACT)
    assert 10.0 * np.log10(200.0 * 10**1.6) == pytest.approx(39.0, abs=0.02)  # 10 mm h-1 is 39 dBZ


def test_no_rain_has_a_finite_reflectivity_and_no_slope() -> None:
    h = Reflectivity(Affine.of(np.array([0]), np.array([[7]]), np.array([[1.0]]), 30), floor=-10.0)
    for rate in (0.0, -3.0):
        x = constant(rate, 0, 0, 0, 0)
        assert h(x).item() == pytest.approx(-10.0, abs=EXACT)
        assert (vjp(h, x, torch.ones(1, dtype=torch.float64)) == 0.0).all()


@pytest.mark.parametrize(("azimuth", "expected"), [(0.0, 7.0), (90.0, 5.0), (180.0, -7.0), (270.0, -5.0)])
def test_radial_velocity_is_positive_away_from_the_radar(azimuth: float, expected: float) -> None:
    h, _, _ = build(rows(1, variable=["vr"], azimuth=[azimuth], elevation_angle=[60.0], level=[Z850]))
    x = constant(0.0, 5.0, 7.0, 50.0, 70.0)
    assert h(x).item() == pytest.approx(expected * 0.5, abs=1e-5)  # azimuths and elevations are stored in float32


def test_wind_between_two_levels_is_linear_in_height() -> None:
    middle = 0.75 * Z850 + 0.25 * Z500
    h, _, _ = build(rows(1, variable=["vr"], azimuth=[90.0], elevation_angle=[0.0], level=[middle]))
    assert h(constant(0.0, 10.0, 0.0, 30.0, 0.0)).item() == pytest.approx(15.0, abs=1e-5)


def test_beams_beyond_the_levels_are_flagged() -> None:
    heights = [Z850 - 501.0, Z850 - 499.0, Z500 + 499.0, Z500 + 501.0]
    _, observations, numbers = build(rows(4, variable=["vr"] * 4, level=heights))
    assert numbers.tolist() == [1, 2]
    assert observations["qc"].tolist() == [QC.NO_OPERATOR, 0, 0, QC.NO_OPERATOR]


def test_levels_around_a_height_in_any_order() -> None:
    pair, share = vertical(np.array([500.0, 1500.0, 3000.0, 0.0]), np.array([3000.0, 1000.0, 2000.0]), 600.0)
    assert pair.tolist()[:2] == [[1, 1], [1, 2]] and pair[2, 1] == 0 and pair[3].tolist() == [-1, -1]
    np.testing.assert_allclose(share[:2], [0.0, 0.5])


def test_adjoint_dot_product_of_all_radar_operators() -> None:
    n = 40
    rng = np.random.default_rng(1)
    kinds = np.array(["dbz", "vr", "rr"], dtype=object)[rng.integers(0, 3, n)]
    value = np.where(kinds == "vr", 3.0, rng.choice([0.0, 5.0, 20.0], n))
    observations = rows(
        n, variable=kinds, value=value, latitude=rng.uniform(50, 54, n), longitude=rng.uniform(0, 5, n),
        azimuth=rng.uniform(0, 360, n), level=np.where(kinds == "rr", np.nan, rng.uniform(1500, 5000, n)),
        level_type=np.where(kinds == "rr", "surface", "height").astype(object),
    )  # fmt: skip
    h, _, used = build(observations)
    assert len(used) == n
    x, v = state(), state(1)
    w = torch.randn(n, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    left, right = (w * jvp(h, x, v)).sum().item(), (vjp(h, x, w) * v).sum().item()
    assert left == pytest.approx(right, rel=1e-12)  # sums of a thousand products: 1e3 * 1e-16 * 10
    assert torch.isfinite(vjp(h, torch.zeros_like(x), w)).all()
    batch = h(torch.stack([x, v]))
    torch.testing.assert_close(batch, torch.stack([h(x), h(v)]))
    keep = np.arange(n) % 3 != 0
    torch.testing.assert_close(h.subset(keep)(x), h(x)[torch.as_tensor(keep)])


def censored(value: float = 0.0, threshold: float = 0.0, error: float = 2.0) -> Censored:
    identity = Affine.of(np.array([0]), np.array([[0]]), np.array([[1.0]]), 30)
    return Censored(identity, *(torch.tensor([t], dtype=torch.float64) for t in (value, threshold, error)))


def test_the_gaussian_of_a_censored_row_is_the_tobit_likelihood() -> None:
    h = censored(value=-1.0, threshold=5.0, error=2.0)
    for rain in (-4.0, 0.0, 3.0, 5.0, 9.0, 40.0):
        got = -0.5 * ((-1.0 - h(constant(rain, 0, 0, 0, 0)).item()) / 2.0) ** 2
        expected = torch.special.log_ndtr(torch.tensor((5.0 - rain) / 2.0, dtype=torch.float64)).item()
        assert got == pytest.approx(expected, rel=1e-9, abs=4e-7)  # below t = -5, log Phi is 3e-7 at most, taken as 0


def test_no_rain_pulls_wet_states_down_and_leaves_dry_ones_alone() -> None:
    h = censored()
    slope = [
        vjp(h, constant(r, 0, 0, 0, 0), torch.ones(1, dtype=torch.float64))[0, 0, 0].item() for r in (-30, -2, 2, 40)
    ]
    assert slope[0] == 0.0 and 0.0 < slope[1] < slope[2] < slope[3] <= 1.0
    assert slope[3] == pytest.approx(1.0, abs=0.01)  # g = t - O(log t / t): at t = 20 its slope is 1 - 1/t^2 + ...


def test_only_rows_up_to_zero_are_censored() -> None:
    observations = rows(3, value=[0.0, 5.0, 5.1])
    h, _, _ = build(observations)
    dry = h(constant(0.0, 0, 0, 0, 0))
    assert dry[:2].tolist() == [0.0, 5.0]  # -10 dBZ is 7.5 errors below 5: nothing to say
    assert dry[2].item() == pytest.approx(-10.0, abs=EXACT)


@pytest.mark.parametrize(
    ("name", "keys", "key"),
    [
        ("rr", {"kind": "reflectivity"}, "operators.rr.kind"),
        ("dbz", {"kind": "radial_velocity"}, "operators.dbz.kind"),
        ("dbz", {"kind": "reflectivity", "channel": "tp"}, "operators.dbz.channel"),
    ],
)
def test_an_operator_that_cannot_be_is_named(name: str, keys: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as error:
        build(rows(1, variable=[name]), **{name: keys})
    assert error.value.key == key
