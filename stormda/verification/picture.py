"""What a page is made of: pictures, tables, and sections that hold them under a heading."""

__all__ = ["Picture", "Section", "Table"]

import base64
from dataclasses import dataclass


@dataclass(frozen=True)
class Picture:
    """A PNG file, the text for those who cannot see it, and words below it."""

    data: bytes
    alt: str
    caption: str = ""

    @property
    def base64(self) -> str:
        """For a page."""
        return base64.b64encode(self.data).decode("ascii")


@dataclass(frozen=True)
class Table:
    """Rows of words under their columns; the first `names` columns are words, the others numbers."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: int = 1


@dataclass(frozen=True)
class Section:
    """Pictures and tables under a heading, after some words."""

    title: str
    pictures: tuple[Picture, ...]
    tables: tuple[Table, ...] = ()
    text: str = ""

    @property
    def id(self) -> str:
        """For links on the page: the title in small letters and hyphens."""
        return "-".join(self.title.lower().split())
