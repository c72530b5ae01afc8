"""Tables of text, for the terminal, HTML, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass

from cnnlab.render.formatting import MISSING


@dataclass(frozen=True)
class Column:
    """A column: its title, whether it holds numbers (right-aligned), and whether it is set in a monospaced font."""

    title: str
    number: bool = False
    code: bool = False


# Cells that begin so are formulas to a spreadsheet.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


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

    def to_csv(self) -> str:
        """Convert to CSV: numbers without separators of thousands, and empty cells where a value is missing.

        A text that a spreadsheet would read as a formula begins with an apostrophe.
        """
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(column.title for column in self.columns)
        for row in self.rows:
            cells = ("" if cell == MISSING else cell for cell in row)
            writer.writerow(
                cell.replace(",", "") if column.number else f"'{cell}" if cell[:1] in FORMULA_STARTS else cell
                for cell, column in zip(cells, self.columns, strict=True)
            )
        return buffer.getvalue()


def parse_columns(*titles: str) -> tuple[Column, ...]:
    """Make columns; the prefix `#` is of numbers, a backtick of code."""
    return tuple(Column(title.lstrip("#`"), title.startswith("#"), title.startswith("`")) for title in titles)
