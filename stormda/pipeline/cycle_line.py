"""What became of cycles, as it is shown: a line of the ledger, and what a call did."""

__all__ = ["COLUMNS", "CycleLine", "CycleReport"]

from dataclasses import dataclass, field

from stormda.errors import StormdaError
from stormda.store.ledger import Cycle
from stormda.time import format_time

COLUMNS = ["cycle", "run", "state", "product", "used", "seconds", "note"]


@dataclass(frozen=True)
class CycleLine:
    """What became of one cycle."""

    cycle: str
    run: int
    state: str
    product: str
    used: int | None
    seconds: float
    note: str

    @classmethod
    def of(cls, cycle: Cycle) -> "CycleLine":
        """A line of the ledger."""
        time, seconds = format_time(cycle.time), round(cycle.seconds, 2)
        return cls(time, cycle.run, cycle.state, cycle.product, cycle.used, seconds, cycle.note)

    def cells(self) -> list[str]:
        """For people, in the order of COLUMNS."""
        used = "-" if self.used is None else str(self.used)
        run = "" if self.run == 1 else str(self.run)
        return [self.cycle, run, self.state, self.product or "-", used, f"{self.seconds:.1f}", self.note]


@dataclass(frozen=True)
class CycleReport:
    """What a call did.

    Args:
        cycles: that were worked on.
        next: when there is something to do again, in words.
    """

    cycles: tuple[CycleLine, ...]
    next: str
    _error: StormdaError | None = field(default=None, repr=False)

    @property
    def waiting(self) -> bool:
        """Whether it ended at a cycle that waits for data."""
        return bool(self.cycles) and self.cycles[-1].state == "waiting"

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people."""
        return self.next, COLUMNS if self.cycles else [], [line.cells() for line in self.cycles]

    def stop_if_failed(self) -> None:
        """Raise what the first cycle that failed ended with."""
        if self._error is not None:
            raise self._error
