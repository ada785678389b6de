"""The posterior of a problem as a denoiser: which guidance, with what settings, for which prior.

    jfps    the error covariance of the linear-Gaussian guess                 1 call of the network a noise level
    mmps    that of the network's derivative where there is little noise      and its products with a derivative
    sda     one number in the place of a covariance                           and one product
    dps     steps of a given length along the gradient of the misfit          and one product

A centre's own state comes first, as a denoiser and a covariance of its own (`stormda.diffusion.fuse`); guidance by
observations then sees the two where it saw those of the prior.

The first two are calibrated; the others are what they are compared with. A network's derivative is worth more than the
covariance of its linear-Gaussian guess where there is little noise; far above the size of a point's anomalies its
errors, times sigma^2, outweigh what it knows.
"""

__all__ = ["guided"]

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from stormda.assimilation.prior import GaussianPrior, Prior
from stormda.assimilation.storm_prior import StormPrior
from stormda.assimilation.window import Window
from stormda.diffusion.fuse import Fusion
from stormda.diffusion.guidance.dps import dps
from stormda.diffusion.guidance.increment import Solver
from stormda.diffusion.guidance.jfps import jfps
from stormda.diffusion.guidance.mmps import mmps
from stormda.diffusion.guidance.robust import Weight, huber, student
from stormda.diffusion.guidance.sda import sda
from stormda.errors import ConfigError
from stormda.layout import WHOLE, Layout
from stormda.types import Denoise

if TYPE_CHECKING:
    from stormda.assimilation.methods import Problem
    from stormda.config import GuidanceConfig


def guided(
    prior: Prior,
    problem: "Problem",
    guidance: "GuidanceConfig",
    fusion: Fusion | None = None,
    layout: Layout = WHOLE,
) -> Callable[[], Denoise]:
    """Makes the posterior's denoiser for a batch of members.

    Args:
        prior, problem: of this process's part, see `layout`.
        guidance: which, and its settings.
        fusion: of the prior and a centre's own state.
        layout: how fields and observations are spread over processes.
    """
    history, time = problem.history, problem.time
    about = prior.climate() if isinstance(prior, StormPrior) and not bool(history.mask.any()) and not fusion else prior
    denoise, data = prior.denoiser(history, time), (problem.operator, problem.y, problem.variance)

    def share(sigma: float) -> float:
        return about.share(history, sigma)

    if fusion is not None:
        if layout is not WHOLE:
            what = "a state from elsewhere needs all of a member in one process"
            raise ConfigError(what, key="parallel.tile", hint="parallel.tile=1, or no assimilate.background")
        denoise = fusion.denoiser(denoise, share)
    if int(layout.sum(torch.tensor(len(problem.y)))) == 0:
        return lambda: denoise
    weight = _weight(guidance)
    if guidance.kind == "sda":
        return lambda: sda(denoise, *data, gamma=guidance.gamma, weight=weight, layout=layout)
    if guidance.kind == "dps":
        return lambda: dps(denoise, *data, zeta=guidance.zeta, layout=layout)
    gaussian = about.linear(history, time) if fusion is None else fusion.gaussian
    spread = None if fusion is None else fusion.spread
    solver: Solver = {
        "tolerance": guidance.tolerance,
        "max_iterations": guidance.max_iterations,
        "linearisations": guidance.linearisations,
        "weight": weight,
        "layout": layout,
    }
    learned = guidance.kind == "mmps" and not isinstance(prior, (GaussianPrior, Window))

    def make() -> Denoise:
        above = jfps(denoise, *data, gaussian, share=share, spread=spread, **solver)
        if not learned:
            return above
        below = mmps(denoise, *data, gaussian=gaussian, **solver)
        return lambda x, sigma: (below if float(sigma) < guidance.derivative_below else above)(x, sigma)

    return make


def _weight(guidance: "GuidanceConfig") -> Weight | None:
    made = {"huber": lambda: huber(guidance.huber), "student": lambda: student(guidance.freedom)}
    return None if guidance.likelihood == "gaussian" else made[guidance.likelihood]()
