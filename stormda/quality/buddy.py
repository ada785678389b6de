"""Buddy check: what the neighbours say about a value, given how far they are and how good they are.

Background departures d = y - mean H(x) of neighbours are alike, for the error of the background is smooth in space; a
departure that its neighbours do not share is an error of the observation. With the covariance

    C_ij = s_i s_j rho(d_ij) + r_i^2 delta_ij         rho(d) = (1 + d/L) exp(-d/L)

of departures (s: spread of the background with its factor 1 + 1/M, r: standard deviation of the observation error,
rho: second-order autoregressive, L a third of the radius), the departure of row i given its buddies b is normal with

    mean  c^T C_bb^-1 d_b          variance  s_i^2 + r_i^2 - c^T C_bb^-1 c          c_j = s_i s_j rho(d_ij)

Without buddies that is the background check; dense buddies sharpen it from the spread of the background towards the
error of the observation. What is more than `limit` standard deviations off is left out, but one bad value makes its
neighbours look bad: of several that are, the worst within the radius goes first, the others are looked at again without
it, and at the end what was left out comes back if the buddies that are left agree with it.

A station is no buddy of itself, and withheld stations are nobody's: what verifies an analysis must not choose what goes
into it.

Sources: Lorenc 1981, A global three-dimensional multivariate statistical interpolation scheme, MWR 109, 701-721;
Lussana, Uboldi and Salvati 2010, A spatial consistency test for surface observations from mesoscale meteorological
networks, QJRMS 136, 1075-1088 (there with one variance for all places and without the order of rejection).
"""

__all__ = ["check_buddies"]

import numpy as np

from stormda.config import CheckConfig
from stormda.observations import QC, Observations
from stormda.quality.places import groups, neighbours, positions
from stormda.quality.scope import in_scope
from stormda.types import Array

_LIMIT = 5.0  # standard deviations
_RADIUS = 600.0  # km
_COUNT = 2  # fewest buddies
_MOST = 16  # buddies: those behind them tell next to nothing more
_ROUNDS = 100


def check_buddies(observations: Observations, check: CheckConfig, background: Array) -> Observations:
    """Set `QC.BUDDY` where a departure is more than `limit` standard deviations from what its buddies make of it.

    Args:
        observations: N rows; an error that is not configured (NaN) counts as 0.
        check: `limit` in standard deviations (5), `radius` in km (600), `count` of buddies below which a row is not
            checked (2).
        background: H of M >= 2 members, in the unit of the values [M, N].
    """
    radius = _RADIUS if check.radius is None else check.radius
    use = in_scope(observations, check) & (observations["qc"] == QC.USED) & np.isfinite(background).all(axis=0)
    place = positions(observations, radius)
    bad = np.zeros(len(observations), dtype=bool)
    for rows in groups(observations, use):
        own = observations.take(rows)
        departures = _Departures(own, background[:, rows], place[rows], radius, check.count or _COUNT)
        bad[rows] = departures.rejected(_LIMIT if check.limit is None else check.limit)
    return observations.flag(bad, QC.BUDDY)


class _Departures:
    """The departures of one variable."""

    def __init__(self, own: Observations, background: Array, place: Array, radius: float, fewest: int) -> None:
        members = len(background)
        self.d = own["value"] - background.mean(axis=0)
        self.s = np.sqrt(background.var(axis=0, ddof=1) * (1.0 + 1.0 / members))
        self.r2 = np.nan_to_num(own["error"]) ** 2 + 1e-12 * np.maximum(self.s**2, 1.0)  # never singular
        self.station = np.unique(own["station_id"].astype(str), return_inverse=True)[1]
        self.place, self.radius, self.fewest = place, radius, fewest
        self.may_help = ~own["withheld"].astype(bool)

    def rejected(self, limit: float) -> Array:
        """Bool [n]."""
        bad = np.zeros(len(self.d), dtype=bool)
        z, buddies = self._score(bad)
        for _ in range(_ROUNDS):
            worst = self._worst(np.where(bad, 0.0, z), buddies, limit)
            if not worst.any():
                break
            bad |= worst
            z, buddies = self._score(bad)
        return np.asarray(z > limit)

    def _worst(self, z: Array, buddies: Array, limit: float) -> Array:
        """What is beyond the limit and not surpassed by one of its buddies; of the withheld all, they harm nobody."""
        around = np.where(buddies >= 0, z[buddies], 0.0).max(axis=1, initial=0.0)
        return np.asarray((z > limit) & ((z >= around) | ~self.may_help))

    def _score(self, bad: Array) -> tuple[Array, Array]:
        """|d - mean| in standard deviations given the buddies that are not bad, and their numbers, -1 for none."""
        helping = np.flatnonzero(self.may_help & ~bad)
        distance, number = neighbours(self.place, self.place[helping], self.radius, 4 * _MOST)
        buddies = np.where(np.isfinite(distance), np.append(helping, -1)[np.minimum(number, len(helping))], -1)
        buddies[self.station[buddies] == self.station[:, None]] = -1
        order = np.argsort(buddies < 0, axis=1, kind="stable")[:, :_MOST]  # the nearest that are left
        buddies = np.take_along_axis(buddies, order, axis=1)
        z = np.zeros(len(self.d))
        for some in np.array_split(np.arange(len(self.d)), 1 + len(self.d) // 4096):
            z[some] = self._given(some, buddies[some])
        return np.where((buddies >= 0).sum(axis=1) >= self.fewest, z, 0.0), buddies

    def _given(self, rows: Array, buddies: Array) -> Array:
        there = buddies >= 0
        b = np.where(there, buddies, rows[:, None])
        to_buddy = self._rho(self.place[rows][:, None], self.place[b])
        between = self._rho(self.place[b][:, :, None], self.place[b][:, None, :])
        c = np.where(there, self.s[rows][:, None] * self.s[b] * to_buddy, 0.0)
        matrix = np.where(
            there[:, :, None] & there[:, None, :], self.s[b][:, :, None] * self.s[b][:, None] * between, 0.0
        )
        matrix += np.where(there, self.r2[b], 1.0)[:, :, None] * np.eye(b.shape[1])
        gain = np.linalg.solve(matrix, c[:, :, None])[:, :, 0]
        expected = (gain * np.where(there, self.d[b], 0.0)).sum(axis=1)
        variance = self.s[rows] ** 2 + self.r2[rows] - (gain * c).sum(axis=1)
        return np.asarray(np.abs(self.d[rows] - expected) / np.sqrt(np.maximum(variance, self.r2[rows])))

    def _rho(self, a: Array, b: Array) -> Array:
        scaled = 3.0 / self.radius * np.sqrt(((a - b) ** 2).sum(axis=-1))
        return np.asarray((1.0 + scaled) * np.exp(-scaled))
