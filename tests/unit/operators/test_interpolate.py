"""Bilinear interpolation: exact for bilinear fields, on regular and projected grids; across the poles."""

import numpy as np
import pytest
import torch

from stormda.errors import InputError
from stormda.grid import Grid
from stormda.operators.base import jvp, vjp
from stormda.operators.interpolate import Affine, vector_weights, weights_of
from stormda.projection import Projection
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


# --- poles and projections -------------------------------------------------------------------------------------------


def cells(step: float) -> Grid:
    """Cell centres around the globe: the last rows end half a step before the poles."""
    return Grid.regular(np.arange(90 - step / 2, -90, -step), np.arange(0, 360, step))


def smooth(latitude: Array, longitude: Array) -> Array:
    """x + 2 y + 3 z + x z, of a place on the unit sphere: smooth across the poles."""
    phi, lam = np.deg2rad(latitude), np.deg2rad(longitude)
    x, y, z = np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)
    return np.asarray(x + 2 * y + 3 * z + x * z)


@pytest.mark.parametrize("step", [10.0, 1.0])
@pytest.mark.parametrize("pole", [1.0, -1.0])
def test_beyond_the_last_row_lies_the_row_across_the_pole(step: float, pole: float) -> None:
    rng, grid = np.random.default_rng(4), cells(step)
    latitude = pole * np.append(rng.uniform(90 - step / 2, 90, 300), [90.0, 90 - step / 2])
    longitude = rng.uniform(-180, 180, 302)
    # Bilinear interpolation errs by h^2 / 8 of each second derivative, along the meridian and along the row, where it
    # is that by longitude; of x, y, z and x z they are at most 1, 1, 1 and 2 in size: 2 (1 + 2 + 3 + 2) h^2 / 8.
    tolerance = 2.0 * np.deg2rad(step) ** 2
    got = value_at(grid, smooth(*grid.fields), latitude, longitude)
    np.testing.assert_allclose(got, smooth(latitude, longitude), rtol=0, atol=tolerance)
    index, weight = weights_of(grid, latitude, longitude)
    np.testing.assert_allclose(weight.sum(axis=1), 1.0, atol=EXACT)
    assert np.isnan(weights_of(grid, np.array([pole * 90.01]), np.array([0.0]))[1]).all()
    last = 0 if pole > 0 else grid.shape[0] - 1  # the place on the row itself lies between it and the next one
    assert (index[:-1] // grid.shape[1] == last).all()


@pytest.mark.parametrize("step", [10.0, 1.0])
def test_wind_across_a_pole_keeps_its_direction_in_space(step: float) -> None:
    """A sphere that turns about an axis on the equator: speed 1 over the poles, where u and v turn with longitude."""

    def flow(latitude: Array, longitude: Array) -> Array:
        phi, lam = np.deg2rad(latitude), np.deg2rad(longitude)
        return np.array([-np.sin(phi) * np.cos(lam), np.sin(lam)])  # about the axis 0 N 0 E

    rng, grid = np.random.default_rng(5), cells(step)
    latitude, longitude = rng.uniform(90 - step / 2, 90, 300), rng.uniform(0, 360, 300)
    index, weight = weights_of(grid, latitude, longitude)
    signed = vector_weights(grid, latitude, weight)
    for field, exact in zip(flow(*grid.fields), flow(latitude, longitude), strict=True):
        got = (field.ravel()[index] * signed).sum(axis=1)
        # h^2 / 8 of second derivatives of at most 1 along the meridian and along the row.
        np.testing.assert_allclose(got, exact, rtol=0, atol=np.deg2rad(step) ** 2 / 4)
    unsigned = (flow(*grid.fields)[1].ravel()[index] * weight).sum(axis=1)
    assert np.abs(unsigned - flow(latitude, longitude)[1]).max() > 0.5  # what the sign is for
    lower = np.full(300, 50.0)
    np.testing.assert_array_equal(vector_weights(grid, lower, weight), weight)


def test_a_region_or_a_map_that_ends_early_has_no_row_across_the_pole() -> None:
    for grid in (
        Grid.regular(np.arange(89.5, 60, -1.0), np.arange(0.0, 90.0)),  # not around the globe
        Grid.regular(np.arange(80.0, -81.0, -10.0), np.arange(0, 360, 10.0)),  # a whole row is missing
        Grid(np.arange(85.0, -86.0, -10.0), np.arange(0, 360, 10.0), (False, True), plane=True),
    ):
        assert grid.reaches_poles == (False, False)
        assert np.isnan(weights_of(grid, np.array([89.9]), np.array([10.0]))[1]).all()


KM = np.arange(-10, 11) * 1e5 + 3e4  # m, the pole is no point of it
SPHERE = {"earth_radius": 6371229.0}
LAMBERT = {"standard_parallel": 38.5, "longitude_of_central_meridian": -97.5, "latitude_of_projection_origin": 38.5}
POLAR = {
    "straight_vertical_longitude_from_pole": -150.0,
    "latitude_of_projection_origin": 90.0,
    "standard_parallel": 60.0,
}
ROTATED = {"grid_north_pole_latitude": 39.25, "grid_north_pole_longitude": -162.0}
PROJECTIONS = {
    "lambert": Projection({"grid_mapping_name": "lambert_conformal_conic"} | LAMBERT | SPHERE, KM + 2e5, KM),
    "polar": Projection({"grid_mapping_name": "polar_stereographic"} | POLAR | SPHERE, KM, KM[::-1]),
    "rotated": Projection(
        {"grid_mapping_name": "rotated_latitude_longitude"} | ROTATED | SPHERE,
        np.arange(-9.0, 10),
        np.arange(-15.0, 16),
    ),
}


@pytest.mark.parametrize("p", PROJECTIONS.values(), ids=list(PROJECTIONS))
def test_fields_bilinear_in_x_and_y_are_exact_on_a_projected_grid(p: Projection) -> None:
    rng = np.random.default_rng(6)
    grid = Grid.projected(p)

    def f(x: Array, y: Array) -> Array:
        s, t = (x - p.x.mean()) / np.ptp(p.x), (y - p.y.mean()) / np.ptp(p.y)
        return np.asarray(2.0 - 3.0 * t + 0.5 * s + 0.25 * s * t)

    x, y = rng.uniform(p.x.min(), p.x.max(), 300), rng.uniform(p.y.min(), p.y.max(), 300)
    inside = Projection(p.mapping, np.sort(y), np.sort(x))
    latitude, longitude = (np.diag(c) for c in inside.fields())
    x, y = np.sort(x), np.sort(y)
    got = value_at(grid, f(*np.meshgrid(p.x, p.y)), latitude, np.mod(longitude, 360.0))
    # PROJ returns to where it came from within 1e-9 degrees: 1e-10 of these grids; slopes are at most 3.5.
    np.testing.assert_allclose(got, f(x, y), rtol=0, atol=1e-9)
    assert np.isnan(weights_of(grid, np.array([-60.0, np.nan]), np.array([10.0, 0.0]))[1]).all()
    corners = value_at(grid, f(*np.meshgrid(p.x, p.y)), *(c[[0, -1], [0, -1]] for c in grid.fields))
    np.testing.assert_allclose(corners, f(p.x[[0, -1]], p.y[[0, -1]]), rtol=0, atol=1e-9)


@pytest.mark.parametrize("place", ["across the pole", "projected"])
def test_adjoint_dot_product_near_poles_and_on_maps(place: str) -> None:
    grid = cells(10.0) if place == "across the pole" else Grid.projected(PROJECTIONS["polar"])
    rng, (rows, columns) = np.random.default_rng(7), grid.shape
    latitude, longitude = rng.uniform(85, 90, 40), rng.uniform(-180, 180, 40)
    index, weight = weights_of(grid, latitude, longitude)
    assert np.isfinite(weight).all()
    h = Affine.of(np.arange(40) % 2, index, vector_weights(grid, latitude, weight), rows * columns)
    generator = torch.Generator().manual_seed(0)
    x, v = (torch.randn(2, 2, rows, columns, generator=generator, dtype=torch.float64) for _ in range(2))
    w = torch.randn(2, 40, generator=generator, dtype=torch.float64)
    # As above: 80 products of size 1.
    torch.testing.assert_close((w * jvp(h, x, v)).sum(), (vjp(h, x, w) * v).sum(), rtol=0, atol=1e-13)
    torch.testing.assert_close(jvp(h, x, v), h(x + v) - h(x), rtol=0, atol=1e-13)
