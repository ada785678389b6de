"""The ensemble score filter (Bao, Zhang and Zhang 2024, https://arxiv.org/abs/2309.00983): diffusion without a network.

Diffusion takes the state to noise, z_t = alpha x + beta n, with alpha = 1 - 0.95 t, beta^2 = b + (1 - b) t, t = 0..1.
The reverse needs the score of z_t, or what is the same the denoised state D = E[x | z_t]. The M members of the
background give one without training, in two forms:

    member    D = x_i: each member is all that its own reverse diffusion knows. This is what published codes for large
              systems do. The bandwidth b then stands for the prior variance of each component by itself: an observed
              one moves by b / (b + R) of its innovation, or up to three times that where b < R, and no other moves.
    mixture   D = sum_j w_j x_j, w_j ~ exp(-|z_t - alpha x_j|^2 / (2 beta^2)): the members with a kernel of variance b,
              the paper's form. With more than a few dimensions one w_j is 1 and all others 0, however many members.

Observations enter by a damped likelihood, s(z, t) + h(t) grad log p(y | z) with h = 1 - t, which is the posterior's
score at t = 0 only. Before, the prior is too weak beside it, and what is lost does not come back: the mean overshoots
(in one dimension of variance 1, R = 0.1, it moves by 0.98 of the innovation where the Kalman filter takes 0.91). With
sparse observations the first form tells nothing to what is not observed. Dense, nonlinear ones are this filter's field.

A step from t to s is the exact reverse step for the given D (Ho, Jain and Abbeel 2020,
https://arxiv.org/abs/2006.11239, eq. 7), with v = beta_t^2 - (alpha_t / alpha_s)^2 beta_s^2,

    z_s = (alpha_t / alpha_s) (beta_s / beta_t)^2 z_t + (alpha_s v / beta_t^2) D + beta_s v^1/2 / beta_t n

and then c A^T (R + c A A^T)^-1 (y - H(z_s)) with c = (alpha_s / alpha_t) v h: the likelihood implicitly, so that small
errors of observations ask for no small steps. b of the variance of z_0 is the kernel's noise. In the form `member` it
is taken away: a member moves by the difference between its reverse diffusion and one of the same noise without
observations, so that what is not observed stays as it was, bit for bit.
"""

__all__ = ["ensf"]

import torch
from torch import Tensor

from stormda.assimilation.baselines.letkf import relax_spread
from stormda.diffusion.guidance.increment import Increment
from stormda.random import normal
from stormda.types import Mapping2

_FADE = 0.95  # of the state that is gone at t = 1
_TOLERANCE, _ITERATIONS = 1e-3, 20  # of the implicit step, whose matrix is diagonal for points that are observed once


def ensf(
    background_MCHW: Tensor,
    operator: Mapping2,
    y: Tensor,
    variance: Tensor,
    *,
    form: str = "member",
    bandwidth: float = 0.025,
    steps: int = 100,
    rtps: float = 0.0,
    seed: int,
    stream: int,
) -> Tensor:
    """The analysis ensemble [M, C, H, W], in float64.

    Args:
        background_MCHW: M >= 2 members, standardised.
        operator: H, x_BCHW -> y_BN.
        y, variance: observed values and error variances [N].
        form: `member` or `mixture`.
        bandwidth: b, in climatological variances.
        steps: of t, even.
        rtps: relaxation to the prior spread, 0 to 1.
        seed, stream: of the noise.

    Raises:
        AnalysisRejected: the state or H is not finite.
    """
    x = background_MCHW.double()
    data = {"tolerance": _TOLERANCE, "max_iterations": _ITERATIONS}
    increment = Increment(operator, y.double(), variance.double(), None, **data)  # type: ignore[arg-type]
    z = _noise(x, seed, stream)
    free = z
    for k in range(steps, 0, -1):
        t, s = k / steps, (k - 1) / steps
        n = _noise(x, seed, stream + k)
        z, c = _back(z, x, n, t, s, bandwidth, form)
        z = z + increment(z, lambda v, c=c: c * v, torch.tensor(t))  # type: ignore[misc]
        free = _back(free, x, n, t, s, bandwidth, form)[0] if form == "member" else free
    analysis = x + (z - free) if form == "member" else z
    if rtps == 0:
        return analysis
    mean = analysis.mean(dim=0)
    return mean + relax_spread(analysis - mean, x - x.mean(dim=0), rtps)


def _back(z: Tensor, x: Tensor, n: Tensor, t: float, s: float, bandwidth: float, form: str) -> tuple[Tensor, float]:
    """z at the earlier time s without observations, and the weight c of those."""
    (alpha_t, square_t), (alpha_s, square_s) = (
        (1 - _FADE * time, bandwidth + (1 - bandwidth) * time) for time in (t, s)
    )
    ratio = alpha_t / alpha_s
    v = square_t - ratio**2 * square_s
    d = x if form == "member" else _mixture(z, alpha_t * x, square_t) / alpha_t
    mean = ratio * square_s / square_t * z + alpha_s * v / square_t * d
    return mean + (square_s * v / square_t) ** 0.5 * n, v / ratio * (1 - s)


def _mixture(z: Tensor, centres: Tensor, square: float) -> Tensor:
    """E[alpha x | z] of a mixture of equal Gaussians around the centres."""
    distance = torch.cdist(z.flatten(1), centres.flatten(1)).square()
    return (torch.softmax(-distance / (2 * square), dim=1) @ centres.flatten(1)).reshape(z.shape)


def _noise(x: Tensor, seed: int, stream: int) -> Tensor:
    """Standard normal fields of the shape of x; those of a member are its own."""
    return normal(seed, stream, torch.arange(len(x)), torch.arange(x[0].numel())).reshape(x.shape)
