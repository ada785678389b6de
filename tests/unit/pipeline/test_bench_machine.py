"""`bench train`, `bench io`, `bench scaling`: tiny runs of each, what they tell, and what they refuse."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stormda.errors import ConfigError
from stormda.pipeline.bench_frame import frame
from stormda.pipeline.bench_io import io
from stormda.pipeline.bench_scaling import scaling
from stormda.pipeline.bench_train import train


def fits(result: Any) -> None:
    """Every line of the table has its columns."""
    title, columns, lines = result.table()
    assert title and lines and all(len(line) == len(columns) for line in lines)


def test_a_step_of_training() -> None:
    plan = train("10M", "64x64", batch=3, dry_run=True)
    one = frame("10M", "64x64", channels=2, frames=1, direction="backward", dry_run=True)
    assert plan.seconds_a_step is None and plan.tokens == 1024
    assert plan.tflop == pytest.approx(3 * one.tflop) and plan.parameters == one.parameters
    fits(plan)
    done = train("nano", "8x16", blocks=1, batch=2, steps=1)
    assert done.seconds_a_step is not None and done.share is not None and done.gflops is not None
    assert done.tokens_per_second == pytest.approx(2 * 32 / done.seconds_a_step)
    assert done.gflops == pytest.approx(1000 * done.tflop / done.seconds_a_step)
    fits(done)


def test_reading_and_writing(tmp_path: Path) -> None:
    result = io("9x18", channels=2, members=3, observations=2400, times=20, folder=tmp_path)
    found = {row.what: row for row in result.rows}
    assert found["ensemble written"].count == found["ensemble read"].count == 3
    assert found["observations added"].count == 2400 and found["archive read, 16 at random"].count == 20
    window, box = found["window of 6 h read"].count, found["the same, 72 x 30 degrees"].count
    assert window == 600  # a hundred an hour, the first second of an hour left out
    assert 0 < box < window / 3  # a tenth of the degrees
    assert all(row.seconds > 0 and row.rate > 0 for row in result.rows)
    assert list(tmp_path.iterdir()) == []
    fits(result)


@pytest.mark.parametrize("kind", ["ensemble", "tile", "guided", "training"])
def test_pairs_of_one_rank_and_two(kind: str) -> None:
    result = scaling("nano", "8x16", kind=kind, ranks=[2], members=4, steps=1, rounds=2)
    (row,) = result.rows
    assert row.ranks == 2 and row.alone > 0 and row.together > 0 and row.lower <= row.ratio <= row.upper
    assert row.processor > 0
    assert row.difference < 1e-5  # sums of four in another order, in float32
    if kind in ("tile", "guided"):
        assert row.parts == (1, 2) and set(row.sent) == {"halo", "merge"} and row.load["four clusters"] >= 1
    fits(result)


@pytest.mark.parametrize(
    ("call", "key"),
    [
        (lambda: train("huge"), "--preset"),
        (lambda: train("nano", batch=0), "--batch"),
        (lambda: io("9"), "--shape"),
        (lambda: io(members=1), "--ensemble"),
        (lambda: io(channels=11), "--channels"),
        (lambda: io(folder=Path("/nowhere")), "--folder"),
        (lambda: scaling(kind="shard"), "--kind"),
        (lambda: scaling(kind="tile", ranks=[1]), "--ranks"),
        (lambda: scaling(ranks=[1]), "--ranks"),
        (lambda: scaling(ranks=[9]), "--ranks"),
        (lambda: scaling(rounds=1), "--rounds"),
    ],
)
def test_what_is_wrong_is_said(call: Callable[[], Any], key: str) -> None:
    with pytest.raises(ConfigError) as error:
        call()
    assert error.value.key == key
