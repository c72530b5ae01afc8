"""Tables whose cells are text, ready to be set on a page, in a terminal, in Markdown or in LaTeX."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A column's head; numbers are set to the right, `code` in a font of one width."""

    title: str
    number: bool = False
    code: bool = False


@dataclass(frozen=True)
class TextTable:
    """A table ready to be set: every cell is text. With `total`, the last row is a sum of those above it."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    total: bool = False

    @classmethod
    def from_rows(cls, titles: Iterable[str], rows: Iterable[Iterable[str]], *, total: bool = False) -> TextTable:
        """A table; a title that begins with `#` heads numbers, one with a backtick code.

        >>> TextTable.from_rows(["layer", "#size"], [["conv1", "28"]]).columns[1]
        Column(title='size', number=True, code=False)
        """
        return cls(parse_columns(*titles), tuple(tuple(row) for row in rows), total)

    def drop_columns(self, titles: Iterable[str]) -> TextTable:
        """The table without the columns of these titles."""
        kept = [number for number, column in enumerate(self.columns) if column.title not in set(titles)]
        rows = tuple(tuple(row[number] for number in kept) for row in self.rows)
        return TextTable(tuple(self.columns[number] for number in kept), rows, self.total)


def parse_columns(*titles: str) -> tuple[Column, ...]:
    """Heads of columns: `#` in front of one of numbers, a backtick in front of one of code."""
    return tuple(Column(title.lstrip("#`"), title.startswith("#"), title.startswith("`")) for title in titles)
