"""The methods side by side: the same problem, the same observations, the same ensemble size.

`storm` and `gaussian` draw the ensemble by reverse diffusion from the posterior of their prior; `kf` and `oi` are the
closed-form classical baselines on the same linear-Gaussian prior; `letkf` and `ensf` are ensemble filters, whose prior
is the forecast of their members.
"""

__all__ = ["FILTERS", "Problem", "Settings", "analysis", "background", "forecast_covariance", "remember"]

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from stormda.assimilation import memory
from stormda.assimilation.baselines.ensf import ensf
from stormda.assimilation.baselines.kf import closed_form
from stormda.assimilation.baselines.letkf import letkf
from stormda.assimilation.baselines.localisation import Places, default_radius, nearby
from stormda.assimilation.ensemble import draw, noise
from stormda.assimilation.ensemble_prior import EnsemblePrior
from stormda.assimilation.inflation import Inflated, inflated
from stormda.assimilation.posterior import guided
from stormda.assimilation.prior import GaussianPrior, Prior
from stormda.assimilation.window import Window
from stormda.diffusion.fuse import Fusion
from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.history import History
from stormda.diffusion.linearise import row_squares
from stormda.diffusion.noise import karras
from stormda.diffusion.sample.langevin import UNCORRECTED, Langevin, Sampler
from stormda.errors import AnalysisRejected, ConfigError, StormdaError
from stormda.layout import WHOLE, Layout
from stormda.random import normal, stream
from stormda.time import format_time
from stormda.types import Denoise, Mapping2, Progress, silent

if TYPE_CHECKING:
    from stormda.config import Config, EnsfConfig, GuidanceConfig, LetkfConfig

FILTERS = ("letkf", "ensf")
"""Methods whose prior is the forecast of their own members."""


@dataclass(frozen=True, eq=False)
class Problem:
    """One analysis in standardised space.

    Args:
        time: the analysis time.
        history: what is known of the past.
        operator: z_BCHW -> y_BN in physical units, N >= 1, or N >= 0 where there is a state from elsewhere.
        y: observed values [N].
        variance: observation error variances [N].
        background: members before the observations [M, C, H, W]; an ensemble filter needs them.
        places: of the observations; localisation needs them.
        elsewhere: a state from another system and the covariance of its error, N(b, B), standardised; None: none.
    """

    time: np.datetime64
    history: History
    operator: Mapping2
    y: Tensor
    variance: Tensor
    background: Tensor | None = None
    places: Places | None = None
    elsewhere: Gaussian | None = None


@dataclass(frozen=True)
class Settings:
    """How ensembles are drawn: everything that is not the problem.

    `own` are the members of this rank; None: all. `layout` is how a member is spread over processes; prior and problem
    are then of this process's part. `found` is filled with what was estimated while drawing, for the provenance.
    `again`: whether a batch for which memory does not do is tried with fewer members. `pairs`: members in pairs of
    opposite noise, whose mean has no sampling error where the posterior is Gaussian.
    """

    members: int
    seed: int
    batch: int
    sampler: Sampler
    steps: int
    rho: float
    sigma_min: float | None
    sigma_max: float | None
    guidance: "GuidanceConfig"
    progress: Progress = silent
    letkf: "LetkfConfig | None" = None
    ensf: "EnsfConfig | None" = None
    langevin: Langevin = UNCORRECTED
    inflation: str = "none"
    own: range | None = None
    layout: Layout = WHOLE
    again: bool = True
    pairs: bool = False
    found: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, config: "Config", sampler: Sampler) -> "Settings":
        """What the configuration says."""
        s, a = config.sampler, config.assimilate
        return cls(
            a.ensemble, a.seed, a.batch, sampler, s.steps, s.rho, s.sigma_min, s.sigma_max, config.guidance,
            letkf=config.letkf, ensf=config.ensf, langevin=Langevin(s.corrections, s.tau),
            inflation=a.inflation, pairs=a.pairs,
        )  # fmt: skip

    @property
    def numbers(self) -> range:
        """The members that are drawn here."""
        return range(self.members) if self.own is None else self.own

    def sigmas(self, prior: Prior, smallest: float | None) -> Tensor:
        """The noise levels: from far above the prior's largest pattern to well below the smallest observation error."""
        low = self.sigma_min or min(0.05, 0.2 * smallest if smallest else 0.05)
        return karras(low, self.sigma_max or prior.sigma_max, self.steps, self.rho)

    def facts(self) -> dict[str, Any]:
        """For the provenance."""
        names = ("members", "seed", "batch", "steps", "rho", "sigma_min", "sigma_max")
        own: dict[str, Any] = asdict(self.langevin) if self.langevin.corrections else {}
        own |= {"pairs": True} if self.pairs else {}
        own |= {} if self.inflation == "none" else {"inflation": self.inflation, **self.found}
        return {"sampler": self.sampler.__name__, **{name: getattr(self, name) for name in names}, **own}


def background(
    prior: Prior,
    history: History,
    time: np.datetime64,
    settings: Settings,
    members: Sequence[int] | None = None,
    purpose: str = "analysis",
) -> Tensor:
    """Draw members [M, C, H, W] of the prior without observations, from the noise that the analysis starts from.

    A history with one mean a member must come with as many `members`.
    """
    numbers, of = (settings.numbers, settings.members) if members is None else (members, len(members))
    if isinstance(prior, EnsemblePrior):
        return prior.forecast(history, time, numbers, settings.seed)
    denoise = prior.denoiser(history, time)
    return _draw(prior, lambda: denoise, settings.sigmas(prior, None), numbers, of, time, settings, purpose)


def analysis(method: str, prior: Prior, problem: Problem, settings: Settings) -> tuple[Tensor, Tensor | None]:
    """Draw the analysis ensemble [M, C, H, W], and what the next cycle must know of its error beyond the spread.

    Args:
        method: storm, gaussian, kf, oi, letkf or ensf.
        prior: the network for `storm`, members and a model for the filters, the closed-form Gaussian for the others.
        problem: the observations.
        settings: how to draw.
    """
    if settings.layout is not WHOLE and (method != "storm" or settings.inflation != "none"):
        hint = "parallel.tile=1, or method storm with assimilate.inflation=none"
        raise ConfigError(f"{method} needs all of a member in one process", key="parallel.tile", hint=hint)
    if method in ("kf", "oi"):
        return _closed_form(method, prior, problem, settings)
    if method in FILTERS:
        return _filter(method, prior, problem, settings), None
    if settings.inflation == "innovations" and not isinstance(prior, (GaussianPrior, Window)):
        prior = inflated(prior, problem)
        if isinstance(prior, Inflated):
            settings.found["background variance factor"] = prior.scale
    fusion = _fusion(prior, problem)
    posterior = guided(prior, problem, settings.guidance, fusion, settings.layout)
    error = smallest_error(problem, prior, settings.layout)
    smallest = [error] if error < math.inf else []
    sigmas = settings.sigmas(prior, min(smallest + ([] if fusion is None else [fusion.smallest])))
    numbers, of = settings.numbers, settings.members
    ensemble = _draw(prior, posterior, sigmas, numbers, of, problem.time, settings, "analysis")
    carry = _carry(prior, problem, fusion)
    # The next history is the mean of M members, which errs by P/M more than the expected state; that of pairs does not.
    more = 0.0 if settings.pairs and settings.members % 2 == 0 else 1 / settings.members
    return ensemble, None if carry is None else carry * (1 + more)


def remember(prior: Prior, history: History, ensemble_MCHW: Tensor, carry: Tensor | None) -> History:
    """What the next analysis knows of the past: mean and error, or the members of an ensemble filter themselves."""
    if isinstance(prior, EnsemblePrior):
        return memory.follow(history, ensemble_MCHW)
    return memory.remember(history, ensemble_MCHW, carry)


def forecast_covariance(prior: Prior, history: History, time: np.datetime64) -> Tensor | None:
    """What the next cycle must know of the error where nothing was assimilated; None: the spread says it all."""
    return None if prior.signature is None else prior.linear(history, time).covariance


def smallest_error(problem: Problem, prior: Prior, layout: Layout = WHOLE) -> float:
    """The smallest observation error in standardised units: sqrt(R) over the length of its row of A; inf: none."""
    if int(layout.sum(torch.tensor(len(problem.y)))) == 0:
        return math.inf
    rows, columns = layout.part(prior.grid.shape)
    zeros = torch.zeros(len(prior.channels), *prior.grid.shape, dtype=torch.float64)[:, rows, columns]
    squares = row_squares(problem.operator, zeros, layout).clamp_min(1e-12)
    smallest = torch.cat([torch.full((1,), math.inf), problem.variance.double() / squares]).min()
    return math.sqrt(float(-layout.max(-smallest)))


def _draw(
    prior: Prior,
    denoise: Callable[[], Denoise],
    sigmas: Tensor,
    members: Sequence[int],
    of: int,
    time: np.datetime64,
    settings: Settings,
    purpose: str,
) -> Tensor:
    return draw(
        settings.sampler,
        denoise,
        (len(prior.channels), *prior.grid.shape),
        sigmas,
        members,
        seed=settings.seed,
        stream=stream(purpose, format_time(time)),
        batch=settings.batch,
        of=of,
        langevin=settings.langevin,
        progress=settings.progress,
        layout=settings.layout,
        again=settings.again,
        pairs=settings.pairs,
    )


def _fusion(prior: Prior, problem: Problem, history: History | None = None) -> Fusion | None:
    """The linear-Gaussian prior and the state from elsewhere."""
    if problem.elsewhere is None:
        return None
    return Fusion(prior.linear(problem.history if history is None else history, problem.time), problem.elsewhere)


def _carry(prior: Prior, problem: Problem, fusion: Fusion | None) -> Tensor | None:
    """What the next cycle must know of the error, in the prior's modes."""
    data = problem.operator, problem.y, problem.variance
    if fusion is None:
        return prior.carry(problem.history, problem.time, *data)
    if prior.signature is None:
        return None
    gaussian = fusion.gaussian
    covariance = gaussian.posterior(*data)[1] if len(problem.y) else gaussian.covariance
    modes = len(fusion.prior.modes)
    return covariance[:modes, :modes]


def _closed_form(method: str, prior: Prior, problem: Problem, settings: Settings) -> tuple[Tensor, Tensor | None]:
    if not isinstance(prior, (GaussianPrior, Window)):
        raise StormdaError(f"method {method} needs the Gaussian prior")
    shape = (len(prior.channels), *prior.grid.shape)
    history = History.none(prior.frames, shape) if method == "oi" else problem.history
    numbers, where = range(settings.members), stream("analysis", format_time(problem.time))
    fields = noise(settings.seed, where, numbers, shape, torch.float64)
    errors = normal(settings.seed, where + 1, torch.arange(settings.members), torch.arange(len(problem.y)))
    fusion = _fusion(prior, problem, history)
    gaussian = prior.linear(history, problem.time) if fusion is None else fusion.gaussian
    ensemble, covariance = closed_form(gaussian, problem.operator, problem.y, problem.variance, fields, errors)
    modes = len(prior.modes)  # The first ones of a fusion.
    return ensemble.float(), None if method == "oi" else covariance[:modes, :modes]


def _filter(method: str, prior: Prior, problem: Problem, settings: Settings) -> Tensor:
    background, places = problem.background, problem.places
    if problem.elsewhere is not None:
        raise StormdaError(f"method {method} takes no state from elsewhere")
    if not isinstance(prior, EnsemblePrior) or background is None:
        raise StormdaError(f"method {method} needs members and a model")
    if not bool(torch.isfinite(background).all()):
        hint = "another inflation or localisation: stormda twin --tune"
        raise AnalysisRejected(f"the members of {method} are not finite at {format_time(problem.time)}", hint=hint)
    if method == "ensf":
        assert settings.ensf is not None
        options = settings.ensf.model_dump(include={"form", "bandwidth", "steps", "rtps"})
        where = stream("analysis", format_time(problem.time))
        data = background, problem.operator, problem.y, problem.variance
        return ensf(*data, **options, seed=settings.seed, stream=where).float()
    if places is None:
        raise StormdaError("localisation needs the places of the observations")
    assert settings.letkf is not None
    with torch.no_grad():
        hx = problem.operator(background.double())
    options = settings.letkf.model_dump(include={"inflation", "rtps", "rtpp"})
    local = nearby(prior.grid, places, settings.letkf.radius or default_radius(prior.grid), settings.letkf.nearest)
    return letkf(background, hx, problem.y, problem.variance, local, **options).float()
