"""Stage `assimilate`: draw the analysis ensemble of each cycle from the posterior, in one reverse diffusion.

Several processes divide the members of methods that draw by diffusion. Rank 0 reads and publishes; what it read all
ranks have, and H of all members, so that each of them checks the same observations against the same background.
Several of them may hold one member in parts (`stormda.pipeline.parts`).
"""

__all__ = ["AssimilateResult", "CycleResult", "assimilate"]

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from stormda.assimilation import methods
from stormda.assimilation.baselines.localisation import Places
from stormda.assimilation.prior import Prior
from stormda.config import Config
from stormda.diffusion.history import History
from stormda.distributed.world import ALONE, World
from stormda.errors import AnalysisRejected, InputMissing
from stormda.observations import QC, Observations
from stormda.operators.correlate import decorrelation
from stormda.operators.part import owned, part_operator
from stormda.operators.stack import Stack
from stormda.pipeline import build
from stormda.pipeline.bias import find_bias, learned_from
from stormda.pipeline.cycle_report import write_report
from stormda.pipeline.history import Past, find_past
from stormda.pipeline.nwp import told_rim
from stormda.pipeline.nwp_error import elsewhere
from stormda.pipeline.observed import observe
from stormda.pipeline.parts import parts_of, possible
from stormda.pipeline.product import Job, Product, publish, tally
from stormda.pipeline.window import check_window, try_window
from stormda.quality.bias import correct, estimate
from stormda.quality.withhold import withhold
from stormda.time import Window, format_time
from stormda.types import Array, Mapping2, Progress, silent

log = logging.getLogger(__name__)

_DIVIDED = ("storm", "gaussian")
"""Methods whose members are drawn in micro-batches that need nothing of each other."""

_STEPS = ("background", "operators and quality control", "posterior")


@dataclass(frozen=True)
class CycleResult:
    """One analysis: where it is and what went into it; `absent` are sources without any observation.

    `redrawn` are earlier times that were drawn again with its observations.
    """

    cycle: str
    split: int
    folder: str
    history: str
    used: int
    withheld: int
    rejected: int
    seconds: float
    absent: tuple[str, ...] = ()
    redrawn: tuple[str, ...] = ()


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
    config: Config,
    cycles: Sequence[np.datetime64],
    *,
    instead: str | None = None,
    prior: Prior | None = None,
    dry_run: bool = False,
    windows: bool = True,
    progress: Progress = silent,
    world: World = ALONE,
) -> AssimilateResult:
    """Draw and publish the analysis ensemble of each cycle and each split seed.

    Args:
        config: the run.
        cycles: analysis times; they are worked through in order, so that each finds the one before as its history.
        instead: publish the background in the place of the analysis, labelled with this reason.
        prior: of the method, where the caller has built it already.
        dry_run: say what would be done, write nothing.
        windows: draw the past again where `window.frames` asks for it; what fails there is a warning.
        progress: told about the work.
        world: the processes that share the work.

    Raises:
        InputMissing: no archive, no weights, or a required source lacks observations.
        AnalysisRejected: an analysis failed its sanity check; what was published before stays.
    """
    method = config.assimilate.method
    possible(config, world)
    if world.processes > 1 and method not in _DIVIDED:
        log.info("%s is the work of one process; the others wait", method)
        options: dict[str, Any] = {"instead": instead, "prior": prior, "dry_run": dry_run, "windows": windows}
        return world.spread(partial(assimilate, config, cycles, **options, progress=progress))
    given = config.assimilate.prior is not None
    own = None if given else prior or _prior(config, world)
    parts, seeds = parts_of(own, world, config.assimilate.batch), config.quality.withhold.seeds
    done: list[CycleResult] = []
    backgrounds: dict[str, Tensor] = {}
    total = len(cycles) * len(seeds)
    for cycle in sorted(cycles):
        known = own or build.prior(config, method, cycle)
        check_window(config, known)
        known = told_rim(config, known, config.assimilate.rim, cycle, "assimilate.rim")
        for split in seeds:
            progress(f"{format_time(cycle)} {method}", len(done), total)
            job = Job(config, known, cycle, split, instead, world, parts)
            again = windows and not dry_run and instead is None
            done.append(_one(job, dry_run, again, backgrounds))
    progress(f"{method} done", total, total)
    if world.leads:
        _say_absent(config, done)
    return AssimilateResult(method, config.assimilate.ensemble, tuple(done))


def _prior(config: Config, world: World) -> Prior:
    """The prior of the method: weights each rank reads for itself, what is learned from the archive rank 0 learns."""
    if config.assimilate.method == "storm":
        return build.prior(config, "storm", mesh=world.mesh)
    return world.spread(lambda: build.prior(config, config.assimilate.method))


def _given(job: Job) -> tuple[Past, Observations, pd.DataFrame | None]:
    """What is on disk: the past, the window's observations without their biases, and the biases."""
    config = job.config
    past = find_past(config, job.prior, job.method, job.cycle, job.split)
    there = _observations(config, job.cycle, lenient=job.instead is not None)
    observations = withhold(there, config.quality.withhold, job.split)
    known = find_bias(config, job.method, job.cycle, job.split)
    if known is not None:
        observations = correct(observations, estimate(known, observations, job.cycle, config.quality.bias))
    return past, observations, known


def _one(job: Job, dry_run: bool, windows: bool, backgrounds: dict[str, Tensor]) -> CycleResult:
    """One analysis, from the store to the published folder."""
    start = perf_counter()
    config = job.config
    past, observations, known = job.world.spread(lambda: _given(job))
    absent = tuple(sorted(set(config.observations.sources) - set(observations["source"].tolist())))
    if not dry_run:
        read = perf_counter()
        product = _draw(job, past, observations, backgrounds, known)
        spent = {"history and observations": round(read - start, 3), **product.seconds}
        publish(job, replace(product, seconds=spent))
        if config.assimilate.report and job.world.leads:
            write_report(config, job.cycle, job.split)
        observations = product.observations
    redrawn = job.world.spread(lambda: try_window(config, job.prior, job.cycle, job.split)) if windows else ()
    seconds = round(perf_counter() - start, 2)
    where = format_time(job.cycle), job.split, str(job.folder)
    again = tuple(format_time(time) for time in redrawn)
    return CycleResult(*where, past.origin, *tally(observations), seconds, absent, again)


def _draw(
    job: Job,
    past: Past,
    observations: Observations,
    backgrounds: dict[str, Tensor],
    bias: pd.DataFrame | None,
) -> Product:
    """Background, checks against it, posterior.

    z is standardised, x = decode(z) physical; H acts on x, so that H(decode(z)) is what the posterior sees.
    """
    config, prior, cycle, world, parts = job.config, job.parts.prior(job.prior), job.cycle, job.world, job.parts
    clock, history = [perf_counter()], past.history.part(parts.layout)
    settings = methods.Settings.of(config, build.sampler(config))
    own = world.share(settings.members, settings.batch) if world.size > 1 else None
    settings = replace(settings, own=own, layout=parts.layout, again=world.parts == 1)
    decode = prior.normaliser.decoder(cycle, parts.layout)
    z_background = _background(job, prior, history, settings, backgrounds)
    background = decode(z_background)
    clock.append(perf_counter())

    seen = observe(config, prior, cycle, past, observations, background, world, parts)
    operator, observations, rows, checked = seen.operator, seen.observations, seen.rows, seen.checked

    clock.append(perf_counter())
    keep = (checked["qc"] == QC.USED) & ~checked["withheld"]
    if job.instead is not None:
        checked = checked.replace(qc=np.where(keep, np.int32(QC.NOT_ASSIMILATED), checked["qc"]))
        z_analysis, carry = z_background, methods.forecast_covariance(prior, history, cycle)
    elif keep.any() or config.assimilate.background is not None:
        problem = _problem(job, history, z_background, operator.subset(keep), checked.where(keep), decode)
        state = world.spread(lambda: elsewhere(config, prior, job.method, cycle))
        problem = replace(problem, elsewhere=state)
        if not keep.any():
            _none(config, cycle)
        z_analysis, carry = methods.analysis(job.method, prior, problem, settings)
    else:
        _none(config, cycle)
        z_analysis, carry = z_background, methods.forecast_covariance(prior, history, cycle)
    _sane(z_analysis, "analysis", job)
    analysis = decode(z_analysis)
    clock.append(perf_counter())

    n = len(observations)
    return Product(
        background=background,
        analysis=analysis,
        carry=carry,
        observations=_merge(observations, checked, rows),
        hx_background=_scatter(seen.background, rows, n),
        hx_analysis=_scatter(world.gather(parts.h(operator, analysis)).numpy(), rows, n),
        history=past.origin,
        settings=settings,
        bias=learned_from(config, bias, seen.checked, seen.background),
        seconds=dict(zip(_STEPS, np.diff(clock).round(3).tolist(), strict=True)),
    )


def _background(
    job: Job, prior: Prior, history: History, settings: methods.Settings, drawn: dict[str, Tensor]
) -> Tensor:
    """The prior's members of this rank [m, C, H, W], or its part, standardised; `drawn` remembers the last history's.

    Members share their noise between splits, so that at a cold start every split has the same background.
    """
    key = f"{job.cycle} {job.split}" if bool(history.mask.any()) else f"{job.cycle} cold start"
    if key not in drawn:
        drawn.clear()
        drawn[key] = methods.background(prior, history, job.cycle, settings)
    _sane(drawn[key], "background", job)
    return drawn[key]


def _problem(
    job: Job,
    history: History,
    background: Tensor,
    operator: Stack,
    used: Observations,
    decode: Mapping2,
) -> methods.Problem:
    """The observations that are used, or this process's share, in standardised space, with uncorrelated errors."""
    variance = torch.as_tensor(used["error"] ** 2) + operator.extra_variance
    sources = job.config.observations.sources
    lengths = {(s, v): error.correlation for s, source in sources.items() for v, error in source.errors.items()}
    h: Mapping2 = operator
    apart = decorrelation(used, variance, lengths)
    if job.parts.several:
        layout, shape = job.parts.layout, job.parts.shape
        own = owned(operator, layout, shape, [rows for rows, _ in apart.blocks])
        used, variance = used.where(own), variance[torch.as_tensor(own)]
        apart, h = decorrelation(used, variance, lengths), part_operator(operator.subset(own), layout, shape)
    return methods.Problem(
        time=job.cycle,
        history=history,
        operator=lambda z: apart(h(decode(z))),
        y=apart(torch.tensor(used["value"])),
        variance=variance,
        background=background,
        places=Places(used["latitude"], used["longitude"]),
    )


def _observations(config: Config, cycle: np.datetime64, lenient: bool) -> Observations:
    """The window's observations after the policy of each source has been applied; `lenient`: only by a warning."""
    window = Window.around(cycle, config.observations.before, config.observations.after)
    observations = build.store(config).read(window)
    source = observations["source"]
    for name, wanted in config.observations.sources.items():
        have = int((source == name).sum())
        if have >= wanted.min_count or wanted.policy == "optional":
            continue
        what = f"source '{name}' has {have} observations in {window}, {wanted.min_count} are wanted"
        if wanted.policy == "required" and not lenient:
            raise InputMissing(what, key=f"observations.sources.{name}", hint="stormda ingest, or wait for late data")
        log.warning(what)
    wanted_names = list(config.observations.sources)
    return observations.where(np.isin(source.astype(str), wanted_names)) if wanted_names else observations


def _say_absent(config: Config, done: Sequence[CycleResult]) -> None:
    """Name each optional source that gave nothing, once; the other policies have spoken by themselves."""
    for name, source in config.observations.sources.items():
        without = sum(name in result.absent for result in done)
        if source.policy == "optional" and without:
            known = [row for row in build.store(config).summary() if row["source"] == name]
            there = f"it has some from {known[0]['first']} to {known[0]['last']}" if known else "nothing is ingested"
            log.warning("source '%s' has no observation in %d of %d windows: %s", name, without, len(done), there)


def _none(config: Config, cycle: np.datetime64) -> None:
    window = Window.around(cycle, config.observations.before, config.observations.after)
    what = f"no usable observation in {window}"
    if config.observations.on_none == "fail":
        raise InputMissing(what, key="observations.on_none", hint="stormda check shows what is there")
    beside = "" if config.assimilate.background is None else " and the background that is given"
    log.warning("%s: the analysis is the prior%s", what, beside)


def _merge(observations: Observations, checked: Observations, rows: Array) -> Observations:
    qc = observations["qc"].copy()
    qc[rows] = checked["qc"]
    return observations.replace(qc=qc)


def _scatter(values: Array, rows: Array, n: int) -> Array:
    out = np.full((values.shape[0], n), np.nan)
    out[:, rows] = values
    return out


def _sane(ensemble: Tensor, what: str, job: Job) -> None:
    """The members of all ranks must be finite, their mean within `assimilate.limit` climatological sd."""
    hint, time = "the products that were published before are untouched", format_time(job.cycle)
    mean = job.world.sum(ensemble.sum(dim=0, dtype=torch.float64)) / job.config.assimilate.ensemble
    worst = float(job.parts.layout.max(mean.abs().nan_to_num(nan=math.inf).max()))
    if not math.isfinite(worst):
        raise AnalysisRejected(f"the {what} of {time} is not finite", hint=hint)
    if worst > job.config.assimilate.limit:
        raise AnalysisRejected(
            f"the {what} of {time} is {worst:.1f} climatological standard deviations from normal",
            key="assimilate.limit",
            hint=f"look at the observations with stormda check; {hint}",
        )
