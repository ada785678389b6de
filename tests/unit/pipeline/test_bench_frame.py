"""`bench frame`: what is measured is what was asked for, and what is wrong is said."""

from collections.abc import Callable
from typing import Any

import pytest

from stormda.errors import ConfigError, StormdaError
from stormda.nn.frame import Frame, FrameCost
from stormda.pipeline import bench_frame
from stormda.pipeline.bench_frame import frame


def test_a_frame_of_the_globe_without_running_it() -> None:
    forward, backward = (frame("10M", patch=2, direction=d, dry_run=True) for d in ("forward", "backward"))
    assert forward.tokens == 361 * 720 and forward.seconds is None and forward.share is None
    assert backward.tflop == pytest.approx(3 * forward.tflop)
    # 6 blocks of 32 D^2 in projections and perceptron, 8 x 256 keys x D in tiles and 16 x 64 latents x D; pools
    # of 6 + 12 variables, 4 D^2 each; what goes into tokens and comes out of them is a few per cent.
    per_token = 6 * (32 * 256**2 + 8 * 256 * 256 + 16 * 64 * 256) + 18 * 4 * 256**2
    assert forward.tflop == pytest.approx(361 * 720 * per_token / 1e12, rel=0.05)
    assert len(forward.table()[1]) == len(forward.table()[2][0])


def test_rates_follow_from_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Frame] = []

    def measured(work: Any, probe: Frame, *_: str) -> FrameCost:
        asked.append(probe)
        return FrameCost(2.0, 300.0, 4e9)

    monkeypatch.setattr(bench_frame, "alone", measured)
    result = frame("nano", "12x20", channels=2, frames=1, patch=3, blocks=1)
    assert (asked[0].shape, asked[0].blocks, asked[0].width, asked[0].tile) == ((12, 20), 1, 64, 8)
    assert result.tokens == 4 * 7 and result.tokens_per_second == 14.0
    assert result.share == pytest.approx(result.tflop * 1e12 / 2.0 / 4e9)
    title, columns, lines = result.table()
    assert "28 tokens" in title and len(lines[0]) == len(columns)


def test_a_small_one_runs_in_its_process() -> None:
    result = frame("nano", "16x32", channels=2, frames=1, patch=2, blocks=1)
    # Nothing of it is free: torch itself is over 100 MiB.
    assert result.seconds is not None and result.peak_mib is not None and result.peak_mib > 100
    assert result.share is not None and 0 < result.share < 1


def test_a_failure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_frame, "measure_frame", None)  # cannot be called
    with pytest.raises(StormdaError, match="a frame of 128 tokens failed") as error:
        frame("nano", "16x32", patch=2)
    assert "larger --patch" in str(error.value.hint)


@pytest.mark.parametrize(
    ("call", "key"),
    [
        (lambda: frame("huge"), "--preset"),
        (lambda: frame("nano", "721"), "--shape"),
        (lambda: frame("nano", "0x4"), "--shape"),
        (lambda: frame("nano", channels=0), "--channels"),
        (lambda: frame("nano", blocks=0), "--blocks"),
        (lambda: frame("nano", direction="sideways"), "--direction"),
        (lambda: frame("nano", device="abacus"), "--device"),
        (lambda: frame("nano", dtype="bfloat16"), "--dtype"),
    ],
)
def test_what_is_wrong_is_said(call: Callable[[], Any], key: str) -> None:
    with pytest.raises(ConfigError) as error:
        call()
    assert error.value.key == key
