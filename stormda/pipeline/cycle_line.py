"""A line of the ledger, as it is shown."""

__all__ = ["COLUMNS", "CycleLine"]

from dataclasses import dataclass

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
