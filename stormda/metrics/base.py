"""Scores in three steps: a statistic of every value, its weighted mean, a metric of means.

    statistic   a number (or a few) for every value: (ensemble x_i, reference y) -> e.g. (xbar - y)^2
    mean        sum(w * statistic) / sum(w), w: area weights of a grid, 1 at observations
    metric      a function of means, e.g. RMSE = sqrt(mean (xbar - y)^2)

Sums add up: those of two channels' files, cycles, splits or processes give exactly the metric of all values together,
which the mean of two RMSEs would not. (The idea of weatherbenchX, Google Research 2024,
https://github.com/google-research/weatherbenchX.) Sums can be kept apart in G groups, such as cycles or stations, from
which intervals are resampled.
"""

__all__ = ["Given", "Metric", "Pair", "Statistic", "Sums", "accumulate"]

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

from stormda.errors import InputError
from stormda.types import Array


@dataclass(frozen=True, eq=False)
class Pair:
    """An ensemble beside its reference, as long lists of values.

    Args:
        members: [M, N], physical units, M >= 2.
        reference: [N], truth or observed values.
        variance: [N], observation error variance; zero against a gridded truth.
        weights: [N], not negative.

    Raises:
        InputError: fewer than two members, shapes that do not fit, a value that is not finite.
    """

    members: Array
    reference: Array
    variance: Array
    weights: Array

    def __post_init__(self) -> None:
        if self.members.ndim != 2 or self.members.shape[0] < 2:
            raise InputError(f"scores need an ensemble of two or more members, not one of shape {self.members.shape}")
        for name in ("reference", "variance", "weights"):
            if getattr(self, name).shape != self.members.shape[1:]:
                raise InputError(f"{name} of shape {getattr(self, name).shape} beside members of {self.members.shape}")
        for name in ("members", "reference", "variance", "weights"):
            if not np.isfinite(getattr(self, name)).all():
                raise InputError(f"{name} to be scored are not all finite")

    @classmethod
    def of(
        cls,
        members: Array,
        reference: Array,
        *,
        variance: Array | float = 0.0,
        weights: Array | float = 1.0,
        mask: Array | None = None,
    ) -> "Pair":
        """Flatten fields to lists, in double precision.

        Args:
            members: [M, ...].
            reference: [...].
            variance, weights: broadcast to the shape of `reference`.
            mask: bool [...], true where a value counts; what is masked may be NaN.
        """
        shape = np.shape(reference)
        keep = np.ones(shape, dtype=bool) if mask is None else np.broadcast_to(mask, shape)
        if np.shape(members)[1:] != shape:
            raise InputError(f"members of shape {np.shape(members)} beside a reference of {shape}")

        def flat(values: Array | float) -> Array:
            return np.asarray(np.broadcast_to(values, shape)[keep], dtype=np.float64)

        return cls(np.asarray(members[:, keep], dtype=np.float64), flat(reference), flat(variance), flat(weights))

    def where(self, keep: Array) -> "Pair":
        """The values where `keep`, bool [N], is true."""
        return Pair(self.members[:, keep], self.reference[keep], self.variance[keep], self.weights[keep])

    @property
    def size(self) -> int:
        """M, the number of members."""
        return int(self.members.shape[0])

    def __len__(self) -> int:
        return int(self.reference.size)


class Statistic(Protocol):
    """A number, or V of them, for every value of a pair; `name` is its key in the sums."""

    @property
    def name(self) -> str:
        """The key."""
        ...

    def __call__(self, pair: Pair) -> Array:
        """[N] or [N, V]."""
        ...


@dataclass(frozen=True, eq=False)
class Given:
    """A statistic that was computed beside the pair, such as one that needs whole fields.

    Args:
        name: its key in the sums.
        values: [N] or [N, V], of the values of the pair in their order.
    """

    name: str
    values: Array

    def __call__(self, pair: Pair) -> Array:
        """See the class: a row a value."""
        if len(self.values) != len(pair):
            raise InputError(f"{self.name} of {len(self.values)} values beside a pair of {len(pair)}")
        return self.values


@dataclass(frozen=True, eq=False)
class Sums:
    """Weighted sums of statistics in G groups.

    Args:
        count: [G], values.
        weight: [G], sum of their weights.
        totals: by statistic [G] or [G, V], sum of weight times statistic.
    """

    count: Array
    weight: Array
    totals: Mapping[str, Array]

    def __add__(self, other: "Sums") -> "Sums":
        """Both together; a statistic that only one of them has is zero in the other."""
        if self.count.shape != other.count.shape:
            raise InputError(f"sums in {self.count.size} and {other.count.size} groups cannot be added")
        names = dict.fromkeys([*self.totals, *other.totals])
        totals = {n: np.asarray(self.totals.get(n, 0.0) + other.totals.get(n, 0.0)) for n in names}
        return Sums(self.count + other.count, self.weight + other.weight, totals)

    def mean(self, name: str) -> Array:
        """The weighted mean of a statistic, [G] or [G, V]; NaN in a group without values."""
        total = self.totals[name]
        weight = self.weight.reshape(-1, *[1] * (total.ndim - 1))
        return np.asarray(np.divide(total, weight, out=np.full(np.shape(total), np.nan), where=weight > 0))

    def only(self, names: Collection[str]) -> "Sums":
        """With these statistics alone, those of them that are there."""
        return Sums(self.count, self.weight, {n: total for n, total in self.totals.items() if n in names})

    def regrouped(self, times_BG: Array) -> "Sums":
        """B new groups, each of which takes group g `times_BG[b, g]` times; a row of ones adds all groups up."""
        totals = {name: np.asarray(times_BG @ total) for name, total in self.totals.items()}
        return Sums(np.asarray(times_BG @ self.count), np.asarray(times_BG @ self.weight), totals)

    def together(self) -> "Sums":
        """All groups added up to one."""
        return self.regrouped(np.ones((1, self.count.size)))

    @classmethod
    def stack(cls, parts: Sequence["Sums"]) -> "Sums":
        """The groups of several sums side by side."""
        names = dict.fromkeys(n for p in parts for n in p.totals)
        tails = {n: next(p.totals[n].shape[1:] for p in parts if n in p.totals) for n in names}
        totals = {
            n: np.concatenate([p.totals.get(n, np.zeros((p.count.size, *tails[n]))) for p in parts]) for n in names
        }
        return cls(np.concatenate([p.count for p in parts]), np.concatenate([p.weight for p in parts]), totals)


Metric: TypeAlias = Callable[[Sums], Array]
"""Sums in G groups -> a score for each, [G]."""


def accumulate(pair: Pair, statistics: Sequence[Statistic], groups: Array | None = None, count: int = 1) -> Sums:
    """The sums of a pair.

    Args:
        pair: N values.
        statistics: what to sum.
        groups: the group of each value, integers below `count`, [N]; None: one group.
        count: G.
    """
    place = np.zeros(len(pair), dtype=np.int64) if groups is None else np.asarray(groups)

    def total(values: Array) -> Array:
        weighted = values * pair.weights.reshape(-1, *[1] * (values.ndim - 1))
        if count == 1:
            return np.asarray(weighted.sum(axis=0)[None])
        out = np.zeros((count, *values.shape[1:]))
        np.add.at(out, place, weighted)
        return out

    totals = {s.name: total(s(pair)) for s in statistics}
    return Sums(np.bincount(place, minlength=count), total(np.ones(len(pair))), totals)
