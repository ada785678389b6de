"""Krylov solvers for a batch of linear systems that are known only by their products.

Systems of a batch are independent: each has its own Krylov space and stops at its own convergence; while others need
more its solution is kept as it was, so that it does not depend on what else is in the batch. Dot products are an
argument, for vectors that are spread over processes.
"""

__all__ = ["gmres"]

from collections.abc import Callable

import torch
from torch import Tensor


def _dot(a_BN: Tensor, b_BN: Tensor) -> Tensor:
    return (a_BN * b_BN).sum(dim=-1)


def gmres(
    matvec: Callable[[Tensor], Tensor],
    b_BN: Tensor,
    x0_BN: Tensor | None = None,
    *,
    tolerance: float = 1e-2,
    max_iterations: int = 20,
    dot: Callable[[Tensor, Tensor], Tensor] = _dot,
) -> tuple[Tensor, int]:
    """Solve M x = b for any M whose products are given (Saad and Schultz 1986, https://doi.org/10.1137/0907058).

    Minimises the residual over the Krylov space; M need not be symmetric, as the Jacobian of a learned denoiser is not.

    Args:
        matvec: x_BN -> (M x)_BN.
        b_BN: right-hand sides.
        x0_BN: where to start; None: at zero.
        tolerance: stop when every residual is below this share of its right-hand side.
        max_iterations: products at most, one more where `x0_BN` is given.
        dot: a_BN, b_BN -> [B].

    Returns:
        x_BN and the number of iterations of the slowest system.

    Raises:
        FloatingPointError: a product is not finite.
    """
    x0 = torch.zeros_like(b_BN) if x0_BN is None else x0_BN
    r = b_BN if x0_BN is None else b_BN - matvec(x0)
    goal = tolerance * dot(b_BN, b_BN).sqrt()
    beta = dot(r, r).sqrt()
    active = ~(beta <= goal)
    tiny = torch.finfo(b_BN.dtype).tiny
    basis = [r / beta.clamp_min(tiny)[:, None]]
    h = b_BN.new_zeros(len(b_BN), max_iterations + 1, max_iterations)
    y = b_BN.new_zeros(len(b_BN), max_iterations)
    k = 0
    while k < max_iterations and bool(active.any()):
        w = matvec(basis[k])
        norm = dot(w, w).sqrt()
        if not bool(torch.isfinite(norm).all()):
            raise FloatingPointError("a matrix product is not finite")
        for _ in range(2):  # Orthogonalise twice: once is not enough in float32.
            for j, v in enumerate(basis):
                projection = dot(v, w)
                h[:, j, k] += projection
                w = w - projection[:, None] * v
        rest = dot(w, w).sqrt()
        rest = torch.where(rest <= torch.finfo(w.dtype).eps * norm, torch.zeros_like(rest), rest)  # Exact solution.
        h[:, k + 1, k] = rest
        basis.append(torch.where(rest[:, None] > 0, w / rest.clamp_min(tiny)[:, None], torch.zeros_like(w)))
        k += 1
        solution, residual = _least_squares(h[:, : k + 1, :k], beta)
        y[:, :k] = torch.where(active[:, None], solution, y[:, :k])
        active = active & ~(residual <= goal)
    x = x0
    for j in range(k):  # One by one: the zeros of a system that stopped earlier then change no bit of it.
        x = x + y[:, j, None] * basis[j]
    return x, k


def _least_squares(h_BJK: Tensor, beta_B: Tensor) -> tuple[Tensor, Tensor]:
    """min |beta e1 - H y|: y [B, K] and the residual norms [B], in float64; a direction of no weight gets none."""
    h = h_BJK.to(torch.float64)
    e = torch.zeros(h.shape[:2], dtype=h.dtype, device=h.device)
    e[:, 0] = beta_B
    y = (torch.linalg.pinv(h, rtol=1e-12) @ e[..., None])[..., 0]
    residual = torch.linalg.vector_norm(e - (h @ y[..., None])[..., 0], dim=-1)
    return y.to(h_BJK.dtype), residual.to(h_BJK.dtype)
