"""Figures are PNG files drawn without a display, the same every time; coast lines lie where coasts are."""

import numpy as np
import pytest

from stormda.grid import Grid
from stormda.verification.maps import Scale, _lines, field_map, observation_map
from stormda.verification.plots import rank_histogram, time_series

PNG = b"\x89PNG\r\n\x1a\n"
EUROPE = Grid.regular(np.linspace(55, 30, 6), np.linspace(-15, 15, 7))
AMERICA = Grid.regular(np.linspace(75, 15, 7), np.linspace(200, 330, 9))
PLANE = Grid(np.linspace(30, 60, 8), np.linspace(0, 315, 8), (True, True), plane=True)
LAMBERT = Grid(*np.meshgrid(np.linspace(30, 50, 5), np.linspace(-10, 10, 6), indexing="ij"))
LINE = Grid(np.zeros(1), np.linspace(0, 351, 40), (False, True), plane=True)


@pytest.mark.parametrize("grid", [EUROPE, AMERICA, PLANE, LAMBERT, LINE])
def test_a_field_of_any_grid_is_drawn(grid: Grid) -> None:
    field = np.random.default_rng(0).normal(size=grid.shape)
    assert field_map(grid, field, title="increment", unit="K", scale=Scale.about_zero(field)).startswith(PNG)


def test_a_constant_field_is_drawn() -> None:
    field = np.full(EUROPE.shape, 5.0)
    for scale in (Scale.of(field), Scale.about_zero(0 * field), Scale.from_zero(0 * field)):
        assert field_map(EUROPE, field, title="t", unit="K", scale=scale).startswith(PNG)


def test_observations_are_drawn_also_where_there_are_none() -> None:
    none = (np.array([]), np.array([]))
    places = {"used": (np.array([40.0]), np.array([-100.0])), "withheld": none, "rejected": none}
    assert observation_map(AMERICA, places, title="observations").startswith(PNG)


def test_scores_are_drawn_and_the_same_twice() -> None:
    rng = np.random.default_rng(1)
    lines = {"storm": (rng.random(30), rng.random(30))}
    assert time_series(lines, spin_up=5, unit="K") == time_series(lines, spin_up=5, unit="K")
    times = np.datetime64("2019-02-17T00", "s") + np.arange(len(lines["storm"][0])) * np.timedelta64(6, "h")
    assert time_series(lines, times=times) != time_series(lines)
    assert rank_histogram({"storm": np.ones(9), "kf": np.zeros(9)}, limits={"storm": 0.1}).startswith(PNG)


def test_coast_lines_are_on_the_globe_and_never_cross_it() -> None:
    lines = _lines()
    assert np.nanmin(lines[:, 0]) >= -180 and np.nanmax(lines[:, 0]) <= 180
    # A segment that jumps from one side of the map to the other would be a line across all oceans.
    assert np.nanmax(np.abs(np.diff(lines[:, 0]))) < 20
    # Land's End, Cornwall, and Cape Agulhas lie within the 1:110 million generalisation of about a degree.
    for longitude, latitude in ((-5.7, 50.1), (20.0, -34.8)):
        assert np.nanmin(np.hypot(lines[:, 0] - longitude, lines[:, 1] - latitude)) < 1.0
