"""How wrong a centre's own states are: the covariance B of their errors, from past differences to a truth.

A forecast of days falls short of the anomalies that come: its error b - x is not independent of x, and a state that
knew nothing at all would still pull the analysis towards itself by V / (V + B). So b observes less than x, as
the regression of past b on x (standardised anomalies, one number a channel) says,

    b = alpha x + error,   or   b / alpha = x + error / alpha

with errors not correlated with x: alpha is near 1 for a good state, and B / alpha^2 grows beyond all bounds for
one that knows nothing. With d_t = b_t / alpha - x_t at T times the bias is their mean, and B lies within the K leading
EOFs of the rest, with one variance for every other direction (the probabilistic PCA of Tipping and Bishop 1999,
https://doi.org/10.1111/1467-9868.00196). EOFs of few times fit these times: along them others vary less, and more
elsewhere. So times are left out in blocks, one fifth after the other, and the EOFs are those of the rest:

    K                   the number of EOFs with the largest likelihood of what was left out
    variance along an   mean square of what was left out along the EOF of the same rank of the others
    EOF, and beside     the same for all that is beyond the K

B is that times 1 + 1/T, for the bias is estimated too. Where the truth has errors of its own B holds them as well.
"""

__all__ = ["NwpError"]

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stormda.diffusion.gaussian import Gaussian
from stormda.errors import InputError

_FEW = 10  # times
_FOLDS = 5
_COUNTS = (0, 1, 2, 3, 5, 8, 12, 20, 30, 50, 80, 120, 200, 300)
_LEAST = 0.05  # of alpha
_SMALLEST = 1e-6  # of a variance, in climatological units: what is right to a thousandth is as good as known


@dataclass(frozen=True, eq=False)
class NwpError:
    """Share, bias and covariance of the errors of a state, standardised.

    Args:
        share: alpha [C], at least 0.05.
        bias: of b / alpha, [C, H, W].
        modes: EOFs, orthonormal rows [K, C H W].
        variances: along them [K].
        residual: in every other direction.
        times: T, how many differences they are from.
    """

    share: Tensor
    bias: Tensor
    modes: Tensor
    variances: Tensor
    residual: float
    times: int

    @classmethod
    def fit(cls, b_TCHW: Tensor, x_TCHW: Tensor, modes: int | None = None) -> "NwpError":
        """Learn from past states and the truth at their times, in the order of time.

        Args:
            b_TCHW, x_TCHW: states and truth, standardised.
            modes: K; None: by cross-validation.

        Raises:
            InputError: fewer than ten times, or no difference at all.
        """
        count = len(b_TCHW)
        if count < _FEW:
            what = f"{count} past states have a truth to compare with, {_FEW} are the least"
            raise InputError(what, key="nwp.past", hint="a longer period, and a truth that covers it")
        b, x = b_TCHW.double(), x_TCHW.double()
        if not float((b - x).square().mean()) > _SMALLEST**2:
            what = "past states do not differ from what they are compared with"
            raise InputError(what, key="nwp.truth", hint="it must be another analysis than theirs")
        share = _regression(b, x)
        d = (b / share[:, None, None] - x).flatten(1)
        bias = d.mean(dim=0)
        a = d - bias
        squares_TK, total_T, variances_TK = _left_out(d, _most(count - -(-count // _FOLDS), d.shape[1], modes))
        most = squares_TK.shape[1]
        chosen = _best(squares_TK, total_T, variances_TK, d.shape[1]) if modes is None else min(modes, most)
        kept = squares_TK[:, :chosen].mean(dim=0)
        beside = float((total_T.mean() - kept.sum()) / max(d.shape[1] - chosen, 1))
        factor, residual = 1 + 1 / count, max(beside, _SMALLEST)
        e = _eofs(a, chosen)[1]
        shape = b.shape[1:]
        return cls(share, bias.view(shape), e, factor * kept.clamp_min(residual), factor * residual, count)

    def around(self, z_CHW: Tensor) -> Gaussian:
        """N(b, B) of a state b, standardised."""
        mean = z_CHW.double() / self.share[:, None, None] - self.bias
        return Gaussian(mean, self.modes, torch.diag(self.variances), self.residual)

    @property
    def sd(self) -> Tensor:
        """Standard deviation of the error of b / alpha at every point [C, H, W]."""
        square = (self.variances - self.residual) @ self.modes.square() + self.residual
        return square.sqrt().view(self.bias.shape)


def _regression(b_TCHW: Tensor, x_TCHW: Tensor) -> Tensor:
    """alpha [C] of b = alpha x + c(place) + error, by least squares over times and places."""
    b, x = (f - f.mean(dim=0) for f in (b_TCHW, x_TCHW))
    squares = x.square().sum(dim=(0, 2, 3)).clamp_min(1e-300)
    return ((b * x).sum(dim=(0, 2, 3)) / squares).clamp_min(_LEAST)


def _most(times: int, points: int, modes: int | None) -> int:
    """EOFs that can be looked at: those that as many times have."""
    return min(times - 1, points, _COUNTS[-1] if modes is None else modes)


def _eofs(a_TN: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Variances and leading EOFs [count], [count, N] of anomalies, from the smaller of the two Gram matrices."""
    times, points = a_TN.shape
    values, vectors = torch.linalg.eigh(a_TN.T @ a_TN if points <= times else a_TN @ a_TN.T)
    values, leading = values.flip(0)[:count].clamp_min(0.0), vectors.T.flip(0)[:count]
    if points <= times:
        return values / times, leading.contiguous()
    return values / times, torch.linalg.qr((leading @ a_TN).T)[0].T.contiguous()


def _left_out(d_TN: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of each time: squares along the others' EOFs [T, K], the whole square [T], the others' variances [T, K]."""
    squares, totals, variances = [], [], []
    for part in np.array_split(np.arange(len(d_TN)), _FOLDS):
        others = np.setdiff1d(np.arange(len(d_TN)), part)
        mean = d_TN[others].mean(dim=0)
        values, e = _eofs(d_TN[others] - mean, count)
        gap = (d_TN[part] - mean) / (1 + 1 / len(others)) ** 0.5  # as wide as the errors, whatever the mean's is
        squares.append((gap @ e.T).square())
        totals.append(gap.square().sum(dim=1))
        variances.append(values.expand(len(part), -1))
    return torch.cat(squares), torch.cat(totals), torch.cat(variances)


def _best(squares_TK: Tensor, total_T: Tensor, variances_TK: Tensor, points: int) -> int:
    """The fewest EOFs whose variances make what was left out as likely as any number does, within a standard error.

    The rule of Breiman, Friedman, Olshen and Stone (1984, Classification and Regression Trees, section 3.4.3): beyond
    it rounding decides.
    """
    scores: dict[int, Tensor] = {}
    for k in [k for k in _COUNTS if k <= squares_TK.shape[1] and k < points]:
        inside = variances_TK[:, :k].clamp_min(_SMALLEST)
        rest = total_T - squares_TK[:, :k].sum(dim=1)
        beside = max(float(rest.mean()) / (points - k), _SMALLEST)
        terms = (inside.log() + squares_TK[:, :k] / inside).sum(dim=1) + (points - k) * np.log(beside) + rest / beside
        scores[k] = terms
    best = min(scores.values(), key=lambda terms: float(terms.mean()))
    worse = {k: terms - best for k, terms in scores.items()}
    return min(k for k, d in worse.items() if float(d.mean()) <= float(d.std()) / len(d) ** 0.5)
