"""The page of `stormda verify --deny`: what a source of observations is worth."""

__all__ = ["denial_page"]

from collections.abc import Mapping, Sequence
from typing import Any

from stormda.verification.changes import Change
from stormda.verification.report import render
from stormda.verification.scorecards import changes_sections


def denial_page(
    *,
    source: str,
    lead: str,
    changes: Sequence[Change],
    missing: Sequence[str],
    facts: Mapping[str, Any],
    configuration: str,
) -> str:
    """The page: figures and tables of the changes (of this run to the one without the source)."""
    return render(
        "denial.html",
        title=f"What the source {source} is worth",
        lead=lead,
        sections=changes_sections(changes, source),
        missing=missing,
        facts=facts,
        configuration=configuration,
    )
