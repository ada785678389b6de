"""The folder of one analysis, and everything that is published in it.

    background.nc, analysis.nc   the ensembles, physical units
    feedback.nc                  every observation of the window, its QC code, and H(x) of both ensembles
    config.yaml                  the configuration, every default and override written out; works from where it is
    bias.parquet                 biases of stations, where the analysis learns them
    provenance.json              how to make it again: versions, seeds, counts, hashes of the inputs

The folder appears at once and complete, or not at all.
"""

__all__ = ["Job", "Product", "publish", "tally"]

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from stormda import config as configuration
from stormda.assimilation.methods import FILTERS, Settings
from stormda.assimilation.prior import Prior
from stormda.config import Config
from stormda.distributed.world import ALONE, World
from stormda.observations import QC, Observations
from stormda.pipeline import build
from stormda.pipeline.bias import bias_file, write_bias
from stormda.pipeline.history import BASIS
from stormda.pipeline.layout import analysis_folder
from stormda.pipeline.nwp import nwp_inputs
from stormda.pipeline.parts import UNCUT, Parts
from stormda.pipeline.shared import shared_folder, shared_members
from stormda.quality.report import counts
from stormda.store.analysis import write_analysis
from stormda.store.feedback import write_feedback
from stormda.store.provenance import digest, fingerprint, provenance
from stormda.store.publish import write_json, write_text
from stormda.time import format_time
from stormda.types import Array


@dataclass(frozen=True, eq=False)
class Job:
    """One analysis that is to be drawn.

    Args:
        config: the run.
        prior: of the method.
        cycle: the analysis time.
        split: the seed that withholds stations.
        instead: why the background is published in the place of the analysis; None: it is not.
        world: the processes that draw it.
        parts: how those of one member hold it.
    """

    config: Config
    prior: Prior
    cycle: np.datetime64
    split: int
    instead: str | None = None
    world: World = ALONE
    parts: Parts = UNCUT

    @property
    def method(self) -> str:
        """The method that draws it."""
        return self.config.assimilate.method

    @property
    def product(self) -> str:
        """What `analysis.nc` holds: `analysis`, or `background` in its place."""
        return "analysis" if self.instead is None else "background"

    @property
    def folder(self) -> Path:
        """Where it is published."""
        return analysis_folder(self.config, self.method, self.cycle, self.split)


@dataclass(frozen=True, eq=False)
class Product:
    """One analysis that was drawn.

    Args:
        background, analysis: the members of this rank [m, C, H, W], or its part of them, in physical units.
        carry: [R, R], error covariance of the analysis in EOF coordinates; None where it is not known.
        observations: all N of the window, with their final QC codes.
        hx_background, hx_analysis: H(x) of each member of all ranks [M, N], NaN where an observation has no operator.
        history: where the past came from: `analysis`, `archive` or `cold start`.
        settings: how the members were drawn.
        bias: of stations, after this analysis; None where none is learned.
        seconds: that each step took, in their order.
    """

    background: Tensor
    analysis: Tensor
    carry: Tensor | None
    observations: Observations
    hx_background: Array
    hx_analysis: Array
    history: str
    settings: Settings
    bias: pd.DataFrame | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)


def publish(job: Job, product: Product) -> None:
    """Write the folder of an analysis in place of the one that was there, all ranks together.

    Raises:
        AnalysisRejected: a member is not finite.
        OutputError: the folder cannot be written.
    """
    with shared_folder(job.world, job.folder) as folder:
        own = {"background": product.background, "analysis": product.analysis}
        members = shared_members(job.world, folder, job.parts, **own)
        if job.world.leads:
            _write(folder, job, product, members)


def _write(folder: Path, job: Job, product: Product, members: Mapping[str, Iterable[Array]]) -> None:
    used, withheld, _ = tally(product.observations)
    attributes = _attributes(job, product, used)
    _ensemble(folder / "background.nc", job, members["background"], attributes)
    _ensemble(folder / "analysis.nc", job, members["analysis"], attributes, product.carry)
    hx = product.hx_background, product.hx_analysis
    write_feedback(folder / "feedback.nc", product.observations, *hx, attributes)
    if product.bias is not None:
        write_bias(folder / "bias.parquet", product.bias)
    write_text(folder / "config.yaml", configuration.dump(job.config, job.folder))
    facts = _facts(job, product) | {"used": used, "withheld": withheld}
    write_json(folder / "provenance.json", provenance(configuration.dump(job.config), **facts))


def tally(observations: Observations) -> tuple[int, int, int]:
    """How many observations passed every check and were used, passed them and are withheld, or failed one."""
    passed, withheld = observations["qc"] == QC.USED, observations["withheld"]
    return int((passed & ~withheld).sum()), int((passed & withheld).sum()), int((~passed).sum())


def _attributes(job: Job, product: Product, used: int) -> dict[str, str]:
    """Global attributes of the NetCDF files."""
    return {
        "title": f"stormda {job.product}, {job.config.name}",
        "product": job.product,
        **({} if job.instead is None else {"comment": _label(job.instead)}),
        "method": job.method,
        "history_of_state": product.history,
        "split_seed": str(job.split),
        "observations_used": str(used),
        "geometry": "plane" if job.prior.grid.plane else "sphere",
        **({BASIS: job.prior.signature} if job.prior.signature else {}),
    }


def _label(reason: str) -> str:
    return f"no analysis: the background in its place, because {reason}"


def _ensemble(
    path: Path, job: Job, members: Iterable[Array], attributes: dict[str, str], carry: Tensor | None = None
) -> None:
    write_analysis(
        path,
        members,
        count=job.config.assimilate.ensemble,
        channels=job.prior.channels,
        grid=job.prior.grid,
        time=job.cycle,
        attributes=attributes,
        carry=None if carry is None else carry.numpy(),
    )


def _facts(job: Job, product: Product) -> dict[str, Any]:
    """What the provenance says of this analysis."""
    return {
        "cycle": format_time(job.cycle),
        "product": job.product,
        "product_reason": job.instead,
        "method": job.method,
        "split_seed": job.split,
        "seed": job.config.assimilate.seed,
        "members": product.settings.members,
        "processes": job.world.processes,
        "history": product.history,
        "seconds": dict(product.seconds),
        "counts": dict.fromkeys(job.config.observations.sources, {}) | counts(product.observations),
        "sampler": product.settings.facts(),
        "inputs": _inputs(job, product.observations),
    }


def _inputs(job: Job, observations: Observations) -> dict[str, Any]:
    """Hashes of what went into it: observations, biases, weights or the archive's files, a centre's own states."""
    known: dict[str, Any] = {"observations": fingerprint(observations)} | nwp_inputs(job.config, job.cycle)
    if (table := bias_file(job.config, job.method, job.cycle, job.split)) is not None:
        known["bias"] = digest(table)
    if job.config.assimilate.prior is not None:
        return known
    if job.method == "storm" or (job.method in FILTERS and build.forecast_model(job.config, job.method) == "storm"):
        known["weights"] = digest(build.weights_path(job.config))
    if job.method == "storm":
        return known
    return known | {"archive": build.archive(job.config).provenance.get("inputs")}
