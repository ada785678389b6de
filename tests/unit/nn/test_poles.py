"""Across a pole lies the other meridian, and there winds point the other way."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stormda.grid import Grid
from stormda.nn.embedding import Patches
from stormda.nn.poles import pole_arguments
from stormda.nn.storm import Storm
from stormda.variables import Channel

CHANNELS = tuple(Channel.parse(name) for name in ("z500", "u10", "v850", "ws10"))


def globe(rows: int, columns: int, on_pole: bool) -> Grid:
    half = 90.0 / rows
    latitude = np.linspace(90, -90, rows) if on_pole else np.linspace(90 - half, half - 90, rows)
    return Grid.regular(latitude, np.arange(columns) * 360.0 / columns)


def xyz(grid: Grid) -> Tensor:
    """A smooth scalar on the sphere, and the components of a smooth vector field: flow of a rotation about the x axis.

    Velocity w = e_x x r; eastward w . e_lon = -sin(lat) cos(lon), northward w . e_lat = sin(lon).
    """
    lat, lon = (np.deg2rad(f) for f in grid.fields)
    scalar = np.cos(lat) * np.cos(lon) + 0.5 * np.sin(lat)
    return torch.as_tensor(np.stack([scalar, -np.sin(lat) * np.cos(lon), np.sin(lon)]))[None]


@pytest.mark.parametrize("on_pole", [True, False])
def test_the_rim_beyond_a_pole_continues_smooth_fields(on_pole: bool) -> None:
    grid = globe(46, 90, on_pole)
    ends = pole_arguments(grid, CHANNELS)
    patches = Patches(grid.shape, 2, grid.periodic, ends["poles"], ends["pole_rows"])
    padded = patches.pad(xyz(grid), signs_G=torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    step = 180 / (45 if on_pole else 46) * np.pi / 180
    # Second differences of functions with second derivatives of at most 1.5 are at most 1.5 step^2, also across the
    # pole, where meridians go on as great circles.
    for rows in (padded[0, :, :3, 1:-1], padded[0, :, 46 - 1 : 46 + 2, 1:-1]):
        assert float(rows.diff(n=2, dim=1).abs().max()) < 1.5 * step**2
    wrong = patches.pad(xyz(grid))  # winds that keep their sign jump
    assert float(wrong[0, 1:, :3, 1:-1].diff(n=2, dim=1).abs().max()) > 1.0


def test_a_grid_knows_whether_it_reaches_a_pole() -> None:
    both = pole_arguments(globe(19, 36, True), CHANNELS)
    assert both == {"poles": [True, True], "pole_rows": [True, True], "vectors": [1, 2]}
    assert pole_arguments(globe(18, 36, False), CHANNELS)["pole_rows"] == [False, False]
    era5 = Grid.regular(np.linspace(90, -90, 721), np.arange(1440) * 0.25)
    assert pole_arguments(era5, CHANNELS)["poles"] == [True, True]
    north = Grid.regular(np.linspace(90, 20, 36), np.arange(0, 360, 2.0))
    assert pole_arguments(north, CHANNELS)["poles"] == [True, False]
    none: list[Grid] = [
        Grid.regular(np.linspace(80, -80, 17), np.arange(0, 360, 10.0)),
        Grid.regular(np.linspace(90, 20, 36), np.arange(0, 40, 2.0)),
        Grid.regular(np.linspace(90, -90, 19), np.arange(0, 360, 8.0)),  # 45 columns have no opposite ones
        Grid(np.linspace(-90, 90, 8), np.arange(8) * 45.0, periodic=(True, True), plane=True),
    ]
    assert [pole_arguments(grid, CHANNELS) for grid in none] == 4 * [{}]


def network(**ends: Any) -> Storm:
    torch.manual_seed(0)
    size = {"patch": 1, "width": 16, "blocks": 2, "heads": 2, "latents": 0, "tile": 4, "halo": 2}
    net = Storm(4, (12, 32), torch.ones(1, 12, 32), periodic=(False, True), frames=1, **size, **ends)
    torch.nn.init.normal_(net.head.weight)
    return net


def test_a_network_sees_the_other_side_and_turns_winds_round() -> None:
    g = torch.Generator().manual_seed(1)
    x = torch.randn(1, 5, 4, 12, 32, generator=g).requires_grad_()
    rest = [torch.zeros(1), torch.zeros(1, 1, 4, 12, 32), torch.ones(1, 1, 4, 12, 32)]
    rest += [torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 4)]
    ends = pole_arguments(globe(12, 32, False), CHANNELS)
    reach = []
    for arguments in (ends, {}):
        (gradient,) = torch.autograd.grad(network(**arguments)(x, *rest)[0, 0, 0, 1], x)
        reach.append(bool((gradient[0, :, :, 0, 17].abs() > 0).any()))  # half a circle away
    assert reach == [True, False]
    net = network(**ends)
    assert net.state_signs.view(5, 4)[:, 1].tolist() == [-1, -1, 1, 1, -1] and net.state_signs.view(5, 4)[0, 3] == 1
    assert net.history_signs.view(2, 4).tolist() == [[1, -1, -1, 1], [1, 1, 1, 1]]
    assert net.state_dict().keys() == network().state_dict().keys()
