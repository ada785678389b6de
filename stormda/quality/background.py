"""Background check: an observation that the background ensemble holds for all but impossible is taken for an error.

If observation y and background members H(x_1), ..., H(x_M) are honest, y minus their mean has the variance

    s^2 (1 + 1/M) + r^2        s: spread of the members (ddof = 1), r: standard deviation of the observation error

(1/M because the mean of M members is itself uncertain). Beyond `limit` of its standard deviations the value is left
out.

Source: Lorenc and Hammon 1988, Objective quality control of observations using Bayesian methods, QJRMS 114, 515-543.
"""

__all__ = ["check_background"]

import numpy as np

from stormda.config import CheckConfig
from stormda.observations import QC, Observations
from stormda.quality.scope import in_scope
from stormda.types import Array

_LIMIT = 5.0  # standard deviations


def check_background(observations: Observations, check: CheckConfig, background: Array) -> Observations:
    """Set `QC.BACKGROUND` where |y - mean| > limit sqrt(s^2 (1 + 1/M) + r^2), `QC.NOT_FINITE` where H(x) is not finite.

    Args:
        observations: N rows; an error that is not configured (NaN) counts as 0.
        check: `limit` in standard deviations (5 where empty).
        background: H of M >= 2 members, in the unit of the values [M, N].
    """
    limit = _LIMIT if check.limit is None else check.limit
    finite = np.isfinite(background).all(axis=0)
    hx = np.where(finite, background, 0.0)
    variance = hx.var(axis=0, ddof=1) * (1.0 + 1.0 / hx.shape[0]) + np.nan_to_num(observations["error"]) ** 2
    far = np.abs(observations["value"] - hx.mean(axis=0)) > limit * np.sqrt(variance)
    scope = in_scope(observations, check)
    return observations.flag(~finite & scope, QC.NOT_FINITE).flag(far & scope, QC.BACKGROUND)
