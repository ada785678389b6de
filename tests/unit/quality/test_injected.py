"""Errors planted in clean observations: `benchmarks/quality.py` with one seed, against the promises of the table."""

import runpy
from pathlib import Path

import pytest

BENCHMARK = runpy.run_path(str(Path(__file__).parents[3] / "benchmarks" / "quality.py"))


@pytest.mark.parametrize("seed", [11, 12])
def test_planted_errors_are_found_and_good_values_are_kept(seed: int) -> None:
    planted = BENCHMARK["plant"](seed, 250)
    there, found, alarms = BENCHMARK["tally"](planted, BENCHMARK["checked"](planted)["qc"])
    for name in ("gross", "unit", "stuck", "spike", "duplicate"):
        assert there[name] > 0 and found[name] > 0.95 * there[name], name
    assert there["gross"] > 15
    rejected = sum(n for words, n in alarms.items() if words not in ("used", *EARLIER))
    assert rejected < 0.01 * (rejected + alarms["used"])
    assert alarms[EARLIER[1]] < 0.01 * alarms[EARLIER[0]]


EARLIER = ("good at earlier hours", "of these rejected")


def test_the_bias_of_stations_is_learned() -> None:
    before, after = BENCHMARK["bias_left"](0)
    # 20 innovations of variance 1 + 4 and 5 that say 0: 6 * 5/25 = 1.2 K are left, and sqrt(5 / 20) * 20/25 = 0.4 K.
    assert before == 6.0 and after < 1.2 + 3 * 0.4 / 20**0.5 + 0.1
