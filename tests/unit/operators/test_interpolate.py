"""Bilinear interpolation: exact for bilinear fields, on every kind of regular grid."""

import numpy as np
import pytest
import torch

from stormda.errors import InputError
from stormda.grid import Grid
from stormda.operators.base import jvp, vjp
from stormda.operators.interpolate import Affine, weights_of
from stormda.types import Array

# A weight and its sum carry a few roundings of numbers of size 1: 8 eps = 2e-15; a field of size 1e3 gives 2e-12.
EXACT = 1e-11


def value_at(grid: Grid, field: Array, latitude: Array, longitude: Array) -> Array:
    index, weight = weights_of(grid, latitude, longitude)
    return np.asarray((field.ravel()[index] * weight).sum(axis=1))


def random_places(count: int, south: float, north: float, west: float, east: float) -> tuple[Array, Array]:
    rng = np.random.default_rng(3)
    return rng.uniform(south, north, count), rng.uniform(west, east, count)


@pytest.mark.parametrize("latitude", [np.arange(30.0, 56.0, 2.5), np.arange(55.0, 29.0, -2.5)], ids=["up", "down"])
@pytest.mark.parametrize("spacing", ["even", "uneven"])
def test_bilinear_fields_are_exact(latitude: Array, spacing: str) -> None:
    longitude = np.arange(-15.0, 16.0, 2.5)
    if spacing == "uneven":
        longitude = longitude + 0.7 * np.sin(longitude)
    grid = Grid.regular(latitude, longitude)

    def f(lat: Array, lon: Array) -> Array:
        return 2.0 - 3.0 * lat + 0.5 * lon + 0.25 * lat * lon

    lat, lon = random_places(500, 30.0, 55.0, longitude.min(), longitude.max())
    np.testing.assert_allclose(value_at(grid, f(*grid.fields), lat, lon), f(lat, lon), atol=EXACT)


def test_points_of_the_grid_are_themselves_to_the_last_digit() -> None:
    grid = Grid.regular(np.linspace(90, -90, 19), np.arange(36) * 10.0)
    field = np.random.default_rng(0).standard_normal(grid.shape)
    lat, lon = (f.ravel() for f in grid.fields)
    for shifted in (lon, np.where(lon > 180, lon - 360, lon)):  # Whole periods of 360 are exact in binary.
        np.testing.assert_array_equal(value_at(grid, field, lat, shifted), field.ravel())


def test_a_global_grid_wraps_in_longitude() -> None:
    grid = Grid.regular(np.array([0.0, 10.0]), np.arange(12) * 30.0)
    field = np.tile(np.arange(12.0), (2, 1))
    # Between 330 E (value 11) and 360 E (value 0): 345 E = -15 E is half way, 336 E = -24 E a fifth of the way.
    got = value_at(grid, field, np.full(4, 5.0), np.array([345.0, -15.0, -24.0, 336.0]))
    np.testing.assert_allclose(got, [5.5, 5.5, 8.8, 8.8], atol=EXACT)


@pytest.mark.parametrize("start", [200.0, -160.0])
def test_longitudes_of_either_convention_meet(start: float) -> None:
    grid = Grid.regular(np.array([10.0, 20.0]), start + np.arange(5) * 10.0)
    field = np.tile(np.arange(5.0), (2, 1))
    got = value_at(grid, field, np.full(3, 15.0), np.array([-155.0, 205.0, -120.0]))
    np.testing.assert_allclose(got, [0.5, 0.5, 4.0], atol=EXACT)


def test_a_grid_across_the_date_line() -> None:
    grid = Grid.regular(np.array([0.0, 1.0]), np.array([170.0, 180.0, 190.0]))
    field = np.tile(np.array([0.0, 1.0, 2.0]), (2, 1))
    got = value_at(grid, field, np.full(3, 0.5), np.array([-175.0, 180.0, -180.0]))
    np.testing.assert_allclose(got, [1.5, 1.0, 1.0], atol=EXACT)


def test_a_plane_wraps_both_ways() -> None:
    points = 8
    grid = Grid(
        (np.arange(points) + 0.5) * 180 / points - 90,
        np.arange(points) * 360 / points,
        periodic=(True, True),
        plane=True,
    )
    rows = np.tile(np.arange(float(points))[:, None], (1, points))
    # Rows are 22.5 degrees apart from -78.75; 90 N = 90 S is half way between the last (7) and the first (0).
    got = value_at(grid, rows, np.array([90.0, -90.0, -78.75, 78.75]), np.zeros(4))
    np.testing.assert_allclose(got, [3.5, 3.5, 0.0, 7.0], atol=EXACT)


def test_one_row_of_a_ring() -> None:
    grid = Grid(np.zeros(1), np.arange(4) * 90.0, periodic=(False, True), plane=True)
    got = value_at(grid, np.arange(4.0)[None], np.zeros(3), np.array([45.0, -90.0, -45.0]))
    np.testing.assert_allclose(got, [0.5, 3.0, 1.5], atol=EXACT)
    assert np.isnan(value_at(grid, np.arange(4.0)[None], np.array([1.0]), np.array([0.0])))


def test_outside_and_not_finite_places_have_no_weights() -> None:
    grid = Grid.regular(np.arange(55.0, 29.0, -2.5), np.arange(-15.0, 16.0, 2.5))
    lat = np.array([55.0, 30.0, 55.001, 29.9, 40.0, 40.0, np.nan, 40.0])
    lon = np.array([-15.0, 15.0, 0.0, 0.0, 15.01, -15.01, 0.0, np.nan])
    _, weight = weights_of(grid, lat, lon)
    np.testing.assert_array_equal(np.isfinite(weight).all(axis=1), [True, True] + [False] * 6)
    np.testing.assert_allclose(weight[:2].sum(axis=1), 1.0, atol=EXACT)


def test_an_edge_in_single_precision_is_still_inside() -> None:
    edge = np.float32(50.1)  # 50.0999985: a station at 50.1 is 1.5e-6 degrees beyond it
    grid = Grid.regular(np.array([49.9, edge]), np.array([0.0, 0.2]))
    np.testing.assert_allclose(
        value_at(grid, np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([50.1]), np.array([0.1])), 1.0
    )


def test_two_dimensional_coordinates_are_refused() -> None:
    lat, lon = np.meshgrid(np.arange(3.0), np.arange(4.0), indexing="ij")
    with pytest.raises(InputError, match="2-D"):
        weights_of(Grid(lat, lon), np.array([1.0]), np.array([1.0]))


def random_affine() -> Affine:
    rng = np.random.default_rng(1)
    grid = Grid.regular(np.arange(6.0), np.arange(12) * 30.0)
    index, weight = weights_of(grid, rng.uniform(0, 5, 40), rng.uniform(-180, 180, 40))
    return Affine.of(rng.integers(0, 3, 40), index, weight, 72).scaled(rng.uniform(0.5, 1, 40), rng.standard_normal(40))


def test_adjoint_dot_product() -> None:
    h, generator = random_affine(), torch.Generator().manual_seed(0)
    x, v = (torch.randn(2, 3, 6, 12, generator=generator, dtype=torch.float64) for _ in range(2))
    w = torch.randn(2, 40, generator=generator, dtype=torch.float64)
    # Both sides sum 80 products of size 1: rounding about sqrt(80) eps = 2e-15.
    torch.testing.assert_close((w * jvp(h, x, v)).sum(), (vjp(h, x, w) * v).sum(), rtol=0, atol=1e-13)
    torch.testing.assert_close(jvp(h, x, v), h(x + v) - h(x), rtol=0, atol=1e-13)  # affine


def test_batches_dtypes_and_subsets_agree() -> None:
    h, x = random_affine(), torch.randn(5, 2, 3, 6, 12, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    y = h(x)
    assert y.shape == (5, 2, 40)
    torch.testing.assert_close(y[3, 1], h(x[3, 1]), rtol=0, atol=0)
    torch.testing.assert_close(torch.func.vmap(h)(x), y, rtol=0, atol=0)
    # Four products and an offset, each of size 1 with a rounding of 6e-8.
    single = h(x.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), y, rtol=0, atol=2e-6)
    keep = np.arange(40) % 3 == 0
    torch.testing.assert_close(h.subset(keep)(x), y[..., torch.as_tensor(keep)], rtol=0, atol=0)
    assert len(h.subset(keep)) == 14
    assert h.subset(np.zeros(40, dtype=bool))(x).shape == (5, 2, 0)
