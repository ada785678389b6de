"""Observation coverage: what became of every value of a window, on maps and in a table.

A value is `used`, `withheld` (good, and kept out for verification), or rejected by the check that its QC code names
(docs/qc-codes.md). Every status has a mark of its own besides its colour.
"""

__all__ = ["CHECKS", "by_status", "counts", "coverage_map", "coverage_section", "status_of"]

from collections import Counter

import numpy as np

from stormda.grid import Grid
from stormda.observations import QC, Observations
from stormda.types import Array
from stormda.verification.maps import observation_map
from stormda.verification.picture import Picture, Section, Table

CHECKS = 4
"""Checks that are told apart on a map; what fewer values failed is drawn as `other checks`."""
_SOURCES = 8  # with a map


def status_of(observations: Observations) -> Array:
    """`used`, `withheld`, or the words of the QC code, [N]."""
    good, withheld = observations["qc"] == QC.USED, observations["withheld"].astype(bool)
    why = np.array([QC(int(code)).words for code in observations["qc"]], dtype=object)
    return np.where(good, np.where(withheld, "withheld", "used"), why)


def by_status(observations: Observations) -> dict[str, tuple[Array, Array]]:
    """Latitudes and longitudes by status: used, withheld, then the checks, the most frequent first.

    Values outside the grid are left out: they would not be seen.
    """
    own = observations.where(observations["qc"] != QC.OUTSIDE_GRID)
    status = status_of(own)
    failed = Counter(str(s) for s in status if s not in ("used", "withheld")).most_common()
    few = [name for name, _ in failed[CHECKS:]] if len(failed) > CHECKS + 1 else []
    status = np.where(np.isin(status.astype(str), few), "other checks", status)
    names = ["used", "withheld", *(name for name, _ in failed if name not in few), *(["other checks"] if few else [])]
    return {n: (own["latitude"][status == n], own["longitude"][status == n]) for n in names}


def coverage_map(grid: Grid, observations: Observations, what: str, when: str, title: str) -> Picture:
    """The map of some observations, with a text that counts them."""
    places = by_status(observations)
    n = {name: len(latitude) for name, (latitude, _) in places.items()}
    checks = {name: count for name, count in n.items() if name not in ("used", "withheld")}
    told = f"{n['used']} used, {n['withheld']} withheld, {sum(checks.values())} rejected"
    if checks:
        told += f" ({', '.join(f'{name} {count}' for name, count in checks.items())})"
    alt = f"Map of the observations of {what}, {when}: {told}."
    return Picture(observation_map(grid, places, title=title), alt, told)


def coverage_section(grid: Grid, observations: Observations, when: str) -> Section:
    """A map of every source with all its variables, and what became of every value."""
    sources = observations["source"].astype(str)
    names = [name for name, _ in Counter(sources).most_common()]
    pictures = [
        coverage_map(grid, observations.where(sources == name), f"source {name}, all variables", when, name)
        for name in names[:_SOURCES]
    ]
    columns = ("source", "variable", "status", "values")
    rows = tuple((source, variable, words, str(n)) for source, variable, words, n in counts(observations))
    tables = (Table("What became of every value in the window.", columns, rows, 3),) if rows else ()
    text = "A place may hold several values, one above the other. Values outside the grid are in the table alone."
    return Section("Observations", tuple(pictures), tables, text if pictures else "There was no observation.")


def counts(observations: Observations) -> list[tuple[str, str, str, int]]:
    """How many values of each source and variable have each status."""
    status = status_of(observations)
    words = np.array([s if s in ("used", "withheld") else f"not used: {s}" for s in status], dtype=object)
    table = Counter(zip(observations["source"].astype(str), observations["variable"].astype(str), words, strict=True))
    return [(str(s), str(v), str(w), n) for (s, v, w), n in sorted(table.items())]
