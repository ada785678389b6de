"""Windows on disk: after an analysis, the frames before it are drawn again with the observations that have come since.

The analyses of a filter stay as they are, since the next cycle starts from them. What `window.frames` = L draws is
beside them, in the folder of each time: `reanalysis.nc`, whose attributes say how many later analyses it has seen. A
later window puts its own in the place of an earlier one. H and the observations are those that the analysis used, as
its feedback file has them; an observation between two frames of the window sees both.
"""

__all__ = ["REANALYSIS", "draw_window"]

import logging
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stormda.assimilation import methods
from stormda.assimilation.methods import Problem
from stormda.assimilation.prior import Prior
from stormda.assimilation.smoother import WINDOWED, Between, Frame, redraw
from stormda.config import Config
from stormda.errors import AnalysisRejected, ConfigError
from stormda.observations import QC
from stormda.operators.build import build_operator
from stormda.operators.correlate import decorrelation
from stormda.operators.stack import Stack
from stormda.operators.time_linear import Frames
from stormda.pipeline import build
from stormda.pipeline.history import find_past
from stormda.pipeline.inputs import resolver
from stormda.pipeline.layout import analysis_folder
from stormda.store.analysis import read_analysis, write_analysis
from stormda.store.feedback import read_feedback
from stormda.time import format_time
from stormda.types import Array, Mapping2

REANALYSIS = "reanalysis.nc"

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Pair:
    """H of observations between two frames: where one sees the share a of the later frame, h(a x + (1 - a) p).

    That is the interpolation that the analysis made of a known p (`stormda.operators.time_linear`), with p unknown.

    Args:
        operator: h of one physical field.
        groups: rows that have one share, and that number.
        before, now: make standardised fields physical.
    """

    operator: Stack
    groups: tuple[tuple[Array, float], ...]
    before: Mapping2
    now: Mapping2

    def __call__(self, z_before: Tensor, z_now: Tensor) -> Tensor:
        p, x = self.before(z_before), self.now(z_now)
        parts = [self.operator.subset(rows)(share * x + (1 - share) * p) for rows, share in self.groups]
        order = np.argsort(np.concatenate([np.flatnonzero(rows) for rows, _ in self.groups]))
        return torch.cat(parts, dim=-1).index_select(-1, torch.as_tensor(order))


def draw_window(config: Config, prior: Prior, cycle: np.datetime64, split: int) -> tuple[np.datetime64, ...]:
    """Draw and publish the frames before the analysis of a cycle again, where one is due; their times, oldest first.

    Raises:
        ConfigError: a method or a past for which there is no window.
        AnalysisRejected: a member is not finite.
    """
    method, wanted = config.assimilate.method, config.window
    if wanted.frames == 1:
        return ()
    if method not in WINDOWED or config.history.source != "analyses":
        what = f"method {method} with a history from {config.history.source} cannot draw its past again"
        hint = f"window.frames=1; windows are for {', '.join(WINDOWED)} that go on from their analyses"
        raise ConfigError(what, key="window.frames", hint=hint)
    number = (cycle - np.datetime64(0, "s")) // config.assimilate.step
    times = _times(config, prior, cycle, split)
    if (number + 1) % wanted.stride or len(times) < 2:
        return ()
    settings = methods.Settings.of(config, build.sampler(config))
    frames = [_frame(config, prior, time, split) for time in times]
    drawn = redraw(method, prior, frames, settings)
    for k, (time, z) in enumerate(zip(times[:-1], drawn, strict=False)):
        if not bool(torch.isfinite(z).all()):
            raise AnalysisRejected(f"the reanalysis of {format_time(time)} is not finite", hint="window.frames=1")
        path = analysis_folder(config, method, time, split) / REANALYSIS
        later = len(times) - 1 - k
        attributes = {
            "title": f"stormda reanalysis, {config.name}",
            "product": "reanalysis",
            "method": method,
            "split_seed": str(split),
            "later_analyses": str(later),
            "observations_until": format_time(cycle),
            "geometry": "plane" if prior.grid.plane else "sphere",
        }
        x = prior.normaliser.decoder(time)(z)
        write_analysis(
            path, (member.numpy() for member in x), count=len(x), channels=prior.channels, grid=prior.grid, time=time,
            attributes=attributes,
        )  # fmt: skip
    log.info("%d frames before %s drawn again", len(times) - 1, format_time(cycle))
    return tuple(times[:-1])


def _times(config: Config, prior: Prior, cycle: np.datetime64, split: int) -> list[np.datetime64]:
    """Of the analyses that follow each other without a gap up to a cycle, at most L, oldest first."""
    times: list[np.datetime64] = []
    for k in range(config.window.frames):
        time = cycle - k * prior.step
        if not (analysis_folder(config, config.assimilate.method, time, split) / "analysis.nc").is_file():
            break
        times.insert(0, time)
    return times


def _frame(config: Config, prior: Prior, time: np.datetime64, split: int) -> Frame:
    """One analysis from its folder."""
    method = config.assimilate.method
    folder = analysis_folder(config, method, time, split)
    members = read_analysis(folder / "analysis.nc").state.values
    z = torch.as_tensor(prior.normaliser.encode(members, np.asarray([time]))).float()
    past = find_past(config, prior, method, time, split)
    rows = read_feedback(folder / "feedback.nc").observations
    used = rows.where((rows["qc"] == QC.USED) & ~rows["withheld"])
    previous = None if past.time is None or past.mean is None else (past.time, past.mean)
    find = resolver(config)
    operator, flagged, kept = build_operator(
        used, prior.grid, prior.channels, config.operators, time, previous, past.error, resolve=find
    )
    used = flagged.take(kept)
    lengths = {(s, v): e.correlation for s, f in config.observations.sources.items() for v, e in f.errors.items()}
    decode, own = prior.normaliser.decoder(time), torch.as_tensor(used["error"] ** 2)
    y, variance = torch.tensor(used["value"]), own + operator.extra_variance
    apart = decorrelation(used, variance, lengths)
    problem = Problem(time, past.history, lambda x: apart(operator(decode(x))), apart(y), variance)
    if previous is None or not len(used):
        return Frame(problem, z)
    share = Frames(time, *previous).fraction(used["time"])
    groups = tuple((share == a, float(a)) for a in np.unique(share))
    plain, _, _ = build_operator(used, prior.grid, prior.channels, config.operators, time, resolve=find)
    pair = _Pair(plain, groups, prior.normaliser.decoder(previous[0]), decode)
    exact = decorrelation(used, own, lengths)
    return Frame(problem, z, Between(lambda a, b: exact(pair(a, b)), exact(y), own))
