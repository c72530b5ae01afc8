"""Tables of text, for the terminal, HTML, Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A column: its title, whether it holds numbers (right-aligned), and whether it is set in a monospaced font."""

    title: str
    number: bool = False
    code: bool = False


@dataclass(frozen=True)
class TextTable:
    """A table of text. With `total`, the last row is the sum of the others."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    total: bool = False

    @classmethod
    def from_rows(cls, titles: Iterable[str], rows: Iterable[Iterable[str]], *, total: bool = False) -> TextTable:
        """Make a table; a title with the prefix `#` is of numbers, one with a backtick of code.

        >>> TextTable.from_rows(["layer", "#size"], [["conv1", "28"]]).columns[1]
        Column(title='size', number=True, code=False)
        """
        return cls(parse_columns(*titles), tuple(tuple(row) for row in rows), total)

    def drop_columns(self, titles: Iterable[str]) -> TextTable:
        """The table without the columns with these titles."""
        kept = [number for number, column in enumerate(self.columns) if column.title not in set(titles)]
        rows = tuple(tuple(row[number] for number in kept) for row in self.rows)
        return TextTable(tuple(self.columns[number] for number in kept), rows, self.total)


def parse_columns(*titles: str) -> tuple[Column, ...]:
    """Make columns; the prefix `#` is of numbers, a backtick of code."""
    return tuple(Column(title.lstrip("#`"), title.startswith("#"), title.startswith("`")) for title in titles)
