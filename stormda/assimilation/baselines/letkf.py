"""The local ensemble transform Kalman filter (Hunt, Kostelich and Szunyogh 2007, https://doi.org/10.1016/j.physd.2006.11.008).

The analysis of each grid point is the Kalman filter's in the space that M members span. With deviations X from the
background mean, Y those of H(x_i) from their mean, R the variances of the observations near the point, divided by their
localisation weights, and rho the inflation of the background covariance,

    P = [(M - 1) I / rho + Y^T R^-1 Y]^-1            [M, M]
    w = P Y^T R^-1 (y - mean H(x)),   W = [(M - 1) P]^1/2, symmetric
    x_j = mean + X (w + W_j)

so that mean and covariance of the members are those of the Kalman update with the sample covariance X X^T / (M - 1).
The symmetric root changes the members least and keeps their mean. H may be any function of the state: members pass
through it.

Members grow too much alike where the model is wrong, and by sampling errors. Against that: `inflation` of the
background, and after the update relaxation to the prior perturbations X^a <- (1 - a) X^a + a X (Zhang, Snyder and Sun
2004, https://doi.org/10.1175/1520-0493(2004)132<1238:IOIEAO>2.0.CO;2) and to the prior spread, s^a <- (1 - a) s^a + a s
(Whitaker and Hamill 2012, https://doi.org/10.1175/MWR-D-11-00276.1), which act only where observations do.
"""

__all__ = ["letkf", "relax_spread"]

from collections.abc import Iterable

import torch
from torch import Tensor

from stormda.assimilation.baselines.localisation import Nearby

_TINY = 1e-12


def letkf(
    background_MCHW: Tensor,
    hx_MN: Tensor,
    y: Tensor,
    variance: Tensor,
    local: Iterable[Nearby] | None = None,
    *,
    inflation: float = 1.0,
    rtps: float = 0.0,
    rtpp: float = 0.0,
) -> Tensor:
    """The analysis ensemble [M, C, H, W], in float64.

    Args:
        background_MCHW: M >= 2 members.
        hx_MN: H of each.
        y, variance: observed values and error variances [N].
        local: the observations around each grid point; None: all of them, everywhere.
        inflation: factor of the background's standard deviation, the root of rho.
        rtps, rtpp: relaxation, 0 to 1.
    """
    x = background_MCHW.double()
    mean, observed = x.mean(dim=0), hx_MN.double().mean(dim=0)
    precision = variance.double().reciprocal()
    deviation_MCP = (x - mean).flatten(2)
    y_NM, innovation_N = (hx_MN.double() - observed).T.contiguous(), y.double() - observed
    if local is None:
        root = precision.sqrt()
        w_1MM = transform((y_NM * root[:, None])[None], (innovation_N * root)[None], inflation)
        update_MCP = torch.einsum("mcp,mk->kcp", deviation_MCP, w_1MM[0])
    else:
        update_MCP = torch.empty_like(deviation_MCP)
        for points, numbers, weight in local:
            i = torch.as_tensor(numbers)
            root = (torch.as_tensor(weight) * precision[i]).sqrt()
            w_gMM = transform(y_NM[i] * root[..., None], innovation_N[i] * root, inflation)
            update_MCP[..., points] = torch.einsum("mcg,gmk->kcg", deviation_MCP[..., points], w_gMM)
    update = update_MCP.reshape(x.shape)
    shift = update.mean(dim=0)
    perturbation = (1 - rtpp) * (update - shift) + rtpp * (x - mean)
    return mean + shift + relax_spread(perturbation, x - mean, rtps)


def transform(y_gLM: Tensor, innovation_gL: Tensor, inflation: float) -> Tensor:
    """Weights w + W_j of each new member on the old deviations, [g, M old, M new], for whitened Y and innovations."""
    members = y_gLM.shape[-1]
    values, vectors = torch.linalg.eigh(y_gLM.transpose(1, 2) @ y_gLM)
    p = 1 / ((members - 1) / inflation**2 + values.clamp_min(0.0))
    projected = vectors.transpose(1, 2) @ (y_gLM.transpose(1, 2) @ innovation_gL[..., None])
    w: Tensor = vectors @ (p[..., None] * projected)
    roots = (vectors * ((members - 1) * p).sqrt()[:, None]) @ vectors.transpose(1, 2)
    weights: Tensor = roots + w
    return weights


def relax_spread(perturbation_MCHW: Tensor, prior_MCHW: Tensor, share: float) -> Tensor:
    """Scale perturbations at each point so that `share` of the spread that the analysis took away comes back."""
    if share == 0:
        return perturbation_MCHW
    after, before = (p.square().sum(dim=0).sqrt() for p in (perturbation_MCHW, prior_MCHW))
    return perturbation_MCHW * ((1 - share) + share * before / after.clamp_min(_TINY))
