"""Windows on disk: after an analysis, the frames before it are drawn again with the observations that have come since.

The analyses of a filter stay as they are, since the next cycle starts from them. What `window.frames` = L draws is
beside them, in the folder of each time: `reanalysis.nc`, whose attributes say how many later analyses it has seen. A
later window puts its own in the place of an earlier one. H and the observations are those that the analysis used, as
its feedback file has them; an observation between two frames of the window sees both.
"""

__all__ = ["REANALYSIS", "check_window", "draw_window", "try_window"]

import logging
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from stormda.assimilation import methods
from stormda.assimilation.methods import Problem
from stormda.assimilation.prior import Prior
from stormda.assimilation.smoother import Between, Frame, redraw, windowed
from stormda.config import Config
from stormda.errors import AnalysisRejected, ConfigError, StormdaError
from stormda.observations import QC
from stormda.operators.build import build_operator
from stormda.operators.correlate import decorrelation
from stormda.operators.stack import Stack
from stormda.operators.time_linear import Frames
from stormda.pipeline import build
from stormda.pipeline.history import find_past
from stormda.pipeline.inputs import resolver
from stormda.pipeline.layout import analysis_folder
from stormda.pipeline.nwp import told_rim
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


def check_window(config: Config, prior: Prior) -> None:
    """Raise ConfigError where a window is asked for and can never be drawn, before anything is."""
    if config.window.frames == 1:
        return
    method, source, key = config.assimilate.method, config.history.source, "window.frames"
    windowed(method, prior)
    if source != "analyses":
        what = f"a history from {source} leaves nothing to draw again: a window goes on from its analyses"
        raise ConfigError(what, key=key, hint="window.frames=1, or history.source=analyses")
    if config.assimilate.background is not None:
        hint = "window.frames=1, or no assimilate.background"
        raise ConfigError("a window cannot be drawn again beside a centre's own state", key=key, hint=hint)


def try_window(config: Config, prior: Prior, cycle: np.datetime64, split: int) -> tuple[np.datetime64, ...]:
    """As `draw_window`; a window that fails is a warning, since the analysis is there."""
    try:
        return draw_window(config, prior, cycle, split)
    except Exception as error:
        what = str(error) if isinstance(error, StormdaError) else f"{type(error).__name__}: {error}"
        log.warning("the window of %s is not drawn: %s", format_time(cycle), what)
        return ()


def draw_window(config: Config, prior: Prior, cycle: np.datetime64, split: int) -> tuple[np.datetime64, ...]:
    """Draw and publish the frames before the analysis of a cycle again, where one is due.

    Returns:
        The times that were drawn again, oldest first: those that a later observation reaches.

    Raises:
        ConfigError: as `check_window`.
        AnalysisRejected: a member is not finite.
        StormdaError: an analysis, its feedback or a file at its rim cannot be read, a file cannot be written.
    """
    check_window(config, prior)
    method, wanted = config.assimilate.method, config.window
    number = (cycle - np.datetime64(0, "s")) // config.assimilate.step
    times = _times(config, prior, cycle, split)
    if (number + 1) % wanted.stride or len(times) < 2:
        return ()
    settings = methods.Settings.of(config, build.sampler(config))
    first, *others = (_frame(config, prior, time, split) for time in times)
    rim = config.assimilate.rim
    told = [
        replace(frame, prior=told_rim(config, prior, rim, time, "assimilate.rim"))
        for time, frame in zip(times[1:], others, strict=True)
    ]
    drawn = redraw(method, prior, [first, *told], settings)
    again = [(k, time, z) for k, (time, z) in enumerate(zip(times[:-1], drawn, strict=False)) if z is not None]
    for _, time, z in again:
        if not bool(torch.isfinite(z).all()):
            raise AnalysisRejected(f"the reanalysis of {format_time(time)} is not finite", hint="window.frames=1")
    for k, time, z in again:
        path = analysis_folder(config, method, time, split) / REANALYSIS
        attributes = {
            "title": f"stormda reanalysis, {config.name}",
            "product": "reanalysis",
            "method": method,
            "split_seed": str(split),
            "later_analyses": str(len(times) - 1 - k),
            "observations_until": format_time(cycle),
            "geometry": "plane" if prior.grid.plane else "sphere",
        }
        x = prior.normaliser.decoder(time)(z)
        write_analysis(
            path, (member.numpy() for member in x), count=len(x), channels=prior.channels, grid=prior.grid, time=time,
            attributes=attributes,
        )  # fmt: skip
    log.info("%d frames before %s drawn again", len(again), format_time(cycle))
    return tuple(time for _, time, _ in again)


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
