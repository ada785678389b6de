"""Krylov solvers for a batch of linear systems that are known only by their products.

Systems of a batch are independent: each has its own Krylov space and stops at its own convergence; while others need
more its solution is kept as it was, so that it does not depend on what else is in the batch. Dot products are an
argument, for vectors that are spread over processes.
"""

__all__ = ["gmres"]

from collections.abc import Callable

import torch
from torch import Tensor


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=-1)


def gmres(
    matvec: Callable[[Tensor], Tensor],
    b_BN: Tensor,
    x0_BN: Tensor | None = None,
    *,
    precondition: Callable[[Tensor], Tensor] | None = None,
    tolerance: float = 1e-2,
    max_iterations: int = 20,
    dot: Callable[[Tensor, Tensor], Tensor] = _dot,
) -> tuple[Tensor, int]:
    """Solve M x = b for any M whose products are given (Saad and Schultz 1986, https://doi.org/10.1137/0907058).

    Minimises the residual over the Krylov space by plane rotations; M need not be symmetric, as the Jacobian of a
    learned denoiser is not.

    Args:
        matvec: x_BN -> (M x)_BN.
        b_BN: right-hand sides.
        x0_BN: where to start; None: at zero.
        precondition: r_BN -> about M^-1 r, linear. It acts from the right, so residuals are those of M x = b.
        tolerance: stop when every residual is below this share of its right-hand side.
        max_iterations: products at most, one more where `x0_BN` is given.
        dot: [..., N] and [..., N] -> [...], sums over all processes.

    Returns:
        x_BN and the number of iterations of the slowest system.

    Raises:
        FloatingPointError: a product is not finite.
    """
    x = torch.zeros_like(b_BN) if x0_BN is None else x0_BN
    r = b_BN if x0_BN is None else b_BN - matvec(x0_BN)
    beta, goal = dot(r, r).sqrt(), tolerance * dot(b_BN, b_BN).sqrt()
    small = torch.finfo(b_BN.dtype)
    v = b_BN.new_zeros(len(b_BN), max_iterations + 1, b_BN.shape[-1])  # orthonormal basis of the Krylov space
    v[:, 0] = r / beta.clamp_min(small.tiny)[:, None]
    problem = _LeastSquares(beta, max_iterations)
    active, k = ~(beta <= goal), 0
    while k < max_iterations and bool(active.any()):
        w = matvec(precondition(v[:, k]) if precondition else v[:, k])
        norm = dot(w, w).sqrt()
        if not bool(torch.isfinite(norm).all()):
            raise FloatingPointError("a matrix product is not finite")
        column = v.new_zeros(len(v), k + 1)
        for _ in range(2):  # Orthogonalise twice: once is not enough in float32.
            projection = dot(v[:, : k + 1], w[:, None])
            column = column + projection
            w = w - torch.einsum("bk,bkn->bn", projection, v[:, : k + 1])
        rest = dot(w, w).sqrt()
        rest = torch.where(rest <= small.eps * norm, torch.zeros_like(rest), rest)  # the solution is exact
        v[:, k + 1] = torch.where(rest[:, None] > 0, w / rest.clamp_min(small.tiny)[:, None], torch.zeros_like(w))
        residual = problem.add(torch.cat([column, rest[:, None]], dim=1), active)
        active = active & ~(residual <= goal)
        k += 1
    y = problem.solve().to(b_BN.dtype)
    step = torch.zeros_like(x)
    for j in range(k):  # One by one: the zeros of a system that stopped earlier then change no bit of it.
        step = step + y[:, j, None] * v[:, j]
    return x + (precondition(step) if precondition else step), k


class _LeastSquares:
    """min |beta e_1 - H y| for a Hessenberg H that grows by columns: kept triangular by plane rotations, in float64."""

    def __init__(self, beta_B: Tensor, columns: int) -> None:
        self.triangle = torch.zeros(len(beta_B), columns, columns, dtype=torch.float64, device=beta_B.device)
        self.right = torch.zeros(len(beta_B), columns + 1, dtype=torch.float64, device=beta_B.device)
        self.right[:, 0] = beta_B
        self.rotations: list[tuple[Tensor, Tensor]] = []
        self.used = torch.zeros(len(beta_B), dtype=torch.int64, device=beta_B.device)

    def add(self, column_BK: Tensor, active_B: Tensor) -> Tensor:
        """Append a column to the systems that are active; the residual norms [B] of all."""
        h, k = column_BK.to(torch.float64), len(self.rotations)
        for j, (c, s) in enumerate(self.rotations):
            h[:, j], h[:, j + 1] = c * h[:, j] + s * h[:, j + 1], c * h[:, j + 1] - s * h[:, j]
        length = torch.hypot(h[:, k], h[:, k + 1])
        safe = torch.where(length > 0, length, torch.ones_like(length))
        c, s = h[:, k] / safe, torch.where(length > 0, h[:, k + 1] / safe, 1.0)  # A zero column helps nothing.
        self.rotations.append((c, s))
        self.triangle[:, :k, k], self.triangle[:, k, k] = h[:, :k], safe
        self.right[:, k], self.right[:, k + 1] = c * self.right[:, k], -s * self.right[:, k]
        self.used += active_B
        return self.right[:, k + 1].abs().to(column_BK.dtype)

    def solve(self) -> Tensor:
        """y [B, columns], zero beyond the columns that each system used."""
        count = self.triangle.shape[1]
        used = torch.arange(count, device=self.used.device) < self.used[:, None]
        unit = torch.eye(count, dtype=torch.float64, device=self.used.device)
        triangle = torch.where(used[:, :, None] & used[:, None, :], self.triangle, unit)
        right = torch.where(used, self.right[:, :count], 0.0)
        y: Tensor = torch.linalg.solve_triangular(triangle, right[..., None], upper=True)
        return y[..., 0]
