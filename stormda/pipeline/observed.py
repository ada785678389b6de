"""What the observations of a window say of the background: operator, checks against it, super-observations."""

__all__ = ["Observed", "observe"]

import logging
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from stormda.assimilation.prior import Prior
from stormda.config import Config
from stormda.distributed.world import ALONE, World
from stormda.observations import Observations
from stormda.operators.build import build_operator, surface_height
from stormda.operators.stack import Stack
from stormda.pipeline.history import Past
from stormda.pipeline.inputs import resolver
from stormda.pipeline.parts import UNCUT, Parts
from stormda.quality.climatology import Climate
from stormda.quality.dynamic import run_dynamic
from stormda.quality.superob import superob
from stormda.types import Array

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Observed:
    """The observations of a window and H over those that have an operator.

    Args:
        operator: H of n rows.
        observations: all N rows, super-observations last.
        rows: the numbers of the n rows, int64 [n].
        checked: the n rows with the codes of the dynamic checks.
        background: H of the background's members [M, n].
    """

    operator: Stack
    observations: Observations
    rows: Array
    checked: Observations
    background: Array


def observe(
    config: Config,
    prior: Prior,
    cycle: np.datetime64,
    past: Past,
    observations: Observations,
    background: Tensor,
    world: World = ALONE,
    parts: Parts = UNCUT,
) -> Observed:
    """Build H, check the observations against H of the background [M, C, H, W], and merge dense reports.

    Each rank of `world` has its members of the background, or its part of them, and all have H of all of them.
    """
    previous = None if past.time is None or past.mean is None else (past.time, past.mean)

    def built(rows: Observations) -> tuple[Stack, Observations, Array]:
        return build_operator(
            rows, prior.grid, prior.channels, config.operators, cycle, previous, past.error, resolve=resolver(config)
        )

    def h(operator: Stack) -> Array:
        return world.gather(parts.h(operator, background)).numpy()

    operator, observations, rows = built(observations)
    hx = h(operator)
    used = observations.take(rows)
    climate, surface = _climate(config, prior, cycle, used), _surface(config, prior, used)
    checked = run_dynamic(used, config.quality.dynamic, hx, surface, climate, cycle)
    seen = Observed(operator, observations, rows, checked, hx)
    if not config.quality.superob:
        return seen
    both = superob(checked, prior.grid, config.quality.superob)
    if len(both) == len(checked):
        return seen
    there = np.arange(len(both)) < len(checked)
    own, new, new_rows = built(both.where(~there))
    return replace(
        seen,
        operator=operator.beside(own),
        observations=Observations.concat([observations, new]),
        rows=np.append(rows, len(observations) + new_rows),
        checked=Observations.concat([both.where(there), new.take(new_rows)]),
        background=np.concatenate([hx, h(own)], axis=1),
    )


def _surface(config: Config, prior: Prior, observations: Observations) -> Array | None:
    """Height of the grid's surface at the observations, where a check asks for it."""
    if not any(check.check == "station_height" for check in config.quality.dynamic):
        return None
    surface = surface_height(observations, prior.grid, config.operators, resolver(config))
    if surface is None:
        log.warning(
            "the check station_height compares with sea level: no operator names an orography - "
            "key=quality.dynamic; hint: operators={t2m: {kind: height, orography: FILE}}"
        )
    return surface


def _climate(config: Config, prior: Prior, cycle: np.datetime64, observations: Observations) -> Climate | None:
    """H of the climatology and one standard deviation of its anomalies, where a check asks for it.

    H is of the cycle alone: time interpolation from an analysis would make the climatology narrower.
    """
    if not any(check.check == "climatology" for check in config.quality.dynamic):
        return None
    operator, _, _ = build_operator(
        observations, prior.grid, prior.channels, config.operators, cycle, resolve=resolver(config)
    )
    decode = prior.normaliser.decoder(cycle)
    anomalies = torch.tensor([0.0, 1.0, -1.0], dtype=torch.float64)[:, None, None, None]
    states = decode(anomalies.expand(3, len(prior.channels), *prior.grid.shape))
    centre, above, below = operator(states).numpy()
    return Climate(centre, np.maximum(np.abs(above - centre), np.abs(below - centre)))
