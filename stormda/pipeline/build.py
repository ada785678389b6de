"""From configuration to objects: the one place that knows both names and classes."""

__all__ = ["archive", "prior", "resolver", "sampler", "store", "weights_path"]

from collections.abc import Callable
from pathlib import Path

from stormda.assimilation.prior import GaussianPrior, Prior
from stormda.config import Config
from stormda.diffusion.sample.dpm2m import dpm2m
from stormda.diffusion.sample.heun import heun
from stormda.errors import InputError, InputMissing
from stormda.store.archive import Archive
from stormda.store.observations import ObservationStore
from stormda.types import Tensor

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


def weights_path(config: Config) -> Path:
    """The file of the STORM prior: `shipped:NAME` comes with the package; raises InputMissing with the way out."""
    text = config.storm.weights
    if text.startswith("shipped:"):
        path = SHIPPED / f"{text.removeprefix('shipped:')}.safetensors"
        names = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.safetensors"))) or "none"
        hint = f"shipped with stormda: {names}"
    else:
        path, hint = config.below_run(text), "stormda train writes it"
    if not path.exists():
        raise InputMissing("the weights of the STORM prior are not there", file=path, key="storm.weights", hint=hint)
    return path


def prior(config: Config, method: str) -> Prior:
    """The prior of a method: the STORM network for `storm`, the closed-form Gaussian for the others."""
    if method == "storm":
        from stormda.assimilation.storm_prior import StormPrior

        return StormPrior.load(weights_path(config), channels=config.channels)
    return GaussianPrior.fit(archive(config), config.gaussian, config.archive.train, frames=config.history.frames)


def sampler(config: Config) -> Callable[..., Tensor]:
    """The sampler that the configuration names."""
    return SAMPLERS[config.sampler.kind]
