"""The rows of `bench attention`: what is run, what is extrapolated, and that a failure is told."""

from collections.abc import Callable
from typing import Any

import pytest

from stormda.errors import ConfigError, StormdaError
from stormda.nn.measure import Cost, Probe
from stormda.pipeline import bench


def cost(probe: Probe) -> Cost:
    """Linear, or quadratic in time."""
    return Cost(probe.tokens ** (2 if probe.kind == "softmax" else 1) / 1000, probe.tokens / 10)


def test_softmax_is_measured_up_to_a_limit_and_extrapolated_beyond(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Probe] = []
    monkeypatch.setattr(bench, "_alone", lambda probe: seen.append(probe) or cost(probe))
    result = bench.attention("nano", [40, 10, 20], softmax_up_to=20)
    assert {(p.kind, p.tokens) for p in seen} == {
        ("storm", 10), ("storm", 20), ("storm", 40), ("softmax", 10), ("softmax", 20)
    }  # fmt: skip
    assert len(seen) == 10 and all((p.width, p.heads, p.tile) == (64, 4, 8) for p in seen)
    for row in result.rows:
        assert row.extrapolated == (row.kind == "softmax" and row.tokens == 40)
        assert row.seconds == pytest.approx(row.tokens ** (2 if row.kind == "softmax" else 1) / 1000)
        assert row.peak_mib == pytest.approx(row.tokens / 10)
    title, columns, lines = result.table()
    assert "nano" in title and all(len(line) == len(columns) for line in lines)


def test_the_base_of_the_extrapolation_is_measured_where_nobody_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_alone", cost)
    rows = [r for r in bench.attention("nano", [64], softmax_up_to=32).rows if r.kind == "softmax"]
    assert [(r.tokens, r.seconds, r.extrapolated) for r in rows] == 2 * [(64, pytest.approx(4.096), True)]


def test_a_dry_run_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_alone", lambda probe: pytest.fail("it ran"))
    result = bench.attention("10M", [16, 32], dry_run=True)
    assert len(result.rows) == 8 and all(r.seconds is None for r in result.rows)
    assert len(result.table()[2]) == 8


def test_a_row_is_measured_in_a_process_of_its_own() -> None:
    found = bench._alone(Probe("storm", "backward", 2048, 64, 4, 4, 8, 4, repeats=1))
    # Tokens, keys and values, the result, and gradients of all of these: at least 8 tensors of 2048 x 64 float32.
    assert found.seconds > 0 and found.peak_mib > 8 * 2048 * 64 * 4 / 2**20


def test_a_failure_is_told() -> None:
    probe = Probe("storm", "forward", 64, 64, 5, 4, 8, 4)  # five heads do not divide 64
    with pytest.raises(StormdaError, match="storm forward of 64 tokens failed"):
        bench._alone(probe)


@pytest.mark.parametrize(
    ("call", "key"),
    [
        (lambda: bench.attention("huge", [1]), "--preset"),
        (lambda: bench.attention("nano", [0]), None),
        (lambda: bench.attention("nano", []), None),
        (lambda: bench.attention("nano", [1], tile=0), "--tile"),
        (lambda: bench.attention("nano", [1], repeats=0), "--repeats"),
        (lambda: bench.attention("nano", [1], device="abacus"), "--device"),
        (lambda: bench.attention("nano", [1], dtype="bfloat16"), "--dtype"),
        (lambda: bench.attention("nano", [1], dtype="complex64"), "--dtype"),
    ],
)
def test_what_is_wrong_is_said(call: Callable[[], Any], key: str | None) -> None:
    with pytest.raises(ConfigError) as error:
        call()
    assert error.value.key == key
