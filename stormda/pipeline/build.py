"""From configuration to objects: the one place that knows both names and classes."""

__all__ = ["archive", "forecast_model", "gaussian", "nature", "prior", "sampler", "store", "weights_path"]

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from stormda.assimilation import methods
from stormda.assimilation.ensemble_prior import (
    EnsemblePrior,
    Model,
    generative_model,
    given_ensemble,
    linear_model,
    nature_model,
)
from stormda.assimilation.prior import GaussianPrior, Prior
from stormda.config import Config, LorenzWorld, SqgWorld, files_of
from stormda.diffusion.history import History
from stormda.diffusion.sample.ancestral import ancestral
from stormda.diffusion.sample.dpm2m import dpm2m, dpm2mx
from stormda.diffusion.sample.heun import heun
from stormda.diffusion.sample.langevin import Sampler
from stormda.errors import ConfigError, InputError, InputMissing
from stormda.grid import Grid
from stormda.nature.lorenz96 import Lorenz96
from stormda.nature.sqg import SIX_HOURS, SQG
from stormda.normaliser import Normaliser
from stormda.pipeline.device import device_of, precision_of
from stormda.pipeline.nwp import files_at, states_at
from stormda.random import stream, uniform
from stormda.state import State
from stormda.store.archive import Archive
from stormda.store.observations import ObservationStore
from stormda.time import format_time
from stormda.types import Mapping2, Tensor
from stormda.variables import Channel

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

SAMPLERS: dict[str, Sampler] = {"dpm2m": dpm2m, "dpm2mx": dpm2mx, "heun": heun, "ancestral": ancestral}
_CLIMATE = 40**0.5  # sd of a climate that is not known, in those of an ensemble of forecasts

log = logging.getLogger(__name__)

SHIPPED = Path(__file__).parent.parent / "weights"


def archive(config: Config) -> Archive:
    """The gridded archive of this run.

    Raises:
        InputMissing: before `stormda ingest`.
        InputError: it is damaged, or was made of other channels than the configuration names.
    """
    path = config.below_run(config.archive.path)
    opened = Archive.open(path)
    names = tuple(c.name for c in opened.channels)
    if names != config.channels:
        raise InputError(
            f"the archive holds {', '.join(names)}, the configuration names {', '.join(config.channels)}",
            file=path,
            key="channels",
            hint="stormda ingest builds it again",
        )
    return opened


def store(config: Config) -> ObservationStore:
    """The observation store of this run."""
    return ObservationStore(config.below_run(config.observations.path))


def weights_path(config: Config, text: str | None = None, key: str = "storm.weights") -> Path:
    """The file of the STORM prior, or of the key that says `text`; raises InputMissing with the way out.

    `shipped:NAME` comes with the package; other names are relative to the run folder, those of another run too.
    """
    text = config.storm.weights if text is None else text
    if text.startswith("shipped:"):
        path = SHIPPED / f"{text.removeprefix('shipped:')}.safetensors"
        names = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.safetensors"))) or "none"
        hint = f"shipped with stormda: {names}"
    else:
        path, hint = config.beside_run(text), "stormda train writes it"
    if not path.exists():
        raise InputMissing("the weights of the STORM prior are not there", file=path, key=key, hint=hint)
    return path


def nature(config: Config) -> Lorenz96 | SQG | None:
    """The simulator of the world of the section `twin`; None where that is an archive."""
    world = config.twin.world
    if isinstance(world, LorenzWorld):
        return Lorenz96(d=world.dimension, forcing=world.forcing)
    return SQG(points=world.points) if isinstance(world, SqgWorld) else None


def prior(config: Config, method: str, time: np.datetime64 | None = None, mesh: "DeviceMesh | None" = None) -> Prior:
    """The prior of a method: the STORM network for `storm`, members and a model for filters, else the Gaussian.

    `time` is that of the analysis: of members that are given, where there is no archive, everything is learned. `mesh`
    are the processes of a command, which may hold the network together.

    Raises:
        ConfigError: a forecast model that this world does not have, or given members for a method that takes none.
    """
    if config.assimilate.prior is not None:
        return _given_ensemble(config, method, config.assimilate.prior, time)
    if method in methods.FILTERS:
        return _ensemble_prior(config, method)
    return _storm(config, mesh) if method == "storm" else _gaussian(config, config.history.frames)


def _storm(config: Config, mesh: "DeviceMesh | None" = None) -> Prior:
    from stormda.assimilation.storm_prior import StormPrior

    blocks = None
    if mesh is not None and mesh["shard"].size() > 1:
        from stormda.distributed.parallelize import Held

        blocks = Held(mesh)
    loaded = StormPrior.load(weights_path(config), channels=config.channels, blocks=blocks)
    return loaded.on(device_of(config), precision_of(config))


def gaussian(config: Config) -> GaussianPrior:
    """The linear inverse model of the archive, which looks at one frame of the past."""
    return _gaussian(config, frames=1)


def _gaussian(config: Config, frames: int) -> GaussianPrior:
    return GaussianPrior.fit(archive(config), config.gaussian, config.archive.train, frames=frames)


def forecast_model(config: Config, method: str) -> str:
    """The model of an ensemble filter's members: nature, linear or storm."""
    chosen = config.letkf.model if method == "letkf" else config.ensf.model
    return chosen or ("linear" if nature(config) is None else "nature")


def _ensemble_prior(config: Config, method: str) -> EnsemblePrior:
    kind, opened = forecast_model(config, method), archive(config)
    base, model = _model(config, method) if kind != "nature" else (None, None)
    known = opened if base is None else base
    if model is None:
        model = nature_model(_six_hours(config, method), known.normaliser, known.step, _jumps(config))
    frames = 1 if base is None else base.frames
    states = _states(config, opened, known.grid, known.normaliser)
    return EnsemblePrior(known.channels, known.grid, known.normaliser, known.step, frames, model, states, base)


def _given_ensemble(config: Config, method: str, text: str, time: np.datetime64 | None) -> EnsemblePrior:
    """Members from files: on the archive's grid and in its climatological units, or in their own where none is."""
    key, files = "assimilate.prior", files_of(text)
    if method not in methods.FILTERS:
        hint = "--method letkf or ensf; a centre's state beside the prior of other methods: --background FILE"
        raise ConfigError(f"method {method} does not take members for its prior", key=key, hint=hint)
    alone = time is not None and not config.below_run(config.archive.path).exists()
    if alone:
        assert time is not None
        climate = [check.check for check in config.quality.dynamic if check.check == "climatology"]
        if climate:
            hint = "stormda ingest builds it; or leave that check out"
            raise ConfigError("the check 'climatology' needs an archive", key="quality.dynamic", hint=hint)
        state = states_at(config, files, time, key, None)
        grid, normaliser = state.grid, _spread_of(state)
    else:
        opened = archive(config)
        grid, normaliser = opened.grid, opened.normaliser
    wanted = config.assimilate.ensemble

    def members(at: np.datetime64, numbers: Sequence[int]) -> Tensor:
        values = states_at(config, files, at, key, grid).values
        if len(values) < max(wanted, 2):
            what = f"the files have {len(values)} members at {format_time(at)}, {wanted} are wanted"
            hint = f"assimilate.ensemble={len(values)}" if len(values) > 1 else "an ensemble: one state is --background"
            raise InputError(what, file=files_at(config, files, at, key)[0], key="assimilate.ensemble", hint=hint)
        if len(values) > wanted:
            log.warning("the first %d of %d members are taken (assimilate.ensemble)", wanted, len(values))
        return torch.as_tensor(normaliser.encode(values[list(numbers)], np.asarray([at])))

    channels = tuple(Channel.parse(name) for name in config.channels)
    return given_ensemble(members, channels, grid, normaliser, config.assimilate.step)


def _spread_of(state: State) -> Normaliser:
    """Units of given members where no climate is known: it is taken to vary 40 times as much as they do.

    So their variance in these units is the kernel of `ensf` by default, 0.025.
    """
    whole = [(state.values, np.repeat(state.times, len(state.values)))]
    own = Normaliser.fit(whole, state.channels, 0, 0, state.grid.weights)
    return replace(own, sd=own.sd * _CLIMATE)


def _model(config: Config, method: str) -> tuple[Prior, Model]:
    """The generative prior that forecasts, and the model that it is."""
    if forecast_model(config, method) == "linear":
        gaussian = _gaussian(config, frames=1)
        return gaussian, linear_model(gaussian)
    storm, settings = _storm(config), methods.Settings.of(config, sampler(config))

    def draw(history: History, time: np.datetime64, members: Sequence[int]) -> Tensor:
        return methods.background(storm, history, time, settings, members, "forecast")

    return storm, generative_model(draw, config.assimilate.batch)


def _six_hours(config: Config, method: str) -> Mapping2:
    """Six hours of the simulator, on fields [M, C, H, W]."""
    simulator = _wrong(config)
    if simulator is None:
        what, hint = "an archive has no nature run to forecast with", f"{method}.model=linear, or storm with weights"
        raise ConfigError(what, key=f"{method}.model", hint=hint)
    if isinstance(simulator, Lorenz96):
        return simulator.step
    return lambda theta: simulator.advance(theta, SIX_HOURS)


def _wrong(config: Config) -> Lorenz96 | SQG | None:
    """The simulator as a filter has it, with the faults of `twin.model`."""
    simulator, wrong = nature(config), config.twin.model
    if isinstance(simulator, Lorenz96):
        return replace(simulator, forcing=simulator.forcing + wrong.forcing)
    if simulator is None:
        return None
    friction = simulator.friction + wrong.friction
    return replace(simulator, relaxation=simulator.relaxation * wrong.relaxation, friction=friction)


def _jumps(config: Config) -> Callable[[np.datetime64], torch.Tensor] | None:
    """What all members jump by at a time, [C, H, W], zero at most times; None: nothing ever."""
    simulator, wrong = nature(config), config.twin.model
    if simulator is None or wrong.jump == 0 or wrong.chance == 0:
        return None
    one, shape = torch.zeros(1, dtype=torch.int64), (len(simulator.channels), *simulator.grid().shape)

    def jump(time: np.datetime64) -> torch.Tensor:
        number = stream("jump", format_time(time))
        if float(uniform(config.assimilate.seed, number, one, one)) >= wrong.chance:
            return torch.zeros(shape)
        if isinstance(simulator, Lorenz96):
            return wrong.jump * (simulator.initial(1, number) - simulator.forcing).reshape(shape)
        return simulator.initial(1, number, noise=wrong.jump)[0] - simulator.equilibrium()

    return jump


def _states(
    config: Config, opened: Archive, grid: Grid, normaliser: Normaliser
) -> tuple[int, Callable[[Sequence[int]], Tensor]]:
    """How many states of the archive may be learned from, and how to read some, standardised, on a grid within its."""
    index = opened.select(config.archive.train)
    rows, columns = grid.within(opened.grid)

    def read(numbers: Sequence[int]) -> Tensor:
        chosen = index[np.asarray(numbers)]
        values = opened.read(chosen).values[:, :, rows[:, None], columns]
        return torch.as_tensor(normaliser.encode(values, opened.times[chosen]))

    return len(index), read


def sampler(config: Config) -> Sampler:
    """The sampler that the configuration names."""
    return SAMPLERS[config.sampler.kind]
