"""What observations say of the errors that were assumed, from departures of those that were used.

With y the observation, x_b and x_a background and analysis (ensemble means), R the variance of the observation error
and s_b^2, s_a^2 the ensemble variances of H(x):

    d_ob = y - H(x_b),   d_oa = y - H(x_a),   d_ab = H(x_a) - H(x_b)

**Desroziers** (Desroziers et al. 2005, https://doi.org/10.1256/qj.05.108): if the analysis weighs by the true errors,

    mean d_oa d_ob = R      mean d_ab d_ob = H B H^T      mean d_ab d_oa = H A H^T

so each of their roots, an error, should be that which was assumed: sqrt(R), the spread of the background and of the
analysis. One step from wrong errors does not give the right ones, but it tells in which direction they are.

**Chi-square of innovations** (Menard et al. 2000, https://doi.org/10.1175/1520-0493(2000)128<2654:AOSCTO>2.0.CO;2):
mean d_ob^2 / ((1 + 1/M) s_b^2 + R) is 1 where innovations are as large as expected, more where the system is too sure.

**Degrees of freedom for signal** (Liu, Kalnay, Miyoshi and Cardinali 2009, https://doi.org/10.1002/qj.511): how many
numbers the observations determined, sum s_a^2 / R = trace of dH(x_a)/dy; per observation 0 (no influence) to 1.
R is that of the feedback file, without what time interpolation adds.
"""

__all__ = ["INNOVATIONS", "departures"]

from collections.abc import Callable, Mapping

import numpy as np

from stormda.metrics.base import Given, Metric, Sums
from stormda.types import Array


def departures(value: Array, variance: Array, background_MN: Array, analysis_MN: Array) -> tuple[Given, ...]:
    """The statistics of N observations that were used.

    Args:
        value: y, [N].
        variance: R, [N], positive.
        background_MN, analysis_MN: H(x) of every member.
    """
    size = len(background_MN)
    before, after = background_MN.mean(axis=0), analysis_MN.mean(axis=0)
    d_ob, d_oa, d_ab = value - before, value - after, after - before
    s_b, s_a = background_MN.var(axis=0, ddof=1), analysis_MN.var(axis=0, ddof=1)
    columns = {
        "d_ob": d_ob,
        "d_oa": d_oa,
        "d_ob_d_ob": d_ob**2,
        "d_oa_d_ob": d_oa * d_ob,
        "d_ab_d_ob": d_ab * d_ob,
        "d_ab_d_oa": d_ab * d_oa,
        "variance_b": s_b,
        "variance_a": s_a,
        "variance_o": variance,
        "chi_square": d_ob**2 / ((1.0 + 1.0 / size) * s_b + variance),
        "signal": s_a / variance,
        "analyses": np.full(len(value), 1.0 / max(len(value), 1)),
    }
    return tuple(Given(name, np.asarray(column)) for name, column in columns.items())


def _mean(name: str) -> Callable[[Sums], Array]:
    return lambda sums: sums.mean(name)


def _root(name: str) -> Callable[[Sums], Array]:
    """The root of a mean; NaN where it is negative, which few or wrong numbers can make a mean of products."""
    return lambda sums: np.sqrt(np.where(sums.mean(name) >= 0, sums.mean(name), np.nan))


INNOVATIONS: Mapping[str, Metric] = {
    "o_minus_b": _mean("d_ob"),
    "o_minus_a": _mean("d_oa"),
    "rms_o_minus_b": _root("d_ob_d_ob"),
    "error_assumed": _root("variance_o"),
    "error_desroziers": _root("d_oa_d_ob"),
    "background_spread": _root("variance_b"),
    "background_desroziers": _root("d_ab_d_ob"),
    "analysis_spread": _root("variance_a"),
    "analysis_desroziers": _root("d_ab_d_oa"),
    "chi_square": _mean("chi_square"),
    "signal_per_observation": _mean("signal"),
    "degrees_of_freedom": lambda sums: np.asarray(sums.totals["signal"] / sums.totals["analyses"]),
}
"""By name: a metric of the sums of `departures`; errors in the unit of the variable."""
