"""Changes of scores between two runs: the numbers, the pairing of their times, and what is said of them."""

import numpy as np

from stormda.metrics.base import Sums
from stormda.time import parse_time
from stormda.types import Array
from stormda.verification.changes import Change, change_figure, change_table, compare, verdict
from stormda.verification.compare import Part
from stormda.verification.denial_page import denial_page
from stormda.verification.lines import Score
from stormda.verification.plots import png
from stormda.verification.scorecards import cards_of, cards_section
from stormda.verification.tally import Key, Tally

START = parse_time("2020-01-01T00Z")
STEP = np.timedelta64(6 * 3600, "s")


def tally(squares: Array, crps: Array, *, first: int = 0, n: int = 10, side: str = "analysis") -> Tally:
    """Of as many times as there are numbers: each is the mean of n values."""
    parts = []
    for k, (square, score) in enumerate(zip(squares, crps, strict=True), start=first):
        totals = {"squared_error": np.array([n * square]), "crps": np.array([n * score])}
        sums = Sums(np.array([n]), np.array([float(n)]), totals)
        parts.append(Part("truth", "t2m", "K", side, START + k * STEP, 0, 8, sums, np.array([""])))
    return Tally.of(parts)


KEY = Key("truth", "t2m", "K", "analysis")


def change_of(own: Tally, other: Tally) -> Change:
    found = compare(own, other, KEY)
    assert found is not None
    return found


def test_a_change_is_of_roots_of_means() -> None:
    own, other = tally(np.array([1.0, 3.0]), np.array([0.5, 0.5])), tally(np.array([4.0, 4.0]), np.array([0.6, 0.6]))
    found = change_of(own, other)
    # RMSE sqrt(2) and 2: 100 (sqrt(2) - 1) per cent; CRPS 0.6 / 0.5: 20 per cent. Two times have no interval.
    np.testing.assert_allclose([found.rmse, found.rmse_other], [2**0.5, 2.0], rtol=1e-14)
    np.testing.assert_allclose(found.rmse_change.value or 0, 100 * (2**0.5 - 1), rtol=1e-12)
    np.testing.assert_allclose(found.crps_change.value or 0, 20.0, rtol=1e-12)
    assert found.rmse_change.low is None and verdict(found.rmse_change) == "–"


def test_only_common_times_count_and_each_run_has_its_own_weight() -> None:
    own = tally(np.array([9.0, 1.0, 1.0]), np.ones(3))
    other = tally(np.array([4.0, 4.0, 100.0]), np.ones(3), first=1, n=5)  # the last one the other run has alone
    found = change_of(own, other)
    assert (found.cycles, found.n, found.n_other) == (2, 20, 10)
    np.testing.assert_allclose(found.rmse_change.value or 0, 100.0, rtol=1e-12)  # RMSE 1 and 2
    assert compare(own, tally(np.ones(2), np.ones(2), first=7), KEY) is None
    assert compare(own, tally(np.ones(3), np.ones(3), side="background"), KEY) is None


def test_the_interval_is_paired() -> None:
    """Weather varies by a factor of 100, the runs differ by 10 per cent of the square in each: no doubt is left."""
    weather = np.exp(np.random.default_rng(0).normal(0, 2.3, 40))
    found = change_of(tally(weather, weather), tally(1.1 * weather, 1.1 * weather))
    exact = 100 * (1.1**0.5 - 1)
    # Every replicate has the same ratio, to rounding.
    np.testing.assert_allclose([found.rmse_change.low or 0, found.rmse_change.high or 0], exact, rtol=1e-9)
    assert verdict(found.rmse_change) == "▲ better"
    back = change_of(tally(1.1 * weather, weather), tally(weather, weather))
    assert verdict(back.rmse_change) == "▼ worse"
    # The CRPS is the same in both; rounding may fall to either side, zero is told as no difference.
    assert back.crps_change == Score(0.0, 0.0, 0.0) and verdict(back.crps_change) == "○ no difference shown"


def test_cards_name_methods_and_are_drawn() -> None:
    rng = np.random.default_rng(1)
    own, kf = (tally(a, a) for a in rng.uniform(1, 2, (2, 12)))
    cards = cards_of(own, {"kf": kf, "oi": tally(np.ones(3), np.ones(3), first=50)})
    assert list(cards) == ["kf"]  # oi has no time in common
    section = cards_section("storm", cards)
    assert section is not None and section.pictures[0].data.startswith(b"\x89PNG")
    assert "storm beside kf, against the truth" in section.pictures[0].alt and "RMSE storm" in section.tables[0].columns
    assert cards_section("storm", {}) is None
    drawn = change_figure(cards["kf"], title="t", better="storm", worse="kf")
    assert png(drawn) == png(change_figure(cards["kf"], title="t", better="storm", worse="kf"))


def test_the_table_tells_where_values_differ() -> None:
    found = change_of(tally(np.ones(6), np.ones(6)), tally(np.ones(6), np.ones(6), n=9))
    row = dict(zip(*(lambda t: (t.columns, t.rows[0]))(change_table([found], "c", "a", "b")), strict=False))
    assert row["values"] == "60 / 54"


def test_the_page_of_a_denial_says_what_the_source_does() -> None:
    rng = np.random.default_rng(2)
    square = rng.uniform(1, 2, 12)
    found = change_of(tally(square, square), tally(1.5 * square, 1.5 * square))
    page = denial_page(
        source="ships & co", lead="l", changes=[found], missing=["a gap"], facts={}, configuration="x: 1\n"
    )
    assert "ships &amp; co" in page and "▲ helps" in page and "+22.5 %" in page and "a gap" in page  # sqrt(1.5) - 1
    assert page.count('<img src="data:image/png;base64,') == 1 and "http://" not in page
