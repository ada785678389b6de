"""The Kalman filter and optimal interpolation, in closed form, as an ensemble.

On the same linear-Gaussian prior as the method `gaussian`: the exact posterior mean and covariance, from which the
ensemble is drawn and then shifted so that its mean is the analysis mean. `kf` starts from the history by the linear
inverse model (Kalman 1960, https://doi.org/10.1115/1.3662552); `oi`, optimal interpolation, from climatology each time
(Gandin 1963; Daley 1991, "Atmospheric Data Analysis", chapter 4).
"""

__all__ = ["closed_form"]

import torch
from torch import Tensor

from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.linearise import linearise
from stormda.types import Mapping2


def closed_form(
    prior: Gaussian, operator: Mapping2, y: Tensor, variance: Tensor, noise_MCHW: Tensor, noise_MN: Tensor
) -> tuple[Tensor, Tensor]:
    """Draw from the posterior of a linear-Gaussian problem, exactly.

    x_i + K (y + e_i - H x_i) with x_i from the prior and e_i from the observation errors has the posterior's mean and
    covariance (randomised maximum likelihood; Oliver et al. 1996).

    Args:
        prior: the Gaussian before the observations.
        operator: H, linearised at the prior mean.
        y, variance: observed values and error variances [N], N >= 0.
        noise_MCHW, noise_MN: standard normal, for the state and for the observations.

    Returns:
        The ensemble [M, C, H, W] with exactly the posterior mean, and the covariance [R, R] in EOF coordinates.
    """
    if len(y) == 0:
        draws = prior.sample(noise_MCHW.double())
        return draws - draws.mean(dim=0) + prior.mean.double(), prior.covariance.double()
    _, s_at, innovation = prior.observed(operator, variance)
    factor = torch.linalg.cholesky(innovation)
    mean, covariance = prior.posterior(operator, y, variance)
    deviation = prior.sample(noise_MCHW.double()) - prior.mean.double()
    observed = linearise(operator, prior.mean.double().expand_as(deviation)).forward(deviation)
    e = noise_MN.double() * variance.double().sqrt()
    weights = torch.cholesky_solve((e - observed).T, factor).T
    deviation = deviation + torch.einsum("mn,nchw->mchw", weights, s_at)
    return mean + deviation - deviation.mean(dim=0), covariance
