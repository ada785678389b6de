"""A centre's states on the grid of an analysis."""

from pathlib import Path

import numpy as np
import pytest

from stormda.config import Config, load
from stormda.errors import InputError
from stormda.grid import Grid
from stormda.pipeline.nwp import files_at, on_grid
from stormda.state import State
from stormda.variables import Channel

HERE = Path("x.nc")
COARSE = Grid(np.array([50.0, 45.0, 40.0]), np.array([0.0, 5.0, 10.0, 15.0]))


def linear(grid: Grid) -> State:
    """a + b lat + c lon of two members: what bilinear interpolation gives back exactly."""
    latitude, longitude = grid.fields
    x = 280 + 0.5 * latitude - 0.2 * np.mod(longitude + 180, 360)
    values = np.stack([x, x + 1])[:, None]
    return State(values, (Channel.parse("t2m"),), grid, np.asarray(["2020-01-01"], dtype="datetime64[s]"))


@pytest.mark.parametrize(
    "fine",
    [
        Grid(np.linspace(55.5, 35.5, 41), np.linspace(-2.3, 17.7, 41)),  # between its points
        Grid(np.linspace(35, 55, 41), np.linspace(-5, 20, 51)),  # among them, the other way round
        Grid(np.linspace(36, 54, 19), np.linspace(355, 381, 27)),  # in 0..360 and beyond
    ],
)
def test_a_linear_field_comes_back(fine: Grid) -> None:
    found = on_grid(linear(fine), COARSE, HERE, "assimilate.prior")
    # Weighted sums of four numbers near 280 in double precision.
    np.testing.assert_allclose(found.values, linear(COARSE).values, rtol=1e-13)
    assert found.grid is COARSE


def test_what_does_not_cover_the_grid_is_said() -> None:
    with pytest.raises(InputError, match="4 points of the analysis") as error:
        on_grid(linear(Grid(np.linspace(49, 39, 11), np.linspace(-2.3, 17.7, 41))), COARSE, HERE, "assimilate.prior")
    assert error.value.file == "x.nc" and error.value.key == "assimilate.prior"
    latitude, longitude = COARSE.fields
    with pytest.raises(InputError, match="2-D latitudes"):
        on_grid(linear(Grid(latitude + 0.1, longitude)), COARSE, HERE, "assimilate.prior")


def test_times_are_filled_in(tmp_path: Path) -> None:
    config: Config = load(None, [], {"channels": ["t2m"]})
    config._folder = tmp_path
    for name in ("fc_2019021712_m1.nc", "fc_2019021712_m2.nc", "fc_2019021800_m1.nc"):
        (tmp_path / name).write_text("x")
    time = np.datetime64("2019-02-17T12:00", "s")
    found = files_at(config, "fc_%Y%m%d%H_m*.nc", time, "assimilate.prior")
    assert [p.name for p in found] == ["fc_2019021712_m1.nc", "fc_2019021712_m2.nc"]
