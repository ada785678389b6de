"""Stage `assimilate`: draw the analysis ensemble of each cycle from the posterior, in one reverse diffusion."""

__all__ = ["AssimilateResult", "CycleResult", "assimilate"]

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from stormda import config as configuration
from stormda.assimilation import methods
from stormda.assimilation.prior import GaussianPrior, Prior
from stormda.config import Config
from stormda.errors import AnalysisRejected, InputMissing
from stormda.observations import QC, Observations
from stormda.operators.build import build_operator
from stormda.pipeline import build
from stormda.pipeline.history import BASIS, Past, find_past
from stormda.pipeline.layout import analysis_folder
from stormda.quality.dynamic import run_dynamic
from stormda.quality.report import counts
from stormda.quality.withhold import withhold
from stormda.store.analysis import write_analysis
from stormda.store.feedback import write_feedback
from stormda.store.provenance import digest, fingerprint, provenance
from stormda.store.publish import atomic_folder, write_json, write_text
from stormda.time import Window, format_time
from stormda.types import Array, Mapping2, Progress, silent

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CycleResult:
    """One analysis: where it is and what went into it."""

    cycle: str
    split: int
    folder: str
    history: str
    used: int
    withheld: int
    rejected: int
    seconds: float


@dataclass(frozen=True)
class AssimilateResult:
    """The analyses of a call, in the order of their cycles."""

    method: str
    members: int
    cycles: tuple[CycleResult, ...] = field(default=())

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people."""
        columns = ["cycle", "split", "history", "used", "withheld", "rejected", "seconds", "folder"]
        rows = [
            [
                c.cycle,
                str(c.split),
                c.history,
                str(c.used),
                str(c.withheld),
                str(c.rejected),
                f"{c.seconds:.1f}",
                c.folder,
            ]
            for c in self.cycles
        ]
        return f"{self.members} members, method {self.method}", columns, rows


def assimilate(
    config: Config, cycles: Sequence[np.datetime64], *, dry_run: bool = False, progress: Progress = silent
) -> AssimilateResult:
    """Draw and publish the analysis ensemble of each cycle and each split seed.

    Args:
        config: the run.
        cycles: analysis times; they are worked through in order, so that each finds the one before as its history.
        dry_run: say what would be done, write nothing.
        progress: told about the work.

    Raises:
        InputMissing: no archive, no weights, or a required source lacks observations.
        AnalysisRejected: an analysis failed its sanity check; what was published before stays.
    """
    method = config.assimilate.method
    prior = build.prior(config, method)
    done: list[CycleResult] = []
    jobs = [(cycle, split) for cycle in sorted(cycles) for split in config.quality.withhold.seeds]
    backgrounds: dict[str, Tensor] = {}
    for number, (cycle, split) in enumerate(jobs):
        progress(f"{format_time(cycle)} {method}", number, len(jobs))
        done.append(_one(config, prior, method, cycle, split, dry_run, backgrounds))
    progress(f"{method} done", len(jobs), len(jobs))
    return AssimilateResult(method, config.assimilate.ensemble, tuple(done))


def _one(
    config: Config,
    prior: Prior,
    method: str,
    cycle: np.datetime64,
    split: int,
    dry_run: bool,
    backgrounds: dict[str, Tensor],
) -> CycleResult:
    """One analysis, from the store to the published folder."""
    start = perf_counter()
    folder = analysis_folder(config, method, cycle, split)
    past = find_past(config, prior, method, cycle, split)
    observations = withhold(_observations(config, cycle), config.quality.withhold, split)
    if dry_run:
        count = int(((observations["qc"] == QC.USED) & ~observations["withheld"]).sum())
        return _summary(config, cycle, split, folder, past, observations, count, start)

    decode = prior.normaliser.decoder(cycle)
    settings = methods.Settings.of(config, build.sampler(config))
    key = f"{cycle} {split}" if bool(past.history.mask.any()) else f"{cycle} cold start"
    if key not in backgrounds:  # A cold start has the same background for every split.
        backgrounds.clear()
        backgrounds[key] = methods.background(prior, past.history, cycle, settings)
    background = backgrounds[key]
    _sane(background, "background", config, cycle)

    previous = None if past.time is None or past.mean is None else (past.time, past.mean)
    operator, observations, rows = build_operator(
        observations, prior.grid, prior.channels, config.operators, cycle, previous, past.error, resolve=config.path
    )
    hx_background = operator(decode(background))
    checked = run_dynamic(observations.take(rows), config.quality.dynamic, hx_background.numpy(), None)
    observations = _merge(observations, checked, rows)
    keep = (checked["qc"] == QC.USED) & ~checked["withheld"]
    used = checked.where(keep)
    problem = methods.Problem(
        time=cycle,
        history=past.history,
        operator=_standardised(operator.subset(keep), decode),
        y=torch.tensor(used["value"]),
        variance=torch.as_tensor(used["error"] ** 2) + torch.as_tensor(operator.extra_variance)[torch.as_tensor(keep)],
    )
    if len(used) == 0:
        _none(config, cycle)
        analysis, carry = background, methods.forecast_covariance(prior, past.history, cycle)
    else:
        analysis, carry = methods.analysis(method, prior, problem, settings)
    _sane(analysis, "analysis", config, cycle)
    hx_analysis = operator(decode(analysis))
    attributes = _attributes(config, method, cycle, split, past, len(used), prior)
    with atomic_folder(folder) as temporary:
        common = {"channels": prior.channels, "grid": prior.grid, "time": cycle, "attributes": attributes}
        count = config.assimilate.ensemble
        _members(temporary / "background.nc", decode(background), count, common)
        _members(temporary / "analysis.nc", decode(analysis), count, common, carry)
        n = len(observations)
        write_feedback(
            temporary / "feedback.nc",
            observations,
            _scatter(hx_background.numpy(), rows, n),
            _scatter(hx_analysis.numpy(), rows, n),
            attributes,
        )
        write_text(temporary / "config.yaml", configuration.dump(config))
        facts = {
            "cycle": format_time(cycle), "method": method, "split_seed": split, "seed": config.assimilate.seed,
            "members": count, "history": past.origin, "counts": counts(observations), "sampler": settings.facts(),
            "used": len(used), "withheld": int((checked["withheld"] & (checked["qc"] == QC.USED)).sum()),
            "inputs": _inputs(config, method, observations),
        }  # fmt: skip
        write_json(temporary / "provenance.json", provenance(configuration.dump(config), **facts))
    return _summary(config, cycle, split, folder, past, observations, len(used), start)


def _observations(config: Config, cycle: np.datetime64) -> Observations:
    """The window's observations after the policy of each source has been applied."""
    window = Window.around(cycle, config.observations.before, config.observations.after)
    observations = build.store(config).read(window)
    source = observations["source"]
    for name, wanted in config.observations.sources.items():
        have = int((source == name).sum())
        if have >= wanted.min_count or wanted.policy == "optional":
            continue
        what = f"source '{name}' has {have} observations in {window}, {wanted.min_count} are wanted"
        if wanted.policy == "required":
            raise InputMissing(what, key=f"observations.sources.{name}", hint="stormda ingest, or wait for late data")
        log.warning(what)
    wanted_names = list(config.observations.sources)
    return observations.where(np.isin(source.astype(str), wanted_names)) if wanted_names else observations


def _none(config: Config, cycle: np.datetime64) -> None:
    window = Window.around(cycle, config.observations.before, config.observations.after)
    what = f"no usable observation in {window}"
    if config.observations.on_none == "fail":
        raise InputMissing(what, key="observations.on_none", hint="stormda check shows what is there")
    log.warning("%s: the analysis is the prior", what)


def _inputs(config: Config, method: str, observations: Observations) -> dict[str, object]:
    """Hashes of what the analysis was made of: the window's observations, and the weights or the archive's files."""
    known: dict[str, object] = {"observations": fingerprint(observations)}
    if method == "storm":
        return known | {"weights": digest(build.weights_path(config))}
    return known | {"archive": build.archive(config).provenance.get("inputs")}


def _standardised(operator: Mapping2, decode: Mapping2) -> Mapping2:
    return lambda z: operator(decode(z))


def _merge(observations: Observations, checked: Observations, rows: Array) -> Observations:
    qc = observations["qc"].copy()
    qc[rows] = checked["qc"]
    return observations.replace(qc=qc)


def _scatter(values: Array, rows: Array, n: int) -> Array:
    out = np.full((values.shape[0], n), np.nan)
    out[:, rows] = values
    return out


def _sane(ensemble: Tensor, what: str, config: Config, cycle: np.datetime64) -> None:
    """The members must be finite, their mean within `assimilate.limit` climatological standard deviations."""
    hint = "the products that were published before are untouched"
    if not bool(torch.isfinite(ensemble).all()):
        raise AnalysisRejected(f"the {what} of {format_time(cycle)} is not finite", hint=hint)
    worst = float(ensemble.mean(dim=0).abs().max())
    if worst > config.assimilate.limit:
        raise AnalysisRejected(
            f"the {what} of {format_time(cycle)} is {worst:.1f} climatological standard deviations from normal",
            key="assimilate.limit",
            hint=f"look at the observations with stormda check; {hint}",
        )


def _members(path: Path, x: Tensor, count: int, common: dict[str, object], carry: Tensor | None = None) -> None:
    covariance = None if carry is None else carry.numpy()
    write_analysis(path, (m.numpy() for m in x), count=count, carry=covariance, **common)  # type: ignore[arg-type]


def _attributes(
    config: Config, method: str, cycle: np.datetime64, split: int, past: Past, used: int, prior: Prior
) -> dict[str, str]:
    return {
        "title": f"stormda analysis, {config.name}",
        "method": method,
        "history_of_state": past.origin,
        "split_seed": str(split),
        "observations_used": str(used),
        "geometry": "plane" if prior.grid.plane else "sphere",
        **({BASIS: prior.signature} if isinstance(prior, GaussianPrior) else {}),
    }


def _summary(
    config: Config,
    cycle: np.datetime64,
    split: int,
    folder: Path,
    past: Past,
    observations: Observations,
    used: int,
    start: float,
) -> CycleResult:
    withheld = int(((observations["qc"] == QC.USED) & observations["withheld"]).sum())
    rejected = int((observations["qc"] != QC.USED).sum())
    seconds = round(perf_counter() - start, 2)
    return CycleResult(format_time(cycle), split, str(folder), past.origin, used, withheld, rejected, seconds)
