"""Stage `bench past`: what analyses are worth when the past is short, old, wrong, mistaken for better, or gone.

In the world of the section `twin`, with its network, each curve beside the climatological prior (no past at all) at the
same times, with the same observations and noise:

    frames        only the newest n frames of history are there
    age           the newest frame is so many steps old: cycles are missing
    error         the history errs by a share e of the climatological standard deviation, and says so
    told          it errs by --error, and says that times a factor
    cycles        the first cycles after a cold start; then one cycle is left out (`gap`), or not (`no gap`)

Where a curve does not say otherwise the history errs by --error and says so; `stormda.pipeline.pasts` makes it. Cycles
make their own. Graceful means that no point of a curve lies above the climatological level.
"""

__all__ = ["PastResult", "past"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from stormda import config as configuration
from stormda.assimilation.methods import Settings
from stormda.assimilation.prior import GaussianPrior
from stormda.config import Config
from stormda.errors import ConfigError
from stormda.pipeline import build
from stormda.pipeline.networks import describe, network_of
from stormda.pipeline.past_curves import CURVES, SCORES, Curves, Row
from stormda.pipeline.pasts import Trial
from stormda.pipeline.twin import units
from stormda.pipeline.worlds import simulated_archive, world_config, world_of
from stormda.random import stream, uniform
from stormda.store.provenance import provenance
from stormda.store.publish import write_bytes, write_json
from stormda.types import Progress, silent
from stormda.verification.plots import Line, Panel, panels

METHODS = ("storm", "gaussian", "kf")
_STYLES = (
    ("analysis", "analysis", "-"),
    ("background", "background", "--"),
    ("analysis without a past", "climate_analysis", ":"),
)
_BESIDE = (("analysis, no cycle missing", "analysis", "-."),)
_PANELS = {  # rows of these names: title, label of the x axis, whether that is logarithmic
    "frames": ("frames of history that are there", "frames", False),
    "age": ("newest frame", "age [steps]", False),
    "error": ("error of the history", "share of the climatological sd", False),
    "told": ("error that the prior is told", "told / true", True),
    "cold start": ("cold start", "cycle", False),
    "gap": ("after a cycle that is missing", "cycle after it", False),
    "no gap": ("after a cycle that is missing", "cycle after it", False),
}


@dataclass(frozen=True)
class PastResult:
    """The points of all curves, and where they are written."""

    world: str
    network: str
    members: int
    unit: str
    error: float
    rows: tuple[Row, ...]
    files: tuple[str, ...]

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people."""
        title = (
            f"pasts: {self.world}, {self.network}, {self.members} members [{self.unit}]; the history errs by "
            f"{self.error:g} climatological sd"
        )
        columns = ["method", "curve", "x", "cases", "background RMSE", "CRPS", "spread/skill"]
        columns += ["analysis RMSE", "CRPS", "spread/skill", "CRPS / climatological", "95 %"]
        return title, columns, [_texts(row) for row in self.rows]


def _texts(row: Row) -> list[str]:
    scores = [f"{part[name]:.4g}" for part in (row.background, row.analysis) for name in SCORES]
    interval = f"{row.low:.3f}..{row.high:.3f}" if np.isfinite(row.low) else ""
    return [row.method, row.curve, f"{row.x:g}", str(row.cases), *scores, f"{row.ratio:.3f}", interval]


def past(
    config: Config,
    *,
    chosen: Sequence[str] = ("storm", "gaussian"),
    curves: Sequence[str] = CURVES,
    times: int = 20,
    error: float = 0.3,
    starts: int = 3,
    cycles: int = 12,
    after: int = 6,
    dry_run: bool = False,
    progress: Progress = silent,
) -> PastResult:
    """Measure the curves; writes `<run_dir>/bench/past.json` and `past.png`.

    Args:
        config: the run; its section `twin` says which world, how many times of it and which network.
        chosen: storm, gaussian, kf.
        curves: of `CURVES`.
        times: analyses that each point of a curve is the mean of, drawn at random from the world's.
        error: e of the history, share of the climatological standard deviation.
        starts: cold starts, spread evenly.
        cycles: after a cold start.
        after: after the missing one.
        dry_run: check everything, measure nothing.
        progress: told about analyses.

    Raises:
        ConfigError: a method without a past, an unknown curve, a number out of range, more times than the world has.
        InputMissing, InputError: an archive or weights that are not there or do not fit.
    """
    config = world_config(config)
    spec = config.twin
    _check(chosen, curves, times, error, starts, cycles, after)
    found = PastResult(spec.world.kind, describe(config), config.assimilate.ensemble, "", error, (), ())
    if spec.world.kind != "archive":
        if dry_run:
            return found
        simulated_archive(config, progress)
    climate = build.prior(config, "gaussian")
    assert isinstance(climate, GaussianPrior)
    priors = {method: build.prior(config, method) if method == "storm" else climate for method in chosen}
    first = max(prior.frames for prior in priors.values())
    _fits(spec.cycles, first, times if set(curves) - {"cycles"} else 0, cycles + 1 + after if "cycles" in curves else 0)
    if dry_run:
        return found
    world = world_of(config, spec.seeds[0], progress)
    settings = Settings.of(config, build.sampler(config))
    rows: list[Row] = []
    for method, prior in priors.items():
        observe = network_of(config, prior.grid, prior.channels, spec.seeds[0])
        trial = Trial(method, prior, climate, world, observe, settings)
        measure = Curves(trial, progress)
        numbers = _numbers(len(world.times), first, times)
        for curve in (c for c in CURVES if c in curves and c != "cycles"):
            rows += measure.curve(curve, numbers, error)
        if "cycles" in curves:
            rows += measure.cycles(len(world.times), starts, cycles, after)
    return _publish(config, found, rows, units(priors[chosen[0]])[1])


def _check(chosen: Sequence[str], curves: Sequence[str], times: int, error: float, *counts: int) -> None:
    for method in chosen or ("",):
        if method not in METHODS:
            what = f"'{method}' has no past that can be taken away" if method else "no method is named"
            raise ConfigError(what, key="--method", hint=f"one of {', '.join(METHODS)}")
    for curve in curves or ("",):
        if curve not in CURVES:
            raise ConfigError(f"there is no curve '{curve}'", key="--curve", hint=f"one of {', '.join(CURVES)}")
    if not 0 < error < 1:
        hint = "a share of the climatological sd: 0 is the truth, 1 is no knowledge"
        raise ConfigError(f"an error of {error:g} is not between 0 and 1", key="--error", hint=hint)
    for name, count in zip(("times", "starts", "cycles", "after"), (times, *counts), strict=True):
        if count < 1:
            raise ConfigError(f"--{name} must be at least 1, not {count}", key=f"--{name}")


def _fits(have: int, first: int, times: int, span: int) -> None:
    if times > have - first:
        what = f"{times} times with {first} frames before them do not fit into {have} cycles"
        raise ConfigError(what, key="--times", hint=f"at most {max(have - first, 0)}, or more twin.cycles")
    if span > have:
        what = f"{span} cycles from a cold start to the last after the gap do not fit into {have}"
        raise ConfigError(what, key="--cycles", hint=f"twin.cycles={span}, or fewer --cycles and --after")


def _numbers(have: int, first: int, times: int) -> list[int]:
    """Random times of the world, in their order: a whole number of steps apart would be the same hour of the day."""
    order = uniform(0, stream("bench past"), torch.zeros(1, dtype=torch.int64), torch.arange(have - first))[0].argsort()
    return sorted((order[:times] + first).tolist())


def _publish(config: Config, found: PastResult, rows: list[Row], unit: str) -> PastResult:
    folder = config.run / "bench"
    files = tuple(str(folder / name) for name in ("past.json", "past.png"))
    result = PastResult(found.world, found.network, found.members, unit, found.error, tuple(rows), files)
    facts = {"rows": rows, "unit": unit, "error": found.error, "provenance": provenance(configuration.dump(config))}
    write_json(folder / "past.json", facts)
    title = f"{found.world}, {found.network}"
    write_bytes(folder / "past.png", panels(_drawn(rows), label=f"CRPS [{unit}]", title=title))
    return result


def _drawn(rows: list[Row]) -> list[Panel]:
    """A panel a curve; `gap` and `no gap` share one. Solid: analysis; dashed: background; dotted: without any past."""
    drawn: dict[str, Panel] = {}
    for name in dict.fromkeys(row.curve for row in rows):
        title, label, logarithmic = _PANELS[name]
        panel = drawn.setdefault(title, Panel(title, label, [], logarithmic))
        for number, method in enumerate(dict.fromkeys(row.method for row in rows)):
            mine = [row for row in rows if (row.curve, row.method) == (name, method)]
            x = np.array([row.x for row in mine])
            for said, part, style in _BESIDE if name == "no gap" else _STYLES:
                values = np.array([getattr(row, part)["crps"] for row in mine])
                panel.lines.append(Line(f"{method}: {said}", x, values, number, style))
    return list(drawn.values())
