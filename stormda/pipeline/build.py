"""From configuration to objects: the one place that knows both names and classes."""

__all__ = ["archive", "forecast_model", "nature", "prior", "resolver", "sampler", "store", "weights_path"]

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from stormda.assimilation import methods
from stormda.assimilation.ensemble_prior import (
    EnsemblePrior,
    Model,
    generative_model,
    linear_model,
    nature_model,
)
from stormda.assimilation.prior import GaussianPrior, Prior
from stormda.config import Config, LorenzWorld, SqgWorld
from stormda.diffusion.sample.dpm2m import dpm2m
from stormda.diffusion.sample.heun import heun
from stormda.errors import ConfigError, InputError, InputMissing
from stormda.nature.lorenz96 import Lorenz96
from stormda.nature.sqg import SIX_HOURS, SQG
from stormda.store.archive import Archive
from stormda.store.observations import ObservationStore
from stormda.types import Mapping2, Tensor

SAMPLERS: dict[str, Callable[..., Tensor]] = {"dpm2m": dpm2m, "heun": heun}
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


def resolver(config: Config) -> Callable[[str], Path]:
    """Turns a path of the configuration into a path."""
    return config.path


def weights_path(config: Config, text: str | None = None, key: str = "storm.weights") -> Path:
    """The file of the STORM prior, or of the key that says `text`; raises InputMissing with the way out.

    `shipped:NAME` comes with the package; other names are below the run folder.
    """
    text = config.storm.weights if text is None else text
    if text.startswith("shipped:"):
        path = SHIPPED / f"{text.removeprefix('shipped:')}.safetensors"
        names = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.safetensors"))) or "none"
        hint = f"shipped with stormda: {names}"
    else:
        path, hint = config.below_run(text), "stormda train writes it"
    if not path.exists():
        raise InputMissing("the weights of the STORM prior are not there", file=path, key=key, hint=hint)
    return path


def nature(config: Config) -> Lorenz96 | SQG | None:
    """The simulator of the world of the section `twin`; None where that is an archive."""
    world = config.twin.world
    if isinstance(world, LorenzWorld):
        return Lorenz96(d=world.dimension, forcing=world.forcing)
    return SQG(points=world.points) if isinstance(world, SqgWorld) else None


def prior(config: Config, method: str) -> Prior:
    """The prior of a method: the STORM network for `storm`, members and a model for filters, else the Gaussian.

    Raises:
        ConfigError: a forecast model that this world does not have.
    """
    if method in methods.FILTERS:
        return _ensemble_prior(config, method)
    return _storm(config) if method == "storm" else _gaussian(config, config.history.frames)


def _storm(config: Config) -> Prior:
    from stormda.assimilation.storm_prior import StormPrior

    return StormPrior.load(weights_path(config), channels=config.channels)


def _gaussian(config: Config, frames: int) -> GaussianPrior:
    return GaussianPrior.fit(archive(config), config.gaussian, config.archive.train, frames=frames)


def forecast_model(config: Config, method: str) -> str:
    """The model of an ensemble filter's members: nature, linear or storm."""
    chosen = config.letkf.model if method == "letkf" else config.ensf.model
    return chosen or ("linear" if nature(config) is None else "nature")


def _ensemble_prior(config: Config, method: str) -> EnsemblePrior:
    simulator, kind = nature(config), forecast_model(config, method)
    base: Prior
    model: Model
    if kind == "storm":
        base = _storm(config)
        settings = methods.Settings.of(config, sampler(config))
        model = generative_model(
            lambda history, time, members: methods.background(base, history, time, settings, members, "forecast"),
            config.assimilate.batch,
        )
    else:
        base = gaussian = _gaussian(config, frames=1)
        if kind == "linear":
            model = linear_model(gaussian)
        elif simulator is None:
            raise ConfigError(
                "an archive has no nature run to forecast with",
                key=f"{method}.model",
                hint=f"{method}.model=linear, or storm with weights",
            )
        else:
            model = nature_model(_six_hours(simulator), base)
    return EnsemblePrior(base, model, _states(config, base), perfect=kind == "nature")


def _six_hours(simulator: Lorenz96 | SQG) -> Mapping2:
    """Six hours of the simulator, on fields [M, C, H, W]."""
    if isinstance(simulator, Lorenz96):
        return simulator.step
    return lambda theta: simulator.advance(theta, SIX_HOURS)


def _states(config: Config, prior: Prior) -> tuple[int, Callable[[Sequence[int]], Tensor]]:
    """How many states of the archive may be learned from, and how to read some, standardised, on the prior's grid."""
    opened = archive(config)
    index = opened.select(config.archive.train)
    rows, columns = prior.grid.within(opened.grid)

    def read(numbers: Sequence[int]) -> Tensor:
        chosen = index[np.asarray(numbers)]
        values = opened.read(chosen).values[:, :, rows[:, None], columns]
        return torch.as_tensor(prior.normaliser.encode(values, opened.times[chosen]))

    return len(index), read


def sampler(config: Config) -> Callable[..., Tensor]:
    """The sampler that the configuration names."""
    return SAMPLERS[config.sampler.kind]
