"""Score cards: a method beside others that analysed the same times, and a run beside itself without a source.

Compared are the sums of the statistics files, at the analysis times (and choices of withheld stations) that both have.
Against a gridded truth both are scored at the same values; against observations each is scored at those that its own
quality control found good, which are nearly, but not always, the same: the tables give both numbers.
"""

__all__ = ["cards_of", "cards_section", "changes_sections"]

from collections.abc import Mapping, Sequence

from stormda.verification.changes import Change, change_figure, change_table, per_cent, verdict
from stormda.verification.changes import compare as compared
from stormda.verification.compare import ALL
from stormda.verification.lines import TARGETS
from stormda.verification.picture import Picture, Section, Table
from stormda.verification.plots import png
from stormda.verification.tally import Key, Tally

_TARGETS = ("truth", "radar", "withheld")
_SIDES = ("analysis", "background", "reanalysis", "forecast")


def cards_of(own: Tally, others: Mapping[str, Tally]) -> dict[str, list[Change]]:
    """The changes against each other method, of the whole domain; methods without a common time are left out."""
    keys = sorted((k for k in own.keys(*_TARGETS) if k.region == ALL), key=_order)
    cards = {name: [c for c in (compared(own, other, key) for key in keys) if c] for name, other in others.items()}
    return {name: changes for name, changes in cards.items() if changes}


def cards_section(method: str, cards: Mapping[str, Sequence[Change]]) -> Section | None:
    """Figures and tables of `cards_of`; None where there is no other method."""
    if not cards:
        return None
    pictures, tables = [], []
    for name, changes in cards.items():
        pictures += _pictures(changes, f"{method} beside {name}", f"{method} is better", f"{name} is better")
        caption = (
            f"{method} beside {name}: the change is how much larger the score of {name} is, with its 95 % interval; "
            f"▲ {method} is better, ▼ it is worse, ○ the interval holds 0, – too few times for an interval."
        )
        tables.append(change_table(changes, caption, method, name))
    text = (
        "Other methods of this run folder, at the analysis times that both have. Filled marks: the interval leaves 0 "
        "out, so a difference is shown; hollow marks: it is not."
    )
    return Section("Score cards", tuple(pictures), tuple(tables), text)


def changes_sections(changes: Sequence[Change], source: str) -> tuple[Section, ...]:
    """What a source is worth, a section a target; the other run is the one without it."""
    sections = []
    for target in dict.fromkeys(c.target for c in changes):
        own = [c for c in changes if c.target == target]
        pictures = _pictures(own, f"without {source}", f"{source} helps", f"{source} harms")
        caption = (
            f"Scores with and without {source}; the change is how much larger the score is without it, with its 95 % "
            "interval. ▲ the source helps, ▼ it harms, ○ nothing is shown, – too few times for an interval."
        )
        told = [f"{c.name}: RMSE {per_cent(c.rmse_change)}, {_shown(verdict(c.rmse_change))}." for c in own]
        table = change_table(own, caption, "with", "without")
        sections.append(Section(f"Against {TARGETS[target]}", tuple(pictures), (_helps(table),), " ".join(told[:6])))
    return tuple(sections)


def _pictures(changes: Sequence[Change], title: str, better: str, worse: str) -> list[Picture]:
    pictures = []
    for target in dict.fromkeys(c.target for c in changes):
        own = [c for c in changes if c.target == target]
        named = f"{title}, against {TARGETS[target]}"
        told = "; ".join(f"{c.name} RMSE {per_cent(c.rmse_change)}, CRPS {per_cent(c.crps_change)}" for c in own)
        alt = f"Changes of scores, {named}, above 0: {better}. {told}."
        pictures.append(Picture(png(change_figure(own, title=named, better=better, worse=worse)), alt))
    return pictures


def _helps(table: Table) -> Table:
    """The words of a verdict for a source in the place of those for a method."""
    rows = tuple(tuple(_shown(text) for text in row) for row in table.rows)
    return Table(table.caption, table.columns, rows, table.names)


def _shown(text: str) -> str:
    return {"▲ better": "▲ helps", "▼ worse": "▼ harms"}.get(text, text)


def _order(key: Key) -> tuple[int, str, int, float]:
    return _TARGETS.index(key.target), key.variable, _SIDES.index(key.side), float(key.lead.astype("int64"))
