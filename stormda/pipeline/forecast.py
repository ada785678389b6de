"""Stage `forecast`: roll a model out from an analysis ensemble, one step after another.

The model is the prior of the method, or (`forecast.model=linear`) the linear inverse model of the archive: the same for
the analyses of all methods, whose forecasts then differ by nothing but where they start.
"""

__all__ = ["ForecastResult", "forecast"]

from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from stormda.assimilation import methods
from stormda.assimilation.prior import Prior
from stormda.config import Config
from stormda.diffusion.history import History
from stormda.distributed.world import ALONE, World
from stormda.errors import ConfigError, InputMissing
from stormda.pipeline import build
from stormda.pipeline.layout import analysis_folder, forecast_folder
from stormda.pipeline.nwp import told_rim
from stormda.pipeline.parts import parts_of
from stormda.pipeline.shared import shared_folder, shared_members
from stormda.store.analysis import member_count, read_analysis, write_analysis
from stormda.time import format_time, hours
from stormda.types import Progress, silent


@dataclass(frozen=True)
class ForecastResult:
    """A forecast ensemble: one file a lead time."""

    cycle: str
    method: str
    members: int
    folder: str
    files: tuple[str, ...]
    seconds: float

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people."""
        title = f"forecast from {self.cycle}, {self.members} members, method {self.method}"
        return title, ["file"], [[f"{self.folder}/{name}"] for name in self.files]


def forecast(
    config: Config,
    cycle: np.datetime64,
    *,
    lead: np.timedelta64,
    split: int | None = None,
    dry_run: bool = False,
    progress: Progress = silent,
    world: World = ALONE,
) -> ForecastResult:
    """Forecast from the analysis of `cycle` to `lead`.

    Each member goes on from its own analysis: its history is that one state, known exactly; what it cannot know of the
    next step is drawn by the prior. So the ranks of `world` have a share of the members each, and read no others;
    several of them may hold one member in parts.

    Raises:
        InputMissing: there is no analysis of that cycle.
        ConfigError: a lead shorter than a step of the prior.
    """
    start, method = perf_counter(), config.assimilate.method
    split = config.quality.withhold.seeds[0] if split is None else split
    source = analysis_folder(config, method, cycle, split) / "analysis.nc"
    if not source.exists():
        hint = f"stormda assimilate --cycle {format_time(cycle)} --method {method}"
        raise InputMissing("there is no analysis to start from", file=source, hint=hint)
    prior = _model(config, method, cycle, world)
    count = int(lead // prior.step)
    if count < 1:
        raise ConfigError(f"the lead is shorter than a step of the prior, {hours(prior.step):g} h", hint="--lead 72h")
    settings = methods.Settings.of(config, build.sampler(config))
    parts = parts_of(prior, world, settings.batch)
    settings = replace(settings, layout=parts.layout, again=world.parts == 1)
    folder = forecast_folder(config, method, cycle, split)
    names = tuple(f"forecast_{round(hours(k * prior.step)):03d}h.nc" for k in range(1, count + 1))
    members = member_count(source)
    own = world.share(members, settings.batch)
    analysis = read_analysis(source, slice(own.start, own.stop))
    rows, columns = prior.grid.within(analysis.state.grid)
    fields = analysis.state.values[..., rows[:, None], columns]
    if not dry_run:
        place = parts.layout.part(prior.grid.shape)
        z = torch.as_tensor(prior.normaliser.encode(fields, np.asarray([cycle]))[..., *place]).to(torch.float32)
        past = z[:, None].repeat(1, prior.frames, 1, 1, 1)
        known = torch.zeros(prior.frames, dtype=torch.bool)
        with shared_folder(world, folder) as temporary:
            for k, name in enumerate(names, start=1):
                progress(f"forecast +{hours(k * prior.step):g} h", k - 1, count)
                time = cycle + k * prior.step
                known = torch.cat([known[1:], torch.ones(1, dtype=torch.bool)])
                told = told_rim(config, prior, config.forecast.rim, time, "forecast.rim")
                z = _advance(parts.prior(told), past, known, time, settings, own)
                past = torch.cat([past[:, 1:], z[:, None]], dim=1)
                own_part = prior.normaliser.decoder(time, parts.layout)(z)
                x = shared_members(world, temporary, parts, **{name: own_part})
                if not world.leads:
                    continue
                write_analysis(
                    temporary / name,
                    x[name],
                    count=members,
                    channels=prior.channels,
                    grid=prior.grid,
                    time=time,
                    attributes={
                        "title": f"stormda forecast, {config.name}",
                        "method": method,
                        "model": config.forecast.model,
                        "forecast_reference_time": format_time(cycle),
                        "geometry": "plane" if prior.grid.plane else "sphere",
                    },
                )
            progress("forecast done", count, count)
    seconds = round(perf_counter() - start, 2)
    return ForecastResult(format_time(cycle), method, members, str(folder), names, seconds)


def _model(config: Config, method: str, cycle: np.datetime64, world: World) -> Prior:
    """The prior that is rolled out; what is learned from the archive alone, rank 0 learns."""
    if config.forecast.model == "linear":
        return world.spread(lambda: build.gaussian(config))
    if config.assimilate.prior is not None:
        what = "the members were given: there is no model of them to forecast with"
        raise ConfigError(what, key="forecast.model", hint="--model linear")
    if method in ("gaussian", "kf", "oi"):
        return world.spread(lambda: build.prior(config, method, cycle))
    return build.prior(config, method, cycle, world.mesh)


def _advance(
    prior: Prior, past_BKCHW: Tensor, known: Tensor, time: np.datetime64, settings: methods.Settings, own: range
) -> Tensor:
    """One step of the members `own`, in batches that share a network call."""
    parts = [past_BKCHW[:0, -1]]
    for first in range(0, len(past_BKCHW), settings.batch):
        mean = past_BKCHW[first : first + settings.batch]
        history = History(mean, torch.full_like(mean, 1e-3), known)
        numbers = own[first : first + len(mean)]
        parts.append(methods.background(prior, history, time, settings, numbers, purpose="forecast"))
    return torch.cat(parts)
