"""Facts for people: names and values in order, and a table beside them."""

__all__ = ["Facts", "flatten", "text"]

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_LONG = 8  # a list with more entries is only counted


@dataclass
class Facts:
    """What has been found so far: pairs (name, value), and the columns and rows of a table."""

    pairs: list[tuple[str, str]] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)

    def add(self, name: str, value: object) -> None:
        """One more fact."""
        self.pairs.append((name, str(value)))


def flatten(tree: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every leaf of a tree as (dotted name, value)."""
    if isinstance(tree, dict) and tree:
        for key, value in tree.items():
            yield from flatten(value, f"{name}.{key}" if name else str(key))
    elif isinstance(tree, list) and any(isinstance(v, (dict, list)) for v in tree):
        yield name, f"{len(tree)} entries"
    else:
        yield name, text(tree)


def text(value: Any) -> str:
    """A value in a few words: a score without its interval, a number with four digits, a long list as its length."""
    if isinstance(value, dict) and "value" in value:
        return text(value["value"])
    if value is None or value == {} or value == []:
        return "-"
    if isinstance(value, list):
        return ", ".join(map(text, value)) if len(value) <= _LONG else f"{len(value)} entries"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
