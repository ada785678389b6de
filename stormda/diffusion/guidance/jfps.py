"""JFPS: posterior sampling that needs no derivative of the denoiser.

As MMPS (`stormda.diffusion.guidance.mmps`), with the covariance of a Gaussian that resembles the prior, N(m, S), times
the share of it that the denoiser is known to leave, in place of sigma^2 J:

    E[x | x_t, y] = D + V A^T (R + A V A^T)^-1 (y - H(D)),    V = share(sigma) (S^-1 + I / sigma^2)^-1

One call of the network a noise level. Exact where the prior is that Gaussian and H linear. At high noise it is also the
better choice for a learned prior: V is far smaller than sigma^2 there, and a small error of a learned J, times sigma^2,
drowns it.
"""

__all__ = ["jfps"]

from collections.abc import Callable
from typing import Unpack

from torch import Tensor

from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.guidance.increment import Increment, Solver
from stormda.types import Denoise, Mapping2


def _all(sigma: float) -> float:
    return 1.0


def jfps(
    denoise: Denoise,
    operator: Mapping2,
    y: Tensor,
    variance: Tensor,
    gaussian: Gaussian,
    *,
    share: Callable[[float], float] = _all,
    spread: Callable[[Tensor, float, float], Tensor] | None = None,
    **solver: Unpack[Solver],
) -> Denoise:
    """The denoiser of the posterior.

    Args:
        denoise: the denoiser of the prior.
        operator, y, variance, solver: see `Increment`.
        gaussian: N(m, S); its mean does not matter.
        share: error variance of the denoiser at a noise level, in units of the Gaussian's.
        spread: (v, sigma, share) -> V v, where V is not share (S^-1 + I / sigma^2)^-1.

    Raises:
        AnalysisRejected: (by the returned function) the denoiser or the operator gave a value that is not finite.
    """
    increment = Increment(operator, y, variance, gaussian, **solver)

    def posterior(x_BCHW: Tensor, sigma: Tensor) -> Tensor:
        d = denoise(x_BCHW, sigma).detach()
        factor = share(float(sigma))

        def covariance(v_BCHW: Tensor) -> Tensor:
            if spread is not None:
                return spread(v_BCHW, float(sigma), factor)
            return factor * gaussian.spread(v_BCHW, sigma)

        return d + increment(d, covariance, sigma, factor)

    return posterior
