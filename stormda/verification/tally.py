"""Parts of many analysis times added up, as they come: memory grows with cycles and stations, not with their product.

A `Key` is one line of a table: what was compared with what, at which lead, where. For each key there are the sums of
every analysis time (all stations together) and those of every station (all times together). The first carry intervals
over time and are divided by hour; the second carry intervals over stations where times are few, and the station map.

Sums of files of days, or of processes, are the sums of the whole: parts are added in the order of their times, so that
a month from daily files is the same to the last digit as one run over the month.
"""

__all__ = ["Key", "Tally", "alone"]

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from stormda.metrics.base import Sums
from stormda.types import Array
from stormda.verification.compare import ALL, NO_LEAD, Part
from stormda.verification.lines import TARGETS

_OTHER = {"background": "analysis", "analysis": "background"}


class Key(NamedTuple):
    """One line of a table; see `Part`."""

    target: str
    variable: str
    unit: str
    side: str
    lead: np.timedelta64 = NO_LEAD
    region: str = ALL
    source: str = ""

    @classmethod
    def of(cls, part: Part) -> "Key":
        """The line that a part belongs to."""
        return cls(part.target, part.variable, part.unit, part.side, part.lead, part.region, part.source)


@dataclass(eq=False)
class _Stations:
    """Sums of every station, in the order in which they were first seen."""

    number: dict[str, int] = field(default_factory=dict)
    sums: Sums | None = None

    def add(self, names: Array, sums: Sums) -> None:
        places = np.array([self.number.setdefault(str(name), len(self.number)) for name in names])
        moved = _moved(sums, places, len(self.number))
        self.sums = (
            moved if self.sums is None else _moved(self.sums, np.arange(len(self.sums.count)), len(self.number)) + moved
        )


@dataclass(eq=False)
class Tally:
    """The sums of a period; filled by `add`."""

    _times: dict[Key, dict[tuple[np.datetime64, int], Sums]] = field(default_factory=dict)
    _stations: dict[Key, _Stations] = field(default_factory=dict)
    _members: dict[Key, set[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, parts: Iterable[Part]) -> "Tally":
        """Of parts in any order."""
        tally = cls()
        tally.add(sorted(parts, key=lambda p: (p.cycle, p.split)))
        return tally

    def add(self, parts: Iterable[Part]) -> None:
        """Add parts; of one key, cycle and split there may be only one."""
        for part in parts:
            key = Key.of(part)
            self._times.setdefault(key, {})[part.cycle, part.split] = part.sums.together()
            self._members.setdefault(key, set()).add(part.members)
            if part.region == ALL and not (len(part.stations) == 1 and part.stations[0] == ""):
                self._stations.setdefault(key, _Stations()).add(part.stations, part.sums)

    def add_alone(self, parts: Iterable[Part]) -> list[str]:
        """Add parts whose other side is nowhere; leave out those whose other side other times have.

        So background and analysis are compared at the same times. Returns a sentence for what is left out.
        """
        there, left = set(self._times), dict[tuple[str, str], dict[str, set[np.datetime64]]]()
        for part in parts:
            key = Key.of(part)
            if key._replace(side=_OTHER[part.side]) not in there:
                self.add([part])
            elif part.target in TARGETS and part.region == ALL:
                names = left.setdefault((part.target, part.side), {})
                names.setdefault(part.variable, set()).add(part.cycle)
        return [
            f"{', '.join(names)}: against {TARGETS[target]} the {_OTHER[side]} is missing at {len(times)} "
            f"{'time' if len(times) == 1 else 'times'}, which {'is' if len(times) == 1 else 'are'} left out"
            for (target, side), names in left.items()
            for times in [set[np.datetime64]().union(*names.values())]
        ]

    def __bool__(self) -> bool:
        return bool(self._times)

    def keys(self, *targets: str) -> list[Key]:
        """All, or those of some targets, in the order of first appearance."""
        return [k for k in self._times if not targets or k.target in targets]

    def members(self, key: Key) -> int:
        """Of the largest ensemble."""
        return max(self._members[key])

    def unlike(self) -> list[str]:
        """A sentence for what must not be read side by side: sizes that differ, sides that are of other times."""
        told = []
        sizes = sorted({size for own in self._members.values() for size in own})
        if any(len(own) > 1 for own in self._members.values()):
            told.append(f"ensembles of {', '.join(map(str, sizes))} members: ranks and events are those of the largest")
        uneven: dict[str, list[str]] = {}
        for key in (k for k in self.keys("withheld", "truth", "radar") if k.side == "analysis" and k.region == ALL):
            before = self._times.get(key._replace(side="background"), {})
            if before and before.keys() != self._times[key].keys():
                counts = f"the background is scored {len(before)} times, the analysis {len(self._times[key])} times"
                uneven.setdefault(f"against {TARGETS[key.target]} {counts}", []).append(key.variable)
        return told + [f"{', '.join(names)}: {what}" for what, names in uneven.items()]

    def cycles(self) -> list[np.datetime64]:
        """Every analysis time, in order."""
        return sorted({cycle for times in self._times.values() for cycle, _ in times})

    def splits(self) -> list[int]:
        """Every split seed, in order."""
        return sorted({split for times in self._times.values() for _, split in times})

    def single(self, key: Key) -> Iterator[tuple[np.datetime64, int, Sums]]:
        """Cycle, split and sums in one group of every analysis."""
        for cycle, split in sorted(self._times[key]):
            yield cycle, split, self._times[key][cycle, split]

    def by_time(self, key: Key) -> tuple[list[np.datetime64], Sums]:
        """The analysis times of a key, and their sums, a group each: splits of one time added up.

        Splits of one time share its truth and most of its observations, so they never count as independent.
        """
        groups: dict[np.datetime64, Sums] = {}
        for cycle, _, sums in self.single(key):
            groups[cycle] = groups[cycle] + sums if cycle in groups else sums
        return list(groups), Sums.stack(list(groups.values()))

    def by_station(self, key: Key) -> tuple[list[str], Sums] | None:
        """The stations of a key, in the order of their names, a group each; None against fields."""
        found = self._stations.get(key)
        if found is None or found.sums is None:
            return None
        names = sorted(found.number)
        order = np.array([found.number[name] for name in names])
        totals = {n: total[order] for n, total in found.sums.totals.items()}
        return names, Sums(found.sums.count[order], found.sums.weight[order], totals)


def alone(parts: Sequence[Part]) -> list[Part]:
    """Backgrounds and analyses of one analysis time without the other, as where a file is damaged."""
    there = {Key.of(p) for p in parts}
    scored = [p for p in parts if p.side in _OTHER and p.target in (*TARGETS, "spectra")]
    return [p for p in scored if Key.of(p)._replace(side=_OTHER[p.side]) not in there]


def _moved(sums: Sums, places: Array, count: int) -> Sums:
    """The groups of `sums` at other places among `count`."""

    def scatter(values: Array) -> Array:
        out = np.zeros((count, *values.shape[1:]))
        np.add.at(out, places, values)
        return out

    return Sums(scatter(sums.count), scatter(sums.weight), {n: scatter(t) for n, t in sums.totals.items()})
