"""What the folder of one analysis holds, for people: `analyses/<method>/<cycle>`.

The ensemble itself must be readable; any other file that is missing or damaged costs only its own line.
"""

__all__ = ["describe"]

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from stormda.errors import InputError, StormdaError
from stormda.pipeline import inspect_netcdf
from stormda.pipeline.facts import Facts
from stormda.store.feedback import read_feedback

_T = TypeVar("_T")

_FILES = {  # and what each is
    "analysis.nc": "ensemble, given the observations",
    "background.nc": "ensemble, before them",
    "reanalysis.nc": "ensemble, drawn again with later observations",
    "feedback.nc": "every observation: value, error, QC code, H(x) of both ensembles",
    "config.yaml": "the configuration, every default written out",
    "provenance.json": "how to make it again",
    "report.html": "maps, observations, departures and scores",
}
_LATER = ("report.html", "reanalysis.nc")
_ATTRIBUTES = {"cycle": "time", "method": "method", "split seed": "split_seed", "history": "history_of_state"}


def describe(path: Path) -> tuple[str, Facts]:
    """Cycle, method, members, observations by QC code, files; mean and spread of each channel.

    Raises:
        InputError: the ensemble is damaged.
    """
    ensemble, facts = inspect_netcdf.ensemble(path / "analysis.nc"), Facts()
    known, files = dict(ensemble.pairs), dict(_FILES)

    def part(name: str, read: Callable[[Path], _T]) -> _T | None:
        try:
            return read(path / name)
        except StormdaError as error:
            files[name] = error.what
            return None

    background = part("background.nc", inspect_netcdf.ensemble) or Facts()
    feedback = part("feedback.nc", read_feedback)
    provenance = part("provenance.json", _tree) or {}

    for name, attribute in _ATTRIBUTES.items():
        facts.add(name, known.get(attribute, "-"))
    facts.add("members", known["members"])
    facts.add("grid", known["grid"])
    for name, key in (("made", "created"), ("by", "command")):
        facts.add(name, provenance.get(key, "-"))
    for name, count in inspect_netcdf.by_code(feedback.observations) if feedback else ():
        facts.add(f"observations: {name}", count)
    there = {p.name for p in path.iterdir() if not p.name.startswith(".")}
    for name in [*_FILES, *sorted(there - _FILES.keys())]:
        if name in there or name not in _LATER:
            facts.add(name, files.get(name, "not by stormda") if name in there else "missing")

    facts.columns = ["channel", "unit", "mean", "spread of background", "spread of analysis"]
    before = {row[0]: row[-1] for row in background.rows}
    facts.rows = [[*row[:3], before.get(row[0], "-"), row[-1]] for row in ensemble.rows]
    return "analysis", facts


def _tree(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"truncated or not JSON ({error})", file=path) from error
