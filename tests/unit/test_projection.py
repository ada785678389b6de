"""Projections: lines, areas and turns against Snyder's formulas (https://doi.org/10.3133/pp1395), without PROJ."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stormda.errors import InputError
from stormda.grid import Grid
from stormda.projection import Projection
from stormda.sources.axes import Axis
from stormda.sources.fields import Field
from stormda.sources.mapping import projection_of

RADIUS = 6371229.0
SPHERE = {"earth_radius": RADIUS}
LAMBERT = {
    "grid_mapping_name": "lambert_conformal_conic",
    "standard_parallel": 38.5,
    "longitude_of_central_meridian": -97.5,
    "latitude_of_projection_origin": 38.5,
} | SPHERE
POLAR = {
    "grid_mapping_name": "polar_stereographic",
    "straight_vertical_longitude_from_pole": -150.0,
    "latitude_of_projection_origin": 90.0,
    "standard_parallel": 60.0,
} | SPHERE
ROTATED = {
    "grid_mapping_name": "rotated_latitude_longitude",
    "grid_north_pole_latitude": 39.25,
    "grid_north_pole_longitude": -162.0,
} | SPHERE
EQUAL_AREA = {
    "grid_mapping_name": "lambert_azimuthal_equal_area",
    "latitude_of_projection_origin": 52.0,
    "longitude_of_projection_origin": 10.0,
} | SPHERE
KM = np.arange(-10, 11) * 1e5 + 3e4  # m, the pole is no point of it

# Central differences over 1 km and PROJ's iterations: 6e-7 (projection.py), twice in a product of two tangents.
EXACT = 2e-6


def lambert() -> Projection:
    return Projection(LAMBERT, KM + 2e5, KM)


def polar() -> Projection:
    return Projection(POLAR, KM, KM[::-1])


def rotated() -> Projection:
    return Projection(ROTATED, np.linspace(-10, 10, 21), np.linspace(-15, 15, 31))


ALL = pytest.mark.parametrize("make", [lambert, polar, rotated])


@ALL
def test_there_and_back(make: Any) -> None:
    p = make()
    x, y = p.place(*p.fields())
    spacing = np.abs(np.diff(p.x)).min()
    # PROJ returns to where it came from within 1e-9 degrees, 1e-4 m of 1e5 m.
    np.testing.assert_allclose(x, np.broadcast_to(p.x, x.shape), rtol=0, atol=1e-8 * spacing)
    np.testing.assert_allclose(y, np.broadcast_to(p.y[:, None], y.shape), rtol=0, atol=1e-8 * spacing)
    again = pickle.loads(pickle.dumps(p))
    assert again == p and hash(again) == hash(p) and again.same(p) and again.mapping == p.mapping


@pytest.mark.parametrize("mapping", [LAMBERT, POLAR, ROTATED, EQUAL_AREA], ids=lambda m: m["grid_mapping_name"][:5])
@pytest.mark.parametrize(
    "earth",
    [
        {"earth_radius": RADIUS},
        {"semi_major_axis": 6378137.0, "inverse_flattening": 298.257223563},
        {"semi_major_axis": 6378160.0, "inverse_flattening": 297.0},
        {"semi_major_axis": 6377563.396, "semi_minor_axis": 6356256.909},
    ],
    ids=["sphere", "WGS84", "IAU", "Airy"],
)
def test_what_it_writes_it_reads_as_the_same(mapping: dict[str, Any], earth: dict[str, float]) -> None:
    own = {name: value for name, value in mapping.items() if name != "earth_radius"} | earth
    p = Projection(own, np.arange(3.0), np.arange(4.0))
    again = Projection(p.mapping, p.y, p.x)
    assert again.same(p) and Grid.projected(again).same(Grid.projected(p))
    wider = Projection(own | {"semi_major_axis": 6378500.0, "earth_radius": 6378500.0}, p.y, p.x)
    assert not wider.alike(p)


def test_longitudes_of_a_map_are_in_any_convention() -> None:
    p = lambert()
    assert Projection(LAMBERT | {"longitude_of_central_meridian": 262.5}, p.y, p.x).same(p)
    assert not Projection(LAMBERT | {"longitude_of_central_meridian": 262.0}, p.y, p.x).same(p)


def test_a_message_that_does_not_tell_its_earth_is_named() -> None:
    """Shape 1 of code table 3.2 is a sphere whose radius a key gives."""
    axes = tuple(Axis(name, ("y", "x"), np.zeros((2, 2))) for name in ("latitude", "longitude"))
    keys = {"gridType": "rotated_ll", "latitudeOfSouthernPoleInDegrees": -30, "longitudeOfSouthernPoleInDegrees": 0}
    attributes = {f"GRIB_{name}": value for name, value in (keys | {"shapeOfTheEarth": 1}).items()}
    field = Field("t2m", ("y", "x"), (2, 2), attributes, {a.name: a for a in axes}, lambda block: KM, Path("x.grib"))
    with pytest.raises(InputError, match="does not tell its projection: 'radius' is missing"):
        projection_of(field, (axes[0], axes[1]))


@ALL
def test_lines_are_found_from_latitudes_and_longitudes_of_a_file(make: Any) -> None:
    p = make()
    latitude, longitude = (f.astype(np.float32) for f in p.fields())
    found = Projection.through(p.mapping, latitude, np.mod(longitude, 360.0))
    # float32 longitudes are rounded to 1.5e-5 degrees, 2 m; a line is the mean of 21.
    assert found.unit == p.unit and np.abs(found.x - p.x).max() < 2e-5 * np.ptp(p.x)
    with pytest.raises(InputError, match="grid spacings from the points of its projection"):
        Projection.through(p.mapping, latitude, longitude + latitude / 10)


def test_areas_have_the_square_of_the_scale_factor() -> None:
    """Polar stereographic, true at 60 N: k = (1 + sin 60) / (1 + sin phi) (Snyder 21-33, with k_0 of 21-7)."""
    grid = Grid.projected(polar())
    k = (1 + np.sin(np.deg2rad(60.0))) / (1 + np.sin(np.deg2rad(grid.fields[0])))
    np.testing.assert_allclose(grid.weights, k**-2 / (k**-2).mean(), rtol=EXACT)
    np.testing.assert_allclose(polar().areas, (1e5 / RADIUS / k) ** 2, rtol=EXACT)


def test_areas_of_an_equal_area_map_are_equal_and_of_a_rotated_pole_the_cosine() -> None:
    np.testing.assert_allclose(Grid.projected(Projection(EQUAL_AREA, KM, KM)).weights, 1.0, rtol=EXACT)
    cosine = np.cos(np.deg2rad(rotated().y))[:, None] * np.ones(31)
    np.testing.assert_allclose(Grid.projected(rotated()).weights, cosine / cosine.mean(), rtol=EXACT)


def test_wind_on_a_polar_map_turns_with_longitude() -> None:
    """y points along the central meridian: the axes are turned by longitude - longitude_0 (Snyder 21-1 and 21-2)."""
    p = polar()
    a = np.deg2rad(p.fields()[1] + 150.0)
    expected = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    np.testing.assert_allclose(p.turn, expected, rtol=0, atol=EXACT)


@ALL
def test_turning_keeps_the_speed(make: Any) -> None:
    turn = make().turn
    product = np.einsum("ikhw,jkhw->ijhw", turn, turn)
    np.testing.assert_allclose(product, np.eye(2)[:, :, None, None] * np.ones(turn.shape[2:]), rtol=0, atol=EXACT)


def test_wind_of_a_rotated_pole_points_to_it() -> None:
    """Northward on the rotated grid is along the great circle to the rotated pole, 39.25 N 162 W."""
    p = rotated()
    phi, lam = (np.deg2rad(f) for f in p.fields())
    pole, east = np.deg2rad(39.25), np.deg2rad(-162.0) - lam
    bearing = np.arctan2(
        np.cos(pole) * np.sin(east), np.cos(phi) * np.sin(pole) - np.sin(phi) * np.cos(pole) * np.cos(east)
    )
    np.testing.assert_allclose(p.turn[:, 1], [np.sin(bearing), np.cos(bearing)], rtol=0, atol=EXACT)


def test_parts_of_a_grid_are_found_in_it() -> None:
    whole = Grid.projected(lambert())
    part = Grid.projected(Projection(LAMBERT, lambert().y[3:8][::-1], lambert().x[2:9]))
    rows, columns = part.within(whole)
    assert rows.tolist() == [7, 6, 5, 4, 3] and columns.tolist() == list(range(2, 9))
    assert not part.same(whole) and whole.same(Grid.projected(lambert())) and "lambert_conformal" in str(whole)
    with pytest.raises(InputError, match="is not the grid"):
        part.within(Grid.projected(polar()))


@pytest.mark.parametrize(
    ("mapping", "y", "words"),
    [
        ({"grid_mapping_name": "healpix"}, KM, "the grid mapping 'healpix' is not understood"),
        ({"grid_mapping_name": "lambert_conformal_conic"}, KM, "is not understood"),
        ({"grid_mapping_name": "latitude_longitude"}, KM, "is no projection"),
        (LAMBERT, KM * np.nan, "two finite numbers or more"),
        (LAMBERT, np.abs(KM), "not monotonic"),
    ],
)
def test_what_is_no_projection(mapping: dict[str, Any], y: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Projection(mapping, y, KM)
