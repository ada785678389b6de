"""Which balances a set of channels allows, and that their sums give the root of the share."""

import numpy as np
import pytest

from stormda.grid import Grid
from stormda.variables import Channel
from stormda.verification.balance import balances, shocks
from stormda.verification.summary import summarise
from stormda.verification.tally import Tally

GRID = Grid.regular(np.linspace(70.0, 40.0, 7), np.linspace(0.0, 30.0, 8))
CYCLE = np.datetime64("2020-01-01T00", "s")


def test_levels_with_all_that_it_takes_have_a_balance() -> None:
    channels = tuple(map(Channel.parse, ("msl", "z1000", "z500", "t1000", "t500", "u500", "v500", "u850", "z300")))
    fields = np.random.default_rng(0).normal(size=(len(channels), *GRID.shape))
    parts = balances("increment", fields, channels, GRID, CYCLE, 0, 8)
    assert [p.variable for p in parts] == ["geostrophic 500 hPa", "hydrostatic 1000-500 hPa"]
    summary = summarise(Tally.of(parts))
    assert [(b.kind, b.side, b.cycles) for b in summary.balance] == [(p.variable, "increment", 1) for p in parts]


def test_shock_is_weighted_by_area_and_of_each_channel() -> None:
    x0 = np.zeros((3, 1, *GRID.shape))
    first = np.broadcast_to(np.arange(1.0, 8.0)[:, None], GRID.shape)
    (part,) = shocks((x0, x0 + first, x0 + first + 2), (Channel("msl"),), GRID, CYCLE, 0)
    (found,) = summarise(Tally.of([part])).balance
    # The first step is 1 to 7 from north to south, the second 2 everywhere.
    expected = np.sqrt(np.average(first**2, weights=GRID.weights)) / 2
    assert found.kind == "shock msl" and found.score.value == pytest.approx(expected, rel=1e-12)
