"""What the networks of twin experiments see, where, and that both derivatives of it agree."""

import numpy as np
import pytest
import torch

from stormda.config import Config, load
from stormda.errors import ConfigError
from stormda.grid import Grid
from stormda.operators.base import jvp, vjp
from stormda.pipeline.networks import Reports, describe, network_of
from stormda.types import Array
from stormda.variables import Channel

NAMES = ("u850", "v850", "t850", "u10", "v10")
CHANNELS = tuple(Channel.parse(name) for name in NAMES)
GRID = Grid.regular(np.array([60.0, 40.0, 20.0, 0.0, -20.0]), np.arange(0.0, 70.0, 10.0))


def configuration(*overrides: str) -> Config:
    base = {"channels": list(NAMES), "twin": {"network": {"count": 4, "error": 1e-9}}}
    return load(None, [f"twin.network.{text}" for text in overrides], base)


def truth() -> Array:
    return np.random.default_rng(0).normal(size=(5, *GRID.shape))


def reports(*overrides: str, cycle: int = 0) -> Reports:
    return network_of(configuration(*overrides), GRID, CHANNELS, 0)(cycle, truth())


@pytest.mark.parametrize("operator", ["identity", "arctan", "wind_speed", "block_mean"])
def test_both_derivatives_agree(operator: str) -> None:
    """<w, H' v> = <H'^T w, v>, and H' is the limit of differences."""
    seen = reports(f"operator={operator}", "block=2")
    generator = torch.Generator().manual_seed(1)
    x, v = torch.randn(2, 3, 5, *GRID.shape, generator=generator, dtype=torch.float64)
    w = torch.randn(3, len(seen.y), generator=generator, dtype=torch.float64)
    # 3 x 175 products in float64: 1e-16 sqrt(525), and room.
    forward = jvp(seen.operator, x, v)
    assert float((w * forward).sum()) == pytest.approx(float((vjp(seen.operator, x, w) * v).sum()), rel=1e-12)
    step = 1e-5  # central differences: step^2 of the third derivative, 1e-10, and 1e-16 / step of rounding
    difference = (seen.operator(x + step * v) - seen.operator(x - step * v)) / (2 * step)
    np.testing.assert_allclose(difference, forward, atol=1e-7)


def test_wind_speed_is_that_of_the_components_at_the_place() -> None:
    seen = reports("operator=wind_speed")
    assert seen.y.shape == (8,)  # four at 850 hPa, four at 10 m
    for n in range(8):
        u, v = (0, 1) if n < 4 else (3, 4)
        i = int(np.flatnonzero(GRID.latitude == seen.places.latitude[n])[0])
        j = int(np.flatnonzero(GRID.longitude == seen.places.longitude[n])[0])
        assert float(seen.y[n]) == pytest.approx(np.hypot(truth()[u, i, j], truth()[v, i, j]), abs=1e-7)


def test_block_means_weigh_by_area_and_lie_in_the_middle() -> None:
    seen = reports("operator=block_mean", "block=2", "count=100")
    assert len(seen.y) == 5 * 2 * 3  # the fifth row and the seventh column are left over
    cosine = np.cos(np.deg2rad(GRID.latitude[:2]))[:, None]
    first = (truth()[0, :2, :2] * cosine).sum() / (2 * cosine.sum())
    assert float(seen.y[0]) == pytest.approx(first, abs=1e-7)
    assert (seen.places.latitude[0], seen.places.longitude[0]) == (50.0, 5.0)
    one = torch.ones(1, 5, *GRID.shape, dtype=torch.float64)
    np.testing.assert_allclose(seen.operator(one), 1.0, rtol=1e-14)


def test_points_are_drawn_anew_and_lie_where_they_say() -> None:
    one, other = reports(), reports(cycle=1)
    assert len(one.y) == 20 and not np.array_equal(one.places.latitude, other.places.latitude)
    again = reports("redrawn=false", cycle=1)
    np.testing.assert_array_equal(one.places.longitude, again.places.longitude)
    index = [int(np.flatnonzero(a == b)[0]) for a, b in zip([GRID.latitude] * 4, one.places.latitude[:4], strict=True)]
    columns = [int(np.flatnonzero(GRID.longitude == b)[0]) for b in one.places.longitude[:4]]
    np.testing.assert_allclose(one.y[:4], truth()[0, index, columns], atol=1e-7)


def test_what_cannot_be_observed_says_why() -> None:
    with pytest.raises(ConfigError, match="has no wind: t850"):
        network_of(configuration("operator=wind_speed"), GRID, CHANNELS[2:3], 0)
    with pytest.raises(ConfigError, match="does not fit on 5 x 7"):
        network_of(configuration("operator=block_mean", "block=6"), GRID, CHANNELS, 0)
    assert describe(configuration("operator=block_mean", "block=2")).startswith("4 blocks of 2 x 2 points")
