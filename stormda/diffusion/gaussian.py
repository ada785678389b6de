"""A Gaussian in closed form: the prior whose denoiser, posterior and samples are known exactly.

    x ~ N(m, S),   S = E^T P E + rho (I - E^T E)

E holds R orthonormal patterns (EOFs), P their covariance, and rho the variance of each direction that they leave out.
The denoiser of x_t = x + sigma n is linear (Wiener 1949):

    D(x_t; sigma) = m + S (S + sigma^2 I)^-1 (x_t - m)

With P = U diag(lambda) U^T and patterns U^T E every product costs two matrix products with the patterns. Where a field
is spread over processes, each holds its columns of E, and coordinates are sums over all.
"""

__all__ = ["Gaussian"]

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from stormda.diffusion.linearise import rows
from stormda.errors import InputError
from stormda.layout import WHOLE, Layout
from stormda.types import Mapping2


@dataclass(frozen=True, eq=False)
class Gaussian:
    """N(mean, S) over fields.

    Args:
        mean: [C, H, W], or [B, C, H, W] for a batch of means with one covariance.
        modes: E, orthonormal rows [R, C H W].
        covariance: P, symmetric and not negative [R, R].
        residual: rho >= 0.
        layout: how fields, and so the columns of E, are spread over processes.
    """

    mean: Tensor
    modes: Tensor
    covariance: Tensor
    residual: float = 0.0
    layout: Layout = WHOLE

    def __post_init__(self) -> None:
        r, n = self.modes.shape
        if self.covariance.shape != (r, r) or self.mean[..., :, :, :].flatten(-3).shape[-1] != n:
            raise InputError("the modes of a Gaussian do not fit its mean or covariance")

    @cached_property
    def principal(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues lambda [R] and patterns [R, n] of S within the modes."""
        values, u = torch.linalg.eigh(self.covariance.double())
        return values.clamp_min(0.0), u.T @ self.modes.double()

    @cached_property
    def _cast(self) -> dict[torch.dtype, tuple[Tensor, Tensor, Tensor]]:
        return {}

    def _parts(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        if dtype not in self._cast:
            values, patterns = self.principal
            self._cast[dtype] = (values.to(dtype), patterns.to(dtype), self.mean.flatten(-3).to(dtype))
        return self._cast[dtype]

    def apply(self, x_BCHW: Tensor, inside: Tensor, outside: float | Tensor) -> Tensor:
        """Scale a deviation: by `inside` [R] along the principal patterns, by `outside` in every other direction."""
        _, patterns, _ = self._parts(x_BCHW.dtype)
        x = x_BCHW.flatten(-3)
        a = self.layout.sum(x @ patterns.T)
        return (outside * x + (a * (inside - outside)) @ patterns).reshape(x_BCHW.shape)

    def denoise(self, x_BCHW: Tensor, sigma: Tensor) -> Tensor:
        """D(x_t; sigma), differentiable."""
        values, _, mean = self._parts(x_BCHW.dtype)
        m = mean.reshape(*mean.shape[:-1], *x_BCHW.shape[-3:])
        variance = sigma.to(x_BCHW) ** 2
        return m + self.apply(x_BCHW - m, values / (values + variance), self.residual / (self.residual + variance))

    def spread(self, v_BCHW: Tensor, sigma: Tensor) -> Tensor:
        """V[x | x_t] v = (S^-1 + I / sigma^2)^-1 v."""
        values, variance = self._parts(v_BCHW.dtype)[0], sigma.to(v_BCHW) ** 2
        inside, outside = (f * variance / (f + variance) for f in (values, self.residual))
        return self.apply(v_BCHW, inside, outside)

    def product(self, v_BCHW: Tensor) -> Tensor:
        """S v."""
        return self.apply(v_BCHW, self._parts(v_BCHW.dtype)[0], self.residual)

    def sample(self, noise_BCHW: Tensor) -> Tensor:
        """m + S^1/2 n for standard normal n."""
        values, _, mean = self._parts(noise_BCHW.dtype)
        m = mean.reshape(*mean.shape[:-1], *noise_BCHW.shape[-3:])
        return m + self.apply(noise_BCHW, values.sqrt(), self.residual**0.5)

    def observed(self, operator: Mapping2, variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Linearise H at the mean: H(m) [N], S A^T [N, C, H, W] and A S A^T + R [N, N], in float64.

        N are the observations of all processes, in the order of `Layout.concat`.
        """
        hm, a = rows(operator, self.mean.double(), layout=self.layout)
        s_at, r = self.product(a), self.layout.concat(variance.double())[0]
        innovation = self.layout.sum(a.flatten(1) @ s_at.flatten(1).T)
        return hm, s_at, (innovation + innovation.T) / 2 + torch.diag(r)

    def posterior(self, operator: Mapping2, y: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """The Kalman update (Kalman 1960, https://doi.org/10.1115/1.3662552), H linearised at the mean.

        Returns:
            Mean [C, H, W] and covariance [R, R] in the coordinates of `modes`, float64.
        """
        hm, s_at, innovation = self.observed(operator, variance)
        factor = torch.linalg.cholesky(innovation)
        weights = torch.cholesky_solve((self.layout.concat(y.double())[0] - hm)[:, None], factor)[:, 0]
        mean = self.mean.double() + torch.einsum("n,nchw->chw", weights, s_at)
        a = self.layout.sum(s_at.flatten(1) @ self.modes.double().T)  # [N, R]: of observed values with amplitudes
        half = torch.linalg.solve_triangular(factor, a, upper=False)
        covariance = self.covariance.double() - half.T @ half
        return mean, (covariance + covariance.T) / 2
