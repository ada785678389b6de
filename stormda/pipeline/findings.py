"""Findings of `stormda check` and `stormda doctor`: what was looked at, how it is, and what helps."""

__all__ = ["Finding", "Findings", "Status"]

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How something is."""

    OK = "ok"
    NOTE = "note"  # worth knowing; the work goes on
    MISSING = "missing"  # required and not there (yet)
    BROKEN = "broken"  # there, and not as it should be


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    status: Status
    what: str
    detail: str
    hint: str = ""


@dataclass(frozen=True)
class Findings:
    """Everything that was looked at, in the order of the work."""

    title: str
    findings: tuple[Finding, ...]

    def of(self, status: Status) -> tuple[Finding, ...]:
        """Those that are so."""
        return tuple(f for f in self.findings if f.status is status)

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people."""
        rows = [[f.status.value, f.what, f.detail, f.hint] for f in self.findings]
        return self.title, ["", "what", "how it is", "what helps"], rows

    @classmethod
    def collect(cls, title: str, *parts: Iterable[Finding]) -> "Findings":
        """Several series of findings as one."""
        return cls(title, tuple(finding for part in parts for finding in part))
