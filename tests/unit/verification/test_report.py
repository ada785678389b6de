"""What a page shows: maps of every channel with a text, every observed variable, words that are escaped."""

import numpy as np

from stormda.grid import Grid
from stormda.observations import Observations
from stormda.variables import Channel
from stormda.verification.report import Snapshot, cycle_page, map_sections, number

GRID = Grid.regular(np.linspace(75, 15, 5), np.linspace(200, 330, 6))
CYCLE = np.datetime64("2014-01-01T06", "s")


def _snapshot(truth: bool) -> Snapshot:
    field = np.random.default_rng(0).normal(280, 5, size=(1, *GRID.shape))
    observations = Observations.of(
        {
            "report_id": "r",
            "station_id": np.array(["a", "b", "c", "d"], dtype=object),
            "platform": "metar",
            "source": "cities <b>",
            "variable": np.array(["t2m", "t2m", "t2m", "rh2m"], dtype=object),
            "time": np.full(4, CYCLE),
            "latitude": np.full(4, 40.0),
            "longitude": np.linspace(-120, -80, 4),
            "value": np.full(4, 280.0),
            "qc": np.array([0, 0, 20, 42], dtype=np.int32),
            "withheld": np.array([False, True, False, False]),
        }
    )
    fields = {"air": field[0] + 1} if truth else {}
    return Snapshot(CYCLE, 0, (Channel("air"),), GRID, field, np.abs(field) / 100, field - 1, fields, observations)


def test_maps_with_and_without_truth() -> None:
    with_truth, without = map_sections(_snapshot(True))[0], map_sections(_snapshot(False))[0]
    told = [p.alt.split(" of ")[1] for p in with_truth.pictures]
    assert told[:2] == ["the truth", "the background mean"] and len(told) == 7
    assert len(without.pictures) == 4  # nothing measures `air` itself, so there is no map of its observations
    # The analysis minus the background is 1 K everywhere.
    assert "from 1 to 1 K, on average 1 K" in without.pictures[2].alt


def test_variables_that_are_no_channel_are_shown_where_an_operator_maps_them() -> None:
    section = map_sections(_snapshot(False))[-1]
    assert section.title == "Also observed: t2m"  # nothing maps rh2m
    assert "1 used, 1 withheld, 1 rejected" in section.pictures[0].alt


def test_the_page_of_a_cycle_counts_observations_and_escapes_words() -> None:
    snapshot = _snapshot(False)
    page = cycle_page(
        method="storm",
        members=4,
        rows=(),
        snapshot=snapshot,
        sections=(),
        facts={"packages": {"numpy": "2"}, "command": "stormda verify <x>"},
        configuration="name: demo\n",
    )
    assert "not used: no operator" in page and "not used: background" in page
    assert "cities &lt;b&gt;" in page and "<x>" not in page
    assert "packages: numpy" in page and "2014-01-01T06:00Z" in page


def test_numbers_are_short() -> None:
    assert [number(v) for v in (101325.04, 0.123456, -2.5, None)] == ["101325", "0.1235", "-2.5", "-"]
