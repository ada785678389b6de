"""`bench sampler`: the posterior exactly, the targets of the default, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from stormda.errors import ConfigError
from stormda.pipeline import bench_sampler
from stormda.pipeline.bench_sampler import SHARES, VARIANCES, Row, SamplerResult, sampler

FEW: dict[str, Any] = {"shares": (0.2, 1.0), "variances": (1e-4, 1.0)}


def row(**changes: object) -> Row:
    plain = dict(guidance="jfps", sampler="dpm2m", corrections=0, steps=8, evaluations=8, products=0)
    return Row(**(plain | {"spread": (0.9, 1.05), "point": (0.8, 1.1), "mean": 0.01, "exact": True} | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def small() -> SamplerResult:
    """The default sampler on a small ring; the command's ring has 100 points and all of its networks."""
    return sampler(20, kinds=["dpm2m", "dpm2mx"], **FEW)


def found(result: SamplerResult, guidance: str, kind: str, evaluations: int) -> Row:
    wanted = guidance, kind, evaluations, 0
    (one,) = [r for r in result.rows if (r.guidance, r.sampler, r.evaluations, r.corrections) == wanted]
    return one


def test_the_default_is_calibrated(small: SamplerResult) -> None:
    # The targets of the project: 0.93 to 1.10 at 16 calls, 0.97 to 1.03 at 32 or fewer; the mean is nearly exact.
    low, high = found(small, "jfps", "dpm2m", 16).spread
    assert 0.93 < low < high < 1.10
    low, high = found(small, "jfps", "dpm2m", 24).spread
    assert 0.97 < low < high < 1.03
    assert all(r.mean < 0.02 for r in small.rows if r.guidance in ("jfps", "mmps"))


def test_guidance_with_the_exact_covariance_agrees_and_others_do_not(small: SamplerResult) -> None:
    theirs, ours = (found(small, kind, "dpm2m", 16) for kind in ("mmps", "jfps"))
    assert theirs.spread == pytest.approx(ours.spread, abs=1e-6)  # the solver's tolerance, 1e-9, over 16 levels
    assert theirs.products > 16 and ours.products == 0
    assert found(small, "sda 1", "dpm2m", 16).error > 10 * ours.error
    assert not found(small, "dps 1", "dpm2m", 16).exact


def test_extrapolation_gives_back_what_the_last_level_takes(small: SamplerResult) -> None:
    plain, extrapolated = (found(small, "jfps", kind, 32) for kind in ("dpm2m", "dpm2mx"))
    assert plain.point[0] < extrapolated.point[0] < 1.01 and extrapolated.error < plain.error + 1e-3


def test_the_front_holds_rows_that_nothing_beats() -> None:
    cheap, best, beaten = row(), row(evaluations=16, spread=(0.98, 1.02)), row(evaluations=16, spread=(0.97, 1.02))
    dear, guessed = row(evaluations=16, products=20), row(evaluations=4, exact=False)
    front = bench_sampler._front([cheap, best, beaten, dear])
    assert [r.front for r in front] == [True, True, False, False]
    assert not bench_sampler._front([guessed])[0].front
    assert row(mean=float("nan")).error == float("inf")


def test_a_picture_and_a_table(tmp_path: Path) -> None:
    path = tmp_path / "s.png"
    result = sampler(20, kinds=["ancestral"], picture=path, **FEW)
    assert path.read_bytes().startswith(b"\x89PNG") and result.picture == str(path)
    title, columns, lines = result.table()
    assert "4 problems" in title and len(SHARES) * len(VARIANCES) == 20
    assert {len(line) for line in lines} == {len(columns)} and len(lines) == len(result.rows) == 3


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(ConfigError, match="unknown sampler 'euler'.*one of dpm2m"):
        sampler(kinds=["euler"])
    with pytest.raises(ConfigError, match="10 points"):
        sampler(10)
    assert sampler(dry_run=True).rows == ()
