"""A preconditioner for posterior sampling: the same linear system, if the prior were a given Gaussian.

The system of a noise level, whitened by R, is I + R^-1/2 A V A^T R^-1/2 with V = V[x | x_t]. For a Gaussian with
eigenvalues lambda along patterns U and rho in every other direction,

    V = U^T diag(c) U + c_rho (I - U^T U),      c = lambda sigma^2 / (lambda + sigma^2), the same for c_rho

so the system is a diagonal plus a matrix of the rank of U; its inverse costs two products with [N, R] (Woodbury 1950).
A A^T beside the patterns is replaced by an estimate of its diagonal. Whatever is missed costs iterations, and
accuracy only where they run out. Where observations are spread over processes, each has its rows of A U^T.
"""

__all__ = ["preconditioner"]

from collections.abc import Callable

import torch
from torch import Tensor

from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.linearise import linearise, row_squares
from stormda.types import Mapping2


def preconditioner(
    gaussian: Gaussian, operator: Mapping2, variance: Tensor
) -> Callable[[Tensor], Callable[[Tensor], Tensor]]:
    """sigma -> (r_BN -> about M^-1 r), H linearised at the Gaussian's mean.

    Args:
        gaussian: an approximation of the prior.
        operator: H, x_BCHW -> y_BN.
        variance: of the observation errors [N].
    """
    values, patterns = gaussian.principal
    mean = gaussian.mean.double()
    mean = mean.mean(dim=0) if mean.ndim == 4 else mean
    r = variance.double()
    half = _products(operator, mean, patterns.view(-1, *mean.shape)).T / r.sqrt()[:, None]  # [N, R]
    layout = gaussian.layout
    rows = row_squares(operator, mean, layout) / r  # diagonal of R^-1/2 A A^T R^-1/2
    rho = gaussian.residual

    def at(sigma: Tensor) -> Callable[[Tensor], Tensor]:
        square = float(sigma) ** 2
        beside = rho * square / (rho + square)
        d = 1 + beside * rows
        w = half * (values * square / (values + square) - beside).clamp_min(0.0).sqrt()
        scaled = w / d[:, None]
        inside = torch.eye(len(values), dtype=torch.float64) + layout.sum(w.T @ scaled)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(inside))

        def solve(r_BN: Tensor) -> Tensor:
            y = r_BN.double()
            return (y / d - (layout.sum(y @ scaled) @ inverse) @ scaled.T).to(r_BN)

        return solve

    return at


def _products(operator: Mapping2, mean_CHW: Tensor, v_BCHW: Tensor) -> Tensor:
    """A v at the mean, [B, N], in float64."""
    if len(v_BCHW) == 0:
        return operator(mean_CHW[None]).double()[:0]
    return linearise(operator, mean_CHW.expand_as(v_BCHW)).forward(v_BCHW).detach().double()
