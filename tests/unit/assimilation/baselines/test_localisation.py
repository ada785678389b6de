"""Distances on sphere and plane, the taper, and which observations are near a point."""

import numpy as np
import pytest
import torch

from stormda.assimilation.baselines import localisation
from stormda.assimilation.baselines.localisation import EARTH, Places, nearby, taper
from stormda.errors import InputError
from stormda.grid import Grid
from stormda.types import Array


def weights(grid: Grid, places: Places, radius: float, nearest: int | None = None) -> Array:
    """The weight of every observation at every point, [P, N], and that nothing is there twice."""
    points = grid.shape[0] * grid.shape[1]
    found = np.zeros((points, len(places.latitude)))
    for piece in nearby(grid, places, radius, nearest):
        rows = np.broadcast_to(np.arange(points)[piece.points, None], piece.numbers.shape)
        np.add.at(found, (rows, piece.numbers), piece.weight)
    return found


def test_taper_of_gaspari_and_cohn() -> None:
    """1 at 0, 5/24 at half the radius from both sides, 0 at the radius with no slope, and always falling."""
    r = np.linspace(0, 1.2, 1201)
    t = taper(r)
    assert t[0] == 1 and (t[1000:] == 0).all() and (np.diff(t) <= 0).all()
    assert taper(np.array([0.5])) == pytest.approx(5 / 24)
    assert taper(np.array([0.5 + 1e-9])) == pytest.approx(5 / 24, abs=1e-6)
    assert t[999] < 1e-8  # (1 - r)^4 or smaller: the function has three derivatives at its end
    # As a Gaussian of L = radius sqrt(0.3) / 2 (their eq. 4.10, c = L sqrt(10/3)): the fourth derivatives differ.
    assert np.abs(t - np.exp(-(r**2) / (2 * 0.3 / 4))).max() < 0.05


def test_great_circles() -> None:
    grid = Grid.regular(np.array([60.0, 0.0, -60.0]), np.arange(0.0, 360.0, 30.0))
    places = Places(np.array([60.0, 89.0, -10.0]), np.array([-1.0, 77.0, 179.0]))
    lat, lon = (np.deg2rad(f.ravel())[:, None] for f in grid.fields)
    phi, lam = np.deg2rad(places.latitude), np.deg2rad(places.longitude)
    # The spherical law of cosines, which is good to 1e-8 of a radian off the origin.
    cosine = np.sin(lat) * np.sin(phi) + np.cos(lat) * np.cos(phi) * np.cos(lon - lam)
    expected = taper(EARTH * np.arccos(cosine) / 6000.0)
    np.testing.assert_allclose(weights(grid, places, 6000.0), expected, atol=1e-7)


def test_planes_wrap_where_they_do() -> None:
    places = Places(np.array([0.0, 35.0]), np.array([355.0, 100.0]))  # rows 0 and 3.5, columns 7.1 and 2 of 4 x 8
    for periodic in ((False, True), (True, True), (False, False)):
        grid = Grid(np.arange(4) * 10.0, np.arange(8) * 50.0, periodic=periodic, plane=True)
        rows, columns = (
            np.abs(a[:, None] - b) for a, b in ((np.arange(4.0), [0.0, 3.5]), (np.arange(8.0), [7.1, 2.0]))
        )
        rows = np.minimum(rows, 4 - rows) if periodic[0] else rows
        columns = np.minimum(columns, 8 - columns) if periodic[1] else columns
        distance = np.hypot(rows[:, None], columns[None])
        np.testing.assert_allclose(weights(grid, places, 3.0), taper(distance.reshape(32, 2) / 3.0), atol=1e-12)


def test_only_the_nearest_count_and_pieces_fit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid(np.zeros(1), np.arange(40) * 9.0, periodic=(False, True), plane=True)
    everywhere = Places(np.zeros(40), np.arange(40) * 9.0)
    whole = weights(grid, everywhere, 6.0)
    monkeypatch.setattr(localisation, "_PAIRS", 52)  # pieces of 4 points with 13 observations each
    assert len(list(nearby(grid, everywhere, 6.0))) == 10
    np.testing.assert_array_equal(weights(grid, everywhere, 6.0), whole)
    three = weights(grid, everywhere, 6.0, nearest=3)
    distance = np.minimum(np.abs(np.subtract.outer(np.arange(40), np.arange(40))), 40)
    near = np.minimum(distance, 40 - distance) <= 1
    np.testing.assert_array_equal(three, np.where(near, whole, 0.0))


def test_a_point_without_observations_has_weights_of_zero() -> None:
    grid = Grid(np.zeros(1), np.arange(40) * 9.0, periodic=(False, True), plane=True)
    (piece,) = nearby(grid, Places(np.zeros(1), np.zeros(1)), 2.0)
    assert piece.numbers.shape == piece.weight.shape == (40, 1) and (piece.weight[2:39] == 0).all()
    assert torch.as_tensor(piece.numbers).max() == 0


def test_a_curved_plane_has_no_spacing() -> None:
    latitude, longitude = np.meshgrid(np.arange(3.0), np.arange(4.0), indexing="ij")
    with pytest.raises(InputError, match="rows and columns"):
        next(nearby(Grid(latitude, longitude, plane=True), Places(np.zeros(1), np.zeros(1)), 2.0))
